//! A DNS name in its one spelling.
//!
//! Two spellings of one name are how a check and a connection come to disagree, so only the canonical spelling is a
//! [`Host`]: whatever would have to be changed first is refused, with the right spelling where there is one.

use std::{fmt, str::FromStr};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use serde::{Deserialize, Serialize};

/// The longest name DNS can carry, in bytes without the final dot (RFC 1035, 2.3.4).
pub const MAX_HOST_BYTES: usize = 253;

/// A DNS name of two labels or more, in canonical spelling: lower-case letters, digits and inner hyphens, A-labels for
/// everything else (RFC 5890, UTS 46 non-transitional). Never an address, never with a final dot or a port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Host(String);

/// Why a text is not a [`Host`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing was given.
    #[error("a host name is needed")]
    Empty,
    /// Longer than DNS allows.
    #[error("a host name has at most {MAX_HOST_BYTES} characters")]
    TooLong,
    /// An IPv4 or IPv6 address in any spelling a resolver or a browser would take.
    #[error("an address is not a host name; give the DNS name")]
    Address,
    /// One label only, such as `localhost`.
    #[error("a host name needs two labels or more, such as api.example.com")]
    SingleLabel,
    /// A port, a path, user information or a scheme came along.
    #[error("give the host name alone, without scheme, port, path or user")]
    NotAlone,
    /// A well-formed name, but not in its canonical spelling.
    #[error("write this host name as {0}")]
    NotCanonical(String),
    /// A character or a label DNS host names do not have.
    #[error("a host name has letters, digits and inner hyphens only")]
    Malformed,
}

impl Host {
    /// The name, canonical, without a final dot.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The labels from left to right; always two or more.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        if text.len() > MAX_HOST_BYTES * 4 {
            return Err(HostError::TooLong);
        }
        if text.starts_with('[') || text.parse::<std::net::IpAddr>().is_ok() {
            return Err(HostError::Address);
        }
        if text.contains(['/', ':', '@', '?', '#', '\\', '%']) {
            return Err(HostError::NotAlone);
        }
        let canonical = canonical_spelling(text)?;
        if canonical.len() > MAX_HOST_BYTES {
            return Err(HostError::TooLong);
        }
        if ends_in_a_number(&canonical) {
            return Err(HostError::Address);
        }
        if !canonical.contains('.') {
            return Err(HostError::SingleLabel);
        }
        if canonical != text {
            return Err(HostError::NotCanonical(canonical));
        }
        Ok(Self(canonical))
    }
}

impl TryFrom<String> for Host {
    type Error = HostError;

    fn try_from(text: String) -> Result<Self, HostError> {
        text.parse()
    }
}

impl From<Host> for String {
    fn from(host: Host) -> Self {
        host.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

/// Maps `text` by UTS 46 and demands that the result stays what it is when it is mapped again: an A-label that decodes
/// to something which encodes differently is no label.
fn canonical_spelling(text: &str) -> Result<String, HostError> {
    let mapping = Uts46::new();
    let text = text.strip_suffix('.').unwrap_or(text);
    let ascii = mapping
        .to_ascii(text.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify)
        .map_err(|_| HostError::Malformed)?
        .into_owned();
    let (unicode, decoded) =
        mapping.to_unicode(ascii.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast);
    decoded.map_err(|_| HostError::Malformed)?;
    let again = mapping
        .to_ascii(unicode.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify)
        .map_err(|_| HostError::Malformed)?;
    if again == ascii { Ok(ascii) } else { Err(HostError::Malformed) }
}

/// What the WHATWG URL standard calls "ends in a number": resolvers and clients read such a name as an IPv4 address.
fn ends_in_a_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hexadecimal = last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
    hexadecimal || last.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_canonical_spelling_is_a_host() {
        let table: &[(&str, Result<(), HostError>)] = &[
            ("api.example.com", Ok(())),
            ("a-b.example.com", Ok(())),
            ("r3---sn.example.com", Ok(())),
            ("xn--bcher-kva.example", Ok(())),
            ("1.example.com", Ok(())),
            ("", Err(HostError::Empty)),
            ("localhost", Err(HostError::SingleLabel)),
            ("API.example.com", Err(HostError::NotCanonical("api.example.com".into()))),
            ("api.example.com.", Err(HostError::NotCanonical("api.example.com".into()))),
            ("bücher.example", Err(HostError::NotCanonical("xn--bcher-kva.example".into()))),
            ("api。example.com", Err(HostError::NotCanonical("api.example.com".into()))),
            ("ａpi.example.com", Err(HostError::NotCanonical("api.example.com".into()))),
            ("api.exa\u{ad}mple.com", Err(HostError::NotCanonical("api.example.com".into()))),
            ("xn--api.example.com", Err(HostError::Malformed)),
            ("xn--example-.com", Err(HostError::Malformed)),
            ("api..example.com", Err(HostError::Malformed)),
            (".example.com", Err(HostError::Malformed)),
            ("-api.example.com", Err(HostError::Malformed)),
            ("api-.example.com", Err(HostError::Malformed)),
            ("api_v1.example.com", Err(HostError::Malformed)),
            ("api example.com", Err(HostError::Malformed)),
            ("api\t.example.com", Err(HostError::Malformed)),
            ("api.example.com\0", Err(HostError::Malformed)),
            ("*.example.com", Err(HostError::Malformed)),
            ("good.com,evil.com", Err(HostError::Malformed)),
            ("api%2eexample.com", Err(HostError::NotAlone)),
            ("good.com@evil.com", Err(HostError::NotAlone)),
            ("evil.com\\good.com", Err(HostError::NotAlone)),
            ("https://api.example.com", Err(HostError::NotAlone)),
            ("api.example.com:443", Err(HostError::NotAlone)),
            ("api.example.com/v1", Err(HostError::NotAlone)),
            ("127.0.0.1", Err(HostError::Address)),
            ("127.1", Err(HostError::Address)),
            ("0x7f.1", Err(HostError::Address)),
            ("2130706433", Err(HostError::Address)),
            ("api.0x1", Err(HostError::Address)),
            ("①②⑦.0.0.①", Err(HostError::Address)),
            ("::1", Err(HostError::Address)),
            ("[::1]", Err(HostError::Address)),
        ];
        for (text, expected) in table {
            assert_eq!(&text.parse::<Host>().map(|_| ()), expected, "{text:?}");
        }
    }

    #[test]
    fn lengths_are_those_of_dns() {
        let label = "a".repeat(63);
        assert!(format!("{label}.com").parse::<Host>().is_ok());
        assert_eq!(format!("{label}a.com").parse::<Host>(), Err(HostError::Malformed));
        let long = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(long.len(), 253);
        assert!(long.parse::<Host>().is_ok());
        assert!(format!("{long}a").parse::<Host>().is_err());
    }

    proptest! {
        #[test]
        fn what_is_a_host_has_exactly_one_spelling(text in "\\PC{0,40}") {
            if let Ok(host) = text.parse::<Host>() {
                prop_assert_eq!(host.as_str(), &text);
                prop_assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.'));
                prop_assert!(host.labels().count() >= 2);
            }
        }

        #[test]
        fn an_advised_spelling_is_a_host(text in "[a-zA-Zäöüß.-]{1,20}\\.(com|test|EXAMPLE)") {
            if let Err(HostError::NotCanonical(advice)) = text.parse::<Host>() {
                prop_assert!(advice.parse::<Host>().is_ok(), "{}", advice);
            }
        }
    }
}
