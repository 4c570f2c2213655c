//! Writes heads from typed parts.
//!
//! Promises: what it writes, our own parser reads back as the same parts, so no value can start a line or a message of
//! its own. Host, Connection and the fields that state a length are written here alone. A head that was not finished
//! is wiped, so a refused value never lies in a buffer that is sent later.

use super::{
    buffer::{Buffer, Full},
    fields::{Field, is_token, is_value, trim},
    framing::Framing,
    head::Persistence,
    target::{is_authority, is_origin_form},
};

/// Why a head is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// No room.
    #[error(transparent)]
    Full(#[from] Full),
    /// Method, target, Host, status or reason.
    #[error("writing a start line from malformed parts")]
    StartLine,
    /// Not a token.
    #[error("writing a field whose name is not a token")]
    FieldName,
    /// A control character, or whitespace around the value.
    #[error("writing a field whose value cannot stand in a head")]
    FieldValue,
    /// Host, Connection, Content-Length or Transfer-Encoding.
    #[error("writing a field that only the codec itself may write")]
    Reserved,
    /// A request whose body would last until the connection closes, or that only declares a length.
    #[error("writing a request with the framing of a response")]
    Framing,
}

/// A head on its way into a buffer.
pub struct HeadWriter<'b> {
    out: &'b mut Buffer,
    kind: Kind,
    /// How much lay in the buffer before.
    before: usize,
    finished: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    Request,
    Response,
}

impl<'b> HeadWriter<'b> {
    /// Starts a request: `target` in origin-form, `host` as `name` or `name:port`.
    ///
    /// # Errors
    ///
    /// [`WriteError`]: no room, or a part that is malformed.
    pub fn request(out: &'b mut Buffer, method: &str, target: &str, host: &str) -> Result<Self, WriteError> {
        if !is_token(method.as_bytes()) || !is_origin_form(target) || is_authority(host).is_err() {
            return Err(WriteError::StartLine);
        }
        let mut head = Self::start(out, Kind::Request);
        head.push(&[
            method.as_bytes(),
            b" ",
            target.as_bytes(),
            b" HTTP/1.1\r\nHost: ",
            host.as_bytes(),
            b"\r\n",
        ])?;
        Ok(head)
    }

    /// Starts a response.
    ///
    /// # Errors
    ///
    /// [`WriteError`]: no room, or a part that is malformed.
    pub fn response(out: &'b mut Buffer, status: u16, reason: &[u8]) -> Result<Self, WriteError> {
        if !(200..=599).contains(&status) || !is_value(reason) {
            return Err(WriteError::StartLine);
        }
        let mut head = Self::start(out, Kind::Response);
        head.push(&[b"HTTP/1.1 ", decimal(status.into(), &mut [0; 20]), b" ", reason, b"\r\n"])?;
        Ok(head)
    }

    fn start(out: &'b mut Buffer, kind: Kind) -> Self {
        let before = out.bytes().len();
        Self { out, kind, before, finished: false }
    }

    /// Adds one field.
    ///
    /// # Errors
    ///
    /// [`WriteError`]: no room, or a field that may not be written.
    pub fn field(&mut self, name: &str, value: &[u8]) -> Result<(), WriteError> {
        if ["host", "connection", "content-length", "transfer-encoding"]
            .iter()
            .any(|own| own.eq_ignore_ascii_case(name))
        {
            return Err(WriteError::Reserved);
        }
        self.line(name, value)
    }

    /// Adds fields in their order.
    ///
    /// # Errors
    ///
    /// As [`field`](Self::field).
    pub fn fields<'f>(&mut self, fields: impl IntoIterator<Item = Field<'f>>) -> Result<(), WriteError> {
        fields.into_iter().try_for_each(|field| self.field(field.name, field.value))
    }

    /// States the length and the end of the connection, and ends the head.
    ///
    /// A response with [`Framing::None`] is one that cannot have a body: to HEAD, 204 or 304. An empty body is
    /// `Framing::Length(0)`.
    ///
    /// # Errors
    ///
    /// [`WriteError`]: no room, or a framing that a request cannot have.
    pub fn finish(mut self, framing: Framing, persistence: Persistence) -> Result<(), WriteError> {
        match (self.kind, framing) {
            (Kind::Request, Framing::Declared(_) | Framing::UntilClose) => return Err(WriteError::Framing),
            (_, Framing::None | Framing::UntilClose) => {}
            (_, Framing::Chunked) => self.line("Transfer-Encoding", b"chunked")?,
            (_, Framing::Length(length) | Framing::Declared(length)) => {
                self.line("Content-Length", decimal(length, &mut [0; 20]))?;
            }
        }
        if persistence == Persistence::Close || framing == Framing::UntilClose {
            self.line("Connection", b"close")?;
        }
        self.push(&[b"\r\n"])?;
        self.finished = true;
        Ok(())
    }

    fn line(&mut self, name: &str, value: &[u8]) -> Result<(), WriteError> {
        write_field(self.out, Field { name, value })
    }

    fn push(&mut self, parts: &[&[u8]]) -> Result<(), WriteError> {
        Ok(parts.iter().try_for_each(|part| self.out.push(part))?)
    }
}

impl Drop for HeadWriter<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.out.truncate(self.before);
        }
    }
}

/// Writes one field line, or a part of it before it fails.
pub(super) fn write_field(out: &mut Buffer, field: Field<'_>) -> Result<(), WriteError> {
    if !is_token(field.name.as_bytes()) {
        return Err(WriteError::FieldName);
    }
    if !is_value(field.value) || trim(field.value).len() != field.value.len() {
        return Err(WriteError::FieldValue);
    }
    let parts: [&[u8]; 4] = [field.name.as_bytes(), b": ", field.value, b"\r\n"];
    Ok(parts.iter().try_for_each(|part| out.push(part))?)
}

/// Writes a number without allocating.
fn decimal(number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut rest = number;
    let mut start = digits.len();
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        start = place;
        if rest == 0 {
            break;
        }
    }
    &digits[start..]
}
