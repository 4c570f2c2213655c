//! The chunked coding of RFC 9112 section 7.1, read strictly.
//!
//! Promises: sizes are 1 to 16 hexadecimal digits and cannot overflow; every line ends in CRLF exactly; extensions are
//! bounded and forgotten; trailers obey the rules of fields and are bounded. The answer does not depend on how the
//! input is split. Never forward an extension, and never accept what two readers could count differently.

use httparse::{Error, Status};

use super::{
    body::Step,
    fields::{FIELD_LIMIT, FieldError, Fields, name_error},
    lines::{LineError, Lines, Section},
};

const SIZE_DIGITS: u8 = 16;
const EXTENSION_LIMIT: u16 = 256;
const TRAILER_LIMIT: usize = 8 * 1024;

/// What is wrong with a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// No digit, or something else than CRLF or an extension after the digits.
    #[error("a chunk size is not plain hexadecimal digits ended by CRLF (RFC 9112 section 7.1)")]
    Size,
    /// More than 16 digits.
    #[error("a chunk size is too large (RFC 9112 section 7.1)")]
    SizeOverflow,
    /// A control character or a byte above 0x7F.
    #[error("a chunk extension is malformed (RFC 9112 section 7.1.1)")]
    Extension,
    /// More than 256 bytes.
    #[error("a chunk extension is too long (RFC 9112 section 7.1.1)")]
    ExtensionTooLong,
    /// The data is longer or shorter than its size says.
    #[error("chunk data is not followed by CRLF (RFC 9112 section 7.1)")]
    AfterData,
    /// The lines of the trailer section.
    #[error(transparent)]
    TrailerLines(#[from] LineError),
    /// A field of the trailer section.
    #[error(transparent)]
    TrailerField(#[from] FieldError),
}

/// Where in a chunked body the reader stands.
pub(super) struct ChunkDecoder {
    state: State,
    /// Of the chunk being read: its size so far, then what is left of it.
    left: u64,
    trailer_lines: Lines,
    trailers: Option<Fields>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Size {
        digits: u8,
    },
    /// Whitespace before an extension, which RFC 9112 section 7.1.1 wants taken.
    Space {
        length: u16,
    },
    Extension {
        length: u16,
    },
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
    Done,
}

impl ChunkDecoder {
    pub(super) fn new() -> Self {
        let trailer_lines = Lines::new(Section::Trailers, TRAILER_LIMIT);
        Self { state: State::Size { digits: 0 }, left: 0, trailer_lines, trailers: None }
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    pub(super) fn take_trailers(&mut self) -> Option<Fields> {
        self.trailers.take()
    }

    pub(super) fn decode(&mut self, input: &[u8]) -> Result<Step, ChunkError> {
        let mut used = 0;
        while let Some(&byte) = input.get(used) {
            match self.state {
                State::Data => return Ok(Step::Data(used..used + self.take(input.len() - used))),
                State::Trailers => return self.trailer_section(input, used),
                State::Done => break,
                State::Size { .. }
                | State::Space { .. }
                | State::Extension { .. }
                | State::SizeLf
                | State::DataCr
                | State::DataLf => {
                    self.state = self.after(byte)?;
                    used += 1;
                }
            }
        }
        Ok(if self.is_done() { Step::End { used } } else { Step::More { used } })
    }

    /// How many of `available` bytes belong to this chunk.
    fn take(&mut self, available: usize) -> usize {
        let length = usize::try_from(self.left).map_or(available, |left| left.min(available));
        self.left -= length as u64;
        if self.left == 0 {
            self.state = State::DataCr;
        }
        length
    }

    /// The state after one more byte between the data.
    fn after(&mut self, byte: u8) -> Result<State, ChunkError> {
        match (self.state, byte) {
            (State::Size { digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.digit(digits, byte),
            (State::Size { digits: 1.. } | State::Extension { .. }, b'\r') => Ok(State::SizeLf),
            (State::Size { digits: 1.. }, b' ' | b'\t') => Ok(State::Space { length: 1 }),
            (State::Size { digits: 1.. }, b';') => Ok(State::Extension { length: 1 }),
            (State::Space { length }, b' ' | b'\t') => Ok(State::Space { length: longer(length)? }),
            (State::Space { length }, b';') => Ok(State::Extension { length: longer(length)? }),
            (State::Extension { length }, b'\t' | b' '..=b'~') => {
                Ok(State::Extension { length: longer(length)? })
            }
            (State::Extension { .. }, _) => Err(ChunkError::Extension),
            (State::SizeLf, b'\n') if self.left == 0 => Ok(State::Trailers),
            (State::SizeLf, b'\n') => Ok(State::Data),
            (State::Size { .. } | State::Space { .. } | State::SizeLf, _) => Err(ChunkError::Size),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size { digits: 0 }),
            (State::DataCr | State::DataLf | State::Data | State::Trailers | State::Done, _) => {
                Err(ChunkError::AfterData)
            }
        }
    }

    fn digit(&mut self, digits: u8, byte: u8) -> Result<State, ChunkError> {
        if digits == SIZE_DIGITS {
            return Err(ChunkError::SizeOverflow);
        }
        let value = char::from(byte).to_digit(16).ok_or(ChunkError::Size)?;
        self.left = (self.left << 4) | u64::from(value);
        Ok(State::Size { digits: digits + 1 })
    }

    /// Reads the fields after the last chunk once all of them are there; until then they stay in `input`.
    fn trailer_section(&mut self, input: &[u8], used: usize) -> Result<Step, ChunkError> {
        let section = &input[used..];
        let Some(end) = self.trailer_lines.find_end(section)? else { return Ok(Step::More { used }) };
        self.trailers = parse_trailers(&section[..end])?;
        self.state = State::Done;
        Ok(Step::End { used: used + end })
    }
}

fn longer(length: u16) -> Result<u16, ChunkError> {
    if length == EXTENSION_LIMIT { Err(ChunkError::ExtensionTooLong) } else { Ok(length + 1) }
}

fn parse_trailers(section: &[u8]) -> Result<Option<Fields>, ChunkError> {
    if section == b"\r\n" {
        return Ok(None);
    }
    let mut headers = [httparse::EMPTY_HEADER; FIELD_LIMIT];
    match httparse::parse_headers(section, &mut headers) {
        Ok(Status::Complete((length, headers))) if length == section.len() => {
            Ok(Some(Fields::new(section, headers)))
        }
        Ok(Status::Complete(_) | Status::Partial) => Err(FieldError::Name.into()),
        Err(Error::HeaderValue) => Err(FieldError::Control.into()),
        Err(Error::TooManyHeaders) => Err(FieldError::TooMany.into()),
        Err(Error::HeaderName | Error::NewLine | Error::Status | Error::Token | Error::Version) => {
            Err(name_error(section).into())
        }
    }
}
