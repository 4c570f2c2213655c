//! What heads of both directions share: the ways one is refused, and the meaning of Connection.
//!
//! Promises: each refusal names the rule it rests on and never repeats what was sent, so it may be shown and logged.

use httparse::Error;

use super::{
    fields::{FieldError, Fields, is_token, name_error},
    framing::FramingError,
    lines::LineError,
    target::TargetError,
};

/// More options than any honest peer sends; each costs a comparison with each field.
const CONNECTION_OPTIONS: usize = 32;

/// Why a head is refused. Nothing after it on that connection can be trusted: close it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The lines.
    #[error(transparent)]
    Lines(#[from] LineError),
    /// A field.
    #[error(transparent)]
    Fields(#[from] FieldError),
    /// The request target or Host.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The length of the body.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// Not `method SP target SP version`.
    #[error("the request line is malformed (RFC 9112 section 3)")]
    RequestLine,
    /// Not `version SP code SP reason`.
    #[error("the status line is malformed (RFC 9112 section 4)")]
    StatusLine,
    /// Not `HTTP/1.1`, HTTP/1.0 included.
    #[error("the version is not HTTP/1.1 (RFC 9112 section 2.3)")]
    Version,
    /// TRACE would return the injected credential.
    #[error("the method TRACE is not served (RFC 9110 section 9.3.8)")]
    Trace,
    /// CONNECT would open a tunnel that nobody watches.
    #[error("the method CONNECT is not served (RFC 9110 section 9.3.6)")]
    Connect,
    /// No Host.
    #[error("Host is missing (RFC 9112 section 3.2)")]
    HostMissing,
    /// Two Host fields, equal or not.
    #[error("Host occurs more than once (RFC 9112 section 3.2)")]
    HostRepeated,
    /// In absolute-form.
    #[error("Host differs from the request target (RFC 9112 section 3.2.2)")]
    HostDiffers,
    /// Not a short list of tokens.
    #[error("Connection is not a list of at most 32 options (RFC 9110 section 7.6.1)")]
    Connection,
    /// Another protocol than `h2c` is asked for.
    #[error("Upgrade asks for a protocol that is not served (RFC 9110 section 7.8)")]
    Upgrade,
    /// Not exactly `100-continue`.
    #[error("Expect is not exactly 100-continue (RFC 9110 section 10.1.1)")]
    Expectation,
    /// Outside 100 to 599.
    #[error("the status code is outside 100 to 599 (RFC 9110 section 15)")]
    StatusCode,
    /// A 101 nobody asked for.
    #[error("the response switches protocols without being asked to (RFC 9110 section 15.2.2)")]
    SwitchingProtocols,
    /// A flood of 1xx.
    #[error("too many interim responses precede the final one (RFC 9110 section 15.2)")]
    TooManyInterim,
}

/// Whether the sender wants to use the connection again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// The default of HTTP/1.1.
    KeepAlive,
    /// `Connection: close`.
    Close,
}

/// Reads Connection.
pub(super) fn persistence(fields: &Fields) -> Result<Persistence, HeadError> {
    let options = fields.members("connection");
    if !options.enumerate().all(|(count, option)| count < CONNECTION_OPTIONS && is_token(option)) {
        return Err(HeadError::Connection);
    }
    let close = fields.members("connection").any(|option| option.eq_ignore_ascii_case(b"close"));
    Ok(if close { Persistence::Close } else { Persistence::KeepAlive })
}

/// Says in our words what httparse refused in `section`, whose first line is `start_line`.
pub(super) fn translate(error: Error, section: &[u8], start_line: HeadError) -> HeadError {
    match error {
        Error::HeaderName => name_error(section).into(),
        Error::HeaderValue => FieldError::Control.into(),
        Error::TooManyHeaders => FieldError::TooMany.into(),
        Error::Version => HeadError::Version,
        Error::NewLine | Error::Status | Error::Token => start_line,
    }
}
