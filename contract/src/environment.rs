//! The environment a value belongs to. A missing value is a refusal, never a fallback.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// An environment's name, such as `production`: an RFC 1123 label.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Environment(String);

/// Why a text is not an [`Environment`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an environment is 1 to 63 lower-case letters, digits and inner hyphens")]
pub struct EnvironmentError;

impl Environment {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Environment {
    type Err = EnvironmentError;

    fn from_str(text: &str) -> Result<Self, EnvironmentError> {
        let label = (1..=63).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        if label { Ok(Self(text.to_owned())) } else { Err(EnvironmentError) }
    }
}

impl TryFrom<String> for Environment {
    type Error = EnvironmentError;

    fn try_from(text: String) -> Result<Self, EnvironmentError> {
        text.parse()
    }
}

impl From<Environment> for String {
    fn from(environment: Environment) -> Self {
        environment.0
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_a_label() {
        for (text, valid) in [
            ("production", true),
            ("eu-1", true),
            ("", false),
            ("Production", false),
            ("-a", false),
            ("a-", false),
            ("a.b", false),
        ] {
            assert_eq!(text.parse::<Environment>().is_ok(), valid, "{text:?}");
        }
    }
}
