//! `Bearer {{secret:stripe-api-key}}`: text around values. A closed grammar without functions or lookups.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::name::{NameError, SecretName};

/// The longest template, in bytes.
pub const MAX_TEMPLATE_BYTES: usize = 1024;

/// The most secrets one template may name.
pub const MAX_TEMPLATE_SECRETS: usize = 4;

const OPEN: &str = "{{";
const CLOSE: &str = "}}";
const SECRET: &str = "secret:";

/// Text with at least one secret in it, parsed once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template(Vec<Segment>);

/// One part of a [`Template`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Segment {
    /// Visible ASCII and spaces, as written.
    Literal(String),
    /// The place of a secret's value.
    Secret(SecretName),
}

/// Why a text is not a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Longer than [`MAX_TEMPLATE_BYTES`].
    #[error("a template has at most {MAX_TEMPLATE_BYTES} characters")]
    TooLong,
    /// `{{` without `}}`, `}}` without `{{`, or something else than `secret:` between them.
    #[error("write a secret as {{{{secret:name}}}}")]
    Malformed,
    /// The name in it is not one.
    #[error("{0}")]
    Name(#[from] NameError),
    /// There is none.
    #[error("a template names at least one secret, as {{{{secret:name}}}}")]
    NoSecret,
    /// More than [`MAX_TEMPLATE_SECRETS`].
    #[error("a template names at most {MAX_TEMPLATE_SECRETS} secrets")]
    TooManySecrets,
    /// A literal part that may not stand in a header field.
    #[error("a template is visible ASCII and spaces, with no space at either end")]
    NotText,
}

impl Template {
    /// The parts in order; the text is their concatenation.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// The secrets it names, in order, repeated ones repeated.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretName> {
        self.0.iter().filter_map(|segment| match segment {
            Segment::Secret(name) => Some(name),
            Segment::Literal(_) => None,
        })
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        if text.len() > MAX_TEMPLATE_BYTES {
            return Err(TemplateError::TooLong);
        }
        let visible = text.bytes().all(|b| matches!(b, b' '..=b'~'));
        if !visible || text.starts_with(' ') || text.ends_with(' ') {
            return Err(TemplateError::NotText);
        }
        let template = Self(segments(text)?);
        match template.secrets().count() {
            0 => Err(TemplateError::NoSecret),
            1..=MAX_TEMPLATE_SECRETS => Ok(template),
            _ => Err(TemplateError::TooManySecrets),
        }
    }
}

fn segments(mut rest: &str) -> Result<Vec<Segment>, TemplateError> {
    let mut segments = Vec::new();
    while let Some((before, after)) = rest.split_once(OPEN) {
        let (inside, following) = after.split_once(CLOSE).ok_or(TemplateError::Malformed)?;
        push_literal(&mut segments, before)?;
        let name = inside.strip_prefix(SECRET).ok_or(TemplateError::Malformed)?;
        segments.push(Segment::Secret(name.parse()?));
        rest = following;
    }
    push_literal(&mut segments, rest)?;
    Ok(segments)
}

fn push_literal(segments: &mut Vec<Segment>, text: &str) -> Result<(), TemplateError> {
    if text.contains(CLOSE) {
        return Err(TemplateError::Malformed);
    }
    if !text.is_empty() {
        segments.push(Segment::Literal(text.to_owned()));
    }
    Ok(())
}

impl TryFrom<String> for Template {
    type Error = TemplateError;

    fn try_from(text: String) -> Result<Self, TemplateError> {
        text.parse()
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template
            .0
            .into_iter()
            .map(|segment| match segment {
                Segment::Literal(text) => text,
                Segment::Secret(name) => format!("{OPEN}{SECRET}{}{CLOSE}", name.written()),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_template_is_text_around_secrets() {
        let template: Template = "Bearer {{secret:STRIPE_API_KEY}}".parse().unwrap();
        let name: SecretName = "stripe-api-key".parse().unwrap();
        assert_eq!(template.segments(), [Segment::Literal("Bearer ".into()), Segment::Secret(name.clone())]);
        assert_eq!(String::from(template), "Bearer {{secret:STRIPE_API_KEY}}");
        let two: Template = "{{secret:a}}:{{secret:b}}".parse().unwrap();
        assert_eq!(two.secrets().count(), 2);
        let braces: Template = "{x} {{secret:a}}".parse().unwrap();
        assert_eq!(braces.segments().len(), 2);
    }

    #[test]
    fn everything_else_is_refused() {
        for (text, error) in [
            ("", TemplateError::NoSecret),
            ("Bearer x", TemplateError::NoSecret),
            ("{{secret:a}", TemplateError::Malformed),
            ("{{secret:a}} }}", TemplateError::Malformed),
            ("{{ secret:a }}", TemplateError::Malformed),
            ("{{env:HOME}}", TemplateError::Malformed),
            ("{{SECRET:a}}", TemplateError::Malformed),
            ("{{secret:}}", TemplateError::Name(NameError::Length)),
            ("{{secret:a|b64}}", TemplateError::Name(NameError::Malformed)),
            ("{{secret:other/a}}", TemplateError::Name(NameError::Malformed)),
            ("{{secret:{{secret:a}}}}", TemplateError::Name(NameError::Malformed)),
            (" {{secret:a}}", TemplateError::NotText),
            ("{{secret:a}}\r\nx: y", TemplateError::NotText),
            ("é {{secret:a}}", TemplateError::NotText),
            (&"{{secret:a}}".repeat(5), TemplateError::TooManySecrets),
            (&format!("{}{{{{secret:a}}}}", "x".repeat(1024)), TemplateError::TooLong),
        ] {
            assert_eq!(text.parse::<Template>(), Err(error), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_template_reads_back_as_itself(text in "([a-z{} ]|\\{\\{|\\}\\}|secret:|\\{\\{secret:[A-Za-z_]{1,4}\\}\\}){0,8}") {
            if let Ok(template) = text.parse::<Template>() {
                prop_assert_eq!(String::from(template), text);
            }
        }
    }
}
