//! What a value is for: text in places of a request.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{place::HeaderPlace, plaintext::Plaintext};

/// Everything one call injects.
pub struct Material {
    /// The header fields to write, in the route's order.
    pub headers: Vec<HeaderMaterial>,
    /// The values the parts point into, each once.
    pub values: Vec<Plaintext>,
}

/// One header field to write.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderMaterial {
    /// Which field.
    pub name: HeaderPlace,
    /// Its value's parts, in order.
    pub parts: Vec<Part>,
}

/// One part of a field's value.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// Text of the route.
    Literal(String),
    /// The value at this index of [`Material::values`].
    Value(usize),
}

impl Material {
    /// Writes the value of `header` out; `None` if a part points at no value.
    #[must_use]
    pub fn render(&self, header: &HeaderMaterial) -> Option<Zeroizing<Vec<u8>>> {
        let lengths = header.parts.iter().map(|part| match part {
            Part::Literal(text) => Some(text.len()),
            Part::Value(index) => self.values.get(*index).map(|value| value.expose(<[u8]>::len)),
        });
        // The exact length at once: a growing buffer would leave copies behind.
        let mut rendered = Zeroizing::new(Vec::with_capacity(lengths.sum::<Option<usize>>()?));
        for part in &header.parts {
            match part {
                Part::Literal(text) => rendered.extend_from_slice(text.as_bytes()),
                Part::Value(index) => {
                    self.values.get(*index)?.expose(|bytes| rendered.extend_from_slice(bytes));
                }
            }
        }
        Some(rendered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_its_parts_in_order() {
        let value = |text: &str| Plaintext::parse(Zeroizing::new(text.as_bytes().to_vec())).unwrap();
        let material = Material { headers: vec![], values: vec![value("kl-test-a"), value("kl-test-b")] };
        let header = |parts| HeaderMaterial { name: "authorization".parse().unwrap(), parts };
        let both = header(vec![Part::Value(1), Part::Literal(":".into()), Part::Value(0)]);
        assert_eq!(material.render(&both).unwrap().as_slice(), b"kl-test-b:kl-test-a");
        assert!(material.render(&header(vec![Part::Value(2)])).is_none());
    }
}
