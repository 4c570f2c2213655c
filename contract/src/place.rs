//! Where in a request a value may stand.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;

/// The longest field name taken, in bytes.
pub const MAX_HEADER_NAME_BYTES: usize = 64;

/// The most places one policy may list.
pub const MAX_PLACES: usize = 16;

/// Fields that frame, route or describe the message itself (RFC 9110, 7.6.1 and 8.6; RFC 9112), or that the sidecar
/// writes: a value in one of them would change what the call is.
const NOT_A_PLACE: [&str; 21] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "date",
    "expect",
    "host",
    "keep-alive",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "traceparent",
    "tracestate",
    "if-range",
];

/// The name of a header field a value may be put into; lower case (field names are case-insensitive, RFC 9110, 5.1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HeaderPlace(String);

/// Why a text is not a [`HeaderPlace`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderPlaceError {
    /// Not a field name.
    #[error("a header's name has 1 to {MAX_HEADER_NAME_BYTES} letters, digits and hyphens")]
    Malformed,
    /// A field that frames or routes the message.
    #[error("the field '{0}' frames or routes the request and cannot carry a value")]
    Reserved(String),
}

/// The places an owner approved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Places {
    headers: Vec<HeaderPlace>,
}

impl HeaderPlace {
    /// The name in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HeaderPlace {
    type Err = HeaderPlaceError;

    fn from_str(text: &str) -> Result<Self, HeaderPlaceError> {
        let bounded = (1..=MAX_HEADER_NAME_BYTES).contains(&text.len());
        if !bounded || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(HeaderPlaceError::Malformed);
        }
        let name = text.to_ascii_lowercase();
        if NOT_A_PLACE.contains(&name.as_str()) || name.starts_with("keylend-") {
            return Err(HeaderPlaceError::Reserved(name));
        }
        Ok(Self(name))
    }
}

impl TryFrom<String> for HeaderPlace {
    type Error = HeaderPlaceError;

    fn try_from(text: String) -> Result<Self, HeaderPlaceError> {
        text.parse()
    }
}

impl From<HeaderPlace> for String {
    fn from(place: HeaderPlace) -> Self {
        place.0
    }
}

impl fmt::Display for HeaderPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for HeaderPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

impl Places {
    /// The approved header fields; an empty list approves no place.
    #[must_use]
    pub fn headers(headers: Vec<HeaderPlace>) -> Self {
        Self { headers }
    }

    /// Decides whether a value may stand in the field `header`.
    ///
    /// # Errors
    /// [`Refusal::PlaceNotApproved`] when it is not listed.
    pub fn permit(&self, header: &HeaderPlace) -> Result<(), Refusal> {
        if self.headers.contains(header) {
            return Ok(());
        }
        Err(Refusal::PlaceNotApproved { place: format!("header {header}") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_case_and_framing_fields_are_no_places() {
        let authorization: HeaderPlace = "Authorization".parse().unwrap();
        assert_eq!(authorization, "AUTHORIZATION".parse().unwrap());
        for text in [
            "",
            "a b",
            "a:b",
            "x_y",
            "é",
            "Host",
            "Content-Length",
            "Transfer-Encoding",
            "Keylend-Refusal",
            "TE",
        ] {
            assert!(text.parse::<HeaderPlace>().is_err(), "{text}");
        }
    }

    #[test]
    fn no_places_permit_none() {
        let authorization: HeaderPlace = "authorization".parse().unwrap();
        assert!(Places::headers(vec![]).permit(&authorization).is_err());
        assert!(Places::headers(vec![authorization.clone()]).permit(&authorization).is_ok());
        assert!(Places::headers(vec!["x-api-key".parse().unwrap()]).permit(&authorization).is_err());
    }
}
