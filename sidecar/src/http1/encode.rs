//! Frames a body that is written, whatever framing it was read with.
//!
//! Promises: a body with a stated length has exactly that length or fails; an empty piece of data never looks like the
//! last chunk; no chunk extension is ever written.

use super::{
    buffer::Buffer,
    fields::Field,
    framing::Framing,
    writer::{WriteError, write_field},
};

/// Why a body is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// More data than was stated.
    #[error("writing a body longer than its stated length")]
    TooLong,
    /// Less data than was stated.
    #[error("ending a body before its stated length")]
    TooShort,
    /// The trailers.
    #[error(transparent)]
    Trailers(#[from] WriteError),
}

/// Frames one body.
pub struct BodyEncoder(Kind);

#[derive(Clone, Copy)]
enum Kind {
    Counted { left: u64 },
    Chunked,
    UntilClose,
}

/// What stands around one piece of data.
pub struct Frame {
    size: [u8; 18],
    start: usize,
    after: &'static [u8],
}

impl Frame {
    /// To be written before the data.
    #[must_use]
    pub fn before(&self) -> &[u8] {
        &self.size[self.start..]
    }

    /// To be written after the data.
    #[must_use]
    pub fn after(&self) -> &'static [u8] {
        self.after
    }

    fn nothing() -> Self {
        Self { size: [0; 18], start: 18, after: b"" }
    }

    /// The size in hexadecimal, set against the right end of its field.
    fn chunk(length: usize) -> Self {
        let (mut size, mut start, mut rest) = (*b"................\r\n", 16, length);
        while rest > 0 {
            start -= 1;
            size[start] = b"0123456789abcdef"[rest % 16];
            rest /= 16;
        }
        Self { size, start, after: b"\r\n" }
    }
}

impl BodyEncoder {
    /// For the body after a head that was finished with this framing.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::None | Framing::Declared(_) => Kind::Counted { left: 0 },
            Framing::Length(length) => Kind::Counted { left: length },
            Framing::Chunked => Kind::Chunked,
            Framing::UntilClose => Kind::UntilClose,
        })
    }

    /// What to write around the next `length` bytes of data.
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooLong`].
    pub fn frame(&mut self, length: usize) -> Result<Frame, EncodeError> {
        match &mut self.0 {
            Kind::Counted { left } => {
                *left = left.checked_sub(length as u64).ok_or(EncodeError::TooLong)?;
                Ok(Frame::nothing())
            }
            Kind::Chunked if length > 0 => Ok(Frame::chunk(length)),
            Kind::Chunked | Kind::UntilClose => Ok(Frame::nothing()),
        }
    }

    /// Writes what ends the body. Trailers are written after chunks only; elsewhere they have no place and are left out.
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooShort`], or a trailer that cannot be written.
    pub fn end<'f>(
        self,
        trailers: impl IntoIterator<Item = Field<'f>>,
        out: &mut Buffer,
    ) -> Result<(), EncodeError> {
        match self.0 {
            Kind::Counted { left: 0 } | Kind::UntilClose => Ok(()),
            Kind::Counted { .. } => Err(EncodeError::TooShort),
            Kind::Chunked => {
                let before = out.bytes().len();
                let written = write_end(trailers, out);
                if written.is_err() {
                    out.truncate(before);
                }
                Ok(written?)
            }
        }
    }
}

fn write_end<'f>(trailers: impl IntoIterator<Item = Field<'f>>, out: &mut Buffer) -> Result<(), WriteError> {
    out.push(b"0\r\n")?;
    trailers.into_iter().try_for_each(|field| write_field(out, field))?;
    Ok(out.push(b"\r\n")?)
}
