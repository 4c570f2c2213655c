//! The hosts a credential may go to. An empty lock permits nothing; there is no regular expression anywhere.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    host::{Host, HostError},
    refusal::Refusal,
};

/// The most patterns one lock may hold.
pub const MAX_PATTERNS: usize = 64;

/// One entry of a lock: an exact host, or `*.` and a base for exactly one further label, never the base itself.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DomainPattern(Shape);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Shape {
    Exact(Host),
    OneLabelUnder(Host),
}

/// Why a text is not a [`DomainPattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The host in it is not one.
    #[error("{0}")]
    Host(#[from] HostError),
    /// Nothing or one label behind `*.`.
    #[error("the name behind '*.' needs two labels or more, as in *.example.com")]
    Base,
    /// `*` somewhere else than as the whole first label.
    #[error("'*' stands only as the whole first label, as in *.example.com")]
    Star,
    /// Anybody may register a name under this base (<https://publicsuffix.org>, both sections of the list).
    #[error("anybody may register a name under {0}; name the hosts one by one")]
    PublicSuffix(Host),
}

/// The hosts an owner approved: never empty, at most [`MAX_PATTERNS`] patterns.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Vec<DomainPattern>", into = "Vec<DomainPattern>")]
pub struct DomainLock(Vec<DomainPattern>);

/// Why a list is not a [`DomainLock`]. One invalid pattern invalidates the list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// A lock that permits nothing is a mistake.
    #[error("at least one domain is needed")]
    Empty,
    /// More than [`MAX_PATTERNS`].
    #[error("at most {MAX_PATTERNS} domains are possible")]
    TooMany,
    /// One pattern is not valid.
    #[error("'{}': {error}", .pattern.escape_debug())]
    Pattern {
        /// The pattern as it was given.
        pattern: String,
        /// What is wrong with it.
        error: PatternError,
    },
}

/// Proof that a share's lock was checked. Only [`DomainLock::permit`] makes one.
///
/// ```compile_fail
/// use keylend_contract::{domain_lock::ApprovedHost, host::Host};
/// let host: Host = "api.example.com".parse().unwrap();
/// let forged = ApprovedHost(host);
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ApprovedHost(Host);

impl ApprovedHost {
    /// The approved name.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.0
    }
}

impl DomainPattern {
    fn permits(&self, called: &Host) -> bool {
        match &self.0 {
            Shape::Exact(host) => host == called,
            Shape::OneLabelUnder(base) => {
                called.as_str().split_once('.').is_some_and(|(_, rest)| rest == base.as_str())
            }
        }
    }
}

impl FromStr for DomainPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let Some(base) = text.strip_prefix("*.") else {
            if text.contains('*') {
                return Err(PatternError::Star);
            }
            return Ok(Self(Shape::Exact(text.parse()?)));
        };
        if base.contains('*') {
            return Err(PatternError::Star);
        }
        let base: Host = match base.parse() {
            Err(HostError::NotCanonical(advice)) => {
                return Err(HostError::NotCanonical(format!("*.{advice}")).into());
            }
            Err(HostError::Empty | HostError::SingleLabel) => return Err(PatternError::Base),
            other => other?,
        };
        if is_open_to_strangers(&base) {
            return Err(PatternError::PublicSuffix(base));
        }
        Ok(Self(Shape::OneLabelUnder(base)))
    }
}

/// Whether `base` is a public suffix, or the list has a rule `*.base`, by which each name right under it is one.
fn is_open_to_strangers(base: &Host) -> bool {
    let below = format!("a.{base}");
    psl::suffix_str(&below).is_some_and(|suffix| suffix == base.as_str() || suffix == below)
}

impl TryFrom<String> for DomainPattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

impl From<DomainPattern> for String {
    fn from(pattern: DomainPattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Shape::Exact(host) => write!(formatter, "{host}"),
            Shape::OneLabelUnder(base) => write!(formatter, "*.{base}"),
        }
    }
}

impl fmt::Debug for DomainPattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

impl DomainLock {
    /// Parses every pattern of `texts`.
    ///
    /// # Errors
    /// [`LockError`], for the first pattern that is not valid, or for an empty or too long list.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, LockError> {
        let patterns = texts
            .iter()
            .map(|text| {
                let pattern = text.as_ref();
                pattern
                    .parse::<DomainPattern>()
                    .map_err(|error| LockError::Pattern { pattern: pattern.to_owned(), error })
            })
            .collect::<Result<Vec<_>, _>>()?;
        Self::try_from(patterns)
    }

    /// Decides whether the credential may go to `called`.
    ///
    /// # Errors
    /// [`Refusal::HostNotApproved`] when no pattern permits it.
    pub fn permit(&self, called: &Host) -> Result<ApprovedHost, Refusal> {
        if self.0.iter().any(|pattern| pattern.permits(called)) {
            return Ok(ApprovedHost(called.clone()));
        }
        Err(Refusal::HostNotApproved { host: called.to_string() })
    }
}

impl TryFrom<Vec<DomainPattern>> for DomainLock {
    type Error = LockError;

    fn try_from(patterns: Vec<DomainPattern>) -> Result<Self, LockError> {
        match patterns.len() {
            0 => Err(LockError::Empty),
            1..=MAX_PATTERNS => Ok(Self(patterns)),
            _ => Err(LockError::TooMany),
        }
    }
}

impl From<DomainLock> for Vec<DomainPattern> {
    fn from(lock: DomainLock) -> Self {
        lock.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn permits(pattern: &str, called: &str) -> bool {
        let lock = DomainLock::parse(&[pattern]).unwrap();
        lock.permit(&called.parse().unwrap()).is_ok()
    }

    #[test]
    fn a_star_is_exactly_one_label() {
        let table = [
            ("api.example.com", "api.example.com", true),
            ("api.example.com", "api2.example.com", false),
            ("api.example.com", "example.com", false),
            ("api.example.com", "a.api.example.com", false),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", "a.example.com.evil.com", false),
            ("*.example.com", "badexample.com", false),
            ("*.example.com", "xn--bcher-kva.example.com", true),
            ("*.mine.github.io", "a.mine.github.io", true),
        ];
        for (pattern, called, permitted) in table {
            assert_eq!(permits(pattern, called), permitted, "{pattern} {called}");
        }
    }

    #[test]
    fn an_empty_lock_permits_nothing_because_there_is_none() {
        assert_eq!(DomainLock::parse::<&str>(&[]), Err(LockError::Empty));
        assert!(serde_json::from_str::<DomainLock>("[]").is_err());
    }

    #[test]
    fn one_invalid_pattern_invalidates_the_list() {
        let error = DomainLock::parse(&["api.example.com", "*.com"]).unwrap_err();
        assert!(matches!(error, LockError::Pattern { ref pattern, .. } if pattern == "*.com"), "{error}");
        let many = vec!["api.example.com"; MAX_PATTERNS + 1];
        assert_eq!(DomainLock::parse(&many), Err(LockError::TooMany));
    }

    #[test]
    fn patterns_that_would_reach_strangers_or_nobody_are_invalid() {
        for text in [
            "*",
            "*.",
            "*.com",
            "*.co.uk",
            "*.github.io",
            "*.s3.amazonaws.com",
            "*.compute.amazonaws.com",
            "*.*.example.com",
        ] {
            assert!(text.parse::<DomainPattern>().is_err(), "{text}");
        }
        for text in
            ["a*.example.com", "**.example.com", "api.*.com", "*example.com", "example.*", "*.10.0.0.1"]
        {
            assert!(text.parse::<DomainPattern>().is_err(), "{text}");
        }
        for text in ["api.example.com:443", "https://api.example.com", "10.0.0.1", "", "*.example.com/"] {
            assert!(text.parse::<DomainPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_message_gives_the_right_form() {
        let base = "the name behind '*.' needs two labels or more, as in *.example.com";
        let table = [
            ("*.Bücher.example", "write this host name as *.xn--bcher-kva.example"),
            ("*.com", base),
            ("*.internal", base),
            ("*.", base),
            ("com", "a host name needs two labels or more, such as api.example.com"),
        ];
        for (text, message) in table {
            assert_eq!(text.parse::<DomainPattern>().unwrap_err().to_string(), message, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_permitted_host_is_the_pattern_or_one_label_longer(pattern in "(\\*\\.)?[a-c]{1,2}(\\.[a-c]{1,2}){1,3}", called in "[a-c]{1,2}(\\.[a-c]{1,2}){1,4}") {
            if let (Ok(lock), Ok(host)) = (DomainLock::parse(&[&pattern]), called.parse::<Host>()) {
                let expected = match pattern.strip_prefix("*.") {
                    Some(base) => called.strip_suffix(base).and_then(|head| head.strip_suffix('.')).is_some_and(|label| !label.is_empty() && !label.contains('.')),
                    None => pattern == called,
                };
                prop_assert_eq!(lock.permit(&host).is_ok(), expected);
            }
        }

        #[test]
        fn a_pattern_reads_back_as_itself(text in "\\PC{0,30}") {
            if let Ok(pattern) = text.parse::<DomainPattern>() {
                prop_assert_eq!(pattern.to_string(), text);
            }
        }
    }
}
