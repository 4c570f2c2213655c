//! The name of a secret. `STRIPE_API_KEY`, `stripe_api_key` and `stripe-api-key` are one name.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The longest name, in bytes: it is also the name of a resource (RFC 1123 label).
pub const MAX_NAME_BYTES: usize = 63;

/// A secret's name: compared in its canonical spelling, shown as it was written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName {
    canonical: String,
    written: String,
}

/// Why a text is not a [`SecretName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty, or longer than [`MAX_NAME_BYTES`].
    #[error("a secret's name has 1 to {MAX_NAME_BYTES} characters")]
    Length,
    /// Something else than letters, digits, `-` and `_`, or one of the latter two first or last.
    #[error("a secret's name has letters, digits, '-' and '_', and begins and ends with a letter or digit")]
    Malformed,
}

impl SecretName {
    /// The resource name: lower case, `_` read as `-`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.canonical
    }

    /// The name as the route spells it; for messages only.
    #[must_use]
    pub fn written(&self) -> &str {
        &self.written
    }
}

impl FromStr for SecretName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.len() > MAX_NAME_BYTES {
            return Err(NameError::Length);
        }
        let canonical = text.to_ascii_lowercase().replace('_', "-");
        let bytes = canonical.as_bytes();
        let inner = bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-');
        let outer = [bytes.first(), bytes.last()].iter().all(|b| b.is_some_and(u8::is_ascii_alphanumeric));
        if !inner || !outer {
            return Err(NameError::Malformed);
        }
        Ok(Self { canonical, written: text.to_owned() })
    }
}

impl TryFrom<String> for SecretName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> Self {
        name.written
    }
}

impl PartialEq for SecretName {
    fn eq(&self, other: &Self) -> bool {
        self.canonical == other.canonical
    }
}

impl Eq for SecretName {}

impl fmt::Debug for SecretName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.written, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_spellings_are_one_name() {
        let names: Vec<SecretName> =
            ["STRIPE_API_KEY", "stripe_api_key", "stripe-api-key"].map(|n| n.parse().unwrap()).into();
        assert!(names.iter().all(|name| name == &names[0] && name.as_str() == "stripe-api-key"));
        assert_eq!(names[1].written(), "stripe_api_key");
    }

    #[test]
    fn other_texts_are_no_names() {
        for text in ["", "-a", "a-", "_a", "a.b", "a b", "a/b", "ä", "a\n", &"a".repeat(64)] {
            assert!(text.parse::<SecretName>().is_err(), "{text:?}");
        }
    }
}
