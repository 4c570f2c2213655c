//! How long a body is: the rules of RFC 9112 section 6 with every choice it leaves open decided against the sender.
//!
//! Promises: a message has exactly one length whoever reads it, or it is refused. Content-Length and Transfer-Encoding
//! are read here and nowhere else, and never forwarded: we state the length again when we write. Never add a repair.

use super::fields::Fields;

/// What is wrong with the fields that state a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// Both ways at once.
    #[error("both Content-Length and Transfer-Encoding are present (RFC 9112 section 6.1)")]
    LengthAndCoding,
    /// Two Content-Length fields, equal or not.
    #[error("Content-Length occurs more than once (RFC 9112 section 6.3)")]
    LengthRepeated,
    /// A list, a sign, or nothing.
    #[error("Content-Length is not plain digits (RFC 9110 section 8.6)")]
    LengthInvalid,
    /// More than 64 bits.
    #[error("Content-Length is too large (RFC 9110 section 8.6)")]
    LengthOverflow,
    /// Two Transfer-Encoding fields.
    #[error("Transfer-Encoding occurs more than once (RFC 9112 section 6.1)")]
    CodingRepeated,
    /// Anything but `chunked`.
    #[error("Transfer-Encoding is not exactly chunked (RFC 9112 section 6.1)")]
    CodingUnknown,
    /// A 1xx or 204 that announces a body.
    #[error("a response that cannot have a body announces one (RFC 9112 section 6.3)")]
    BodyForbidden,
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body, and no length is stated.
    None,
    /// There is no body, but the length it would have is stated: an answer to HEAD, or a 304.
    Declared(u64),
    /// This many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// All bytes until the connection closes; responses only, and the connection is not used again.
    UntilClose,
}

/// What the request asked for, as far as it changes how the response ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// HEAD: the response has no body whatever it states.
    Head,
    /// Any other method.
    Other,
}

impl Asked {
    /// By a request with `method`.
    #[must_use]
    pub fn by(method: &str) -> Self {
        if method == "HEAD" { Self::Head } else { Self::Other }
    }
}

/// The framing of a request.
pub(super) fn of_request(fields: &Fields) -> Result<Framing, FramingError> {
    stated(fields)
}

/// The framing of a response to what was `asked`.
pub(super) fn of_response(status: u16, asked: Asked, fields: &Fields) -> Result<Framing, FramingError> {
    match (status, asked, stated(fields)?) {
        (100..=199 | 204, _, Framing::None | Framing::Length(0)) => Ok(Framing::None),
        (100..=199 | 204, ..) => Err(FramingError::BodyForbidden),
        (304, _, Framing::Length(length)) | (_, Asked::Head, Framing::Length(length)) => {
            Ok(Framing::Declared(length))
        }
        (304, ..) | (_, Asked::Head, _) => Ok(Framing::None),
        (_, Asked::Other, Framing::None) => Ok(Framing::UntilClose),
        (_, Asked::Other, framing) => Ok(framing),
    }
}

/// What the fields say by themselves.
fn stated(fields: &Fields) -> Result<Framing, FramingError> {
    let (mut lengths, mut codings) = (fields.all("content-length"), fields.all("transfer-encoding"));
    let (length, coding) = (lengths.next(), codings.next());
    if lengths.next().is_some() {
        return Err(FramingError::LengthRepeated);
    }
    if codings.next().is_some() {
        return Err(FramingError::CodingRepeated);
    }
    match (length, coding) {
        (None, None) => Ok(Framing::None),
        (Some(_), Some(_)) => Err(FramingError::LengthAndCoding),
        (Some(length), None) => Ok(Framing::Length(plain_digits(length)?)),
        (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
        (None, Some(_)) => Err(FramingError::CodingUnknown),
    }
}

/// `1*DIGIT`, where the standard library's number parser would take a sign.
fn plain_digits(text: &[u8]) -> Result<u64, FramingError> {
    if text.is_empty() {
        return Err(FramingError::LengthInvalid);
    }
    text.iter().try_fold(0_u64, |value, digit| match digit {
        b'0'..=b'9' => value
            .checked_mul(10)
            .and_then(|value| value.checked_add(u64::from(digit - b'0')))
            .ok_or(FramingError::LengthOverflow),
        _ => Err(FramingError::LengthInvalid),
    })
}
