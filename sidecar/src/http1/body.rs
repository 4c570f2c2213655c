//! Reads a body out of what a connection receives, without copying it.
//!
//! Promises: says where the body's bytes lie and where they end; never guesses an end. A body that was not read to its
//! end ends the connection with it.

use std::ops::Range;

use super::{
    chunks::{ChunkDecoder, ChunkError},
    fields::Fields,
    framing::Framing,
};

/// Why a body is refused. Nothing after it on that connection can be trusted: close it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The chunked coding.
    #[error(transparent)]
    Chunks(#[from] ChunkError),
    /// The peer closed too early.
    #[error("the connection closed before the body ended (RFC 9112 section 8)")]
    Incomplete,
}

/// What [`BodyDecoder::decode`] found. Consume [`used`](Self::used) bytes before decoding again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// This range of the input is body; what precedes it is framing.
    Data(Range<usize>),
    /// No body yet: read more. What was not used must be there again next time.
    More {
        /// How many bytes of framing were read.
        used: usize,
    },
    /// The body is over, and what follows belongs to the next message.
    End {
        /// How many bytes of framing were read.
        used: usize,
    },
}

impl Step {
    /// How many bytes of the input are done with, once the data was passed on.
    #[must_use]
    pub fn used(&self) -> usize {
        match self {
            Self::Data(range) => range.end,
            Self::More { used } | Self::End { used } => *used,
        }
    }
}

/// Reads one body.
pub struct BodyDecoder(Kind);

enum Kind {
    Counted { left: u64 },
    Chunked(ChunkDecoder),
    UntilClose,
}

impl BodyDecoder {
    /// For the body after a head with this framing.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::None | Framing::Declared(_) => Kind::Counted { left: 0 },
            Framing::Length(length) => Kind::Counted { left: length },
            Framing::Chunked => Kind::Chunked(ChunkDecoder::new()),
            Framing::UntilClose => Kind::UntilClose,
        })
    }

    /// Looks at the bytes that were received and not yet consumed.
    ///
    /// # Errors
    ///
    /// [`BodyError`]: the first rule that the body breaks.
    pub fn decode(&mut self, input: &[u8]) -> Result<Step, BodyError> {
        match &mut self.0 {
            Kind::Counted { left: 0 } => Ok(Step::End { used: 0 }),
            Kind::Chunked(chunks) => Ok(chunks.decode(input)?),
            Kind::Counted { .. } | Kind::UntilClose if input.is_empty() => Ok(Step::More { used: 0 }),
            Kind::UntilClose => Ok(Step::Data(0..input.len())),
            Kind::Counted { left } => {
                let length = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                *left -= length as u64;
                Ok(Step::Data(0..length))
            }
        }
    }

    /// The peer closed its side: says whether the body was complete by then.
    ///
    /// # Errors
    ///
    /// [`BodyError::Incomplete`].
    pub fn closed(&self) -> Result<(), BodyError> {
        match self.0 {
            Kind::UntilClose => Ok(()),
            Kind::Counted { .. } | Kind::Chunked(_) if self.is_done() => Ok(()),
            Kind::Counted { .. } | Kind::Chunked(_) => Err(BodyError::Incomplete),
        }
    }

    /// Whether the whole body was read; only then may the connection be used again. A body that lasts until the
    /// connection closes is never done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match &self.0 {
            Kind::Counted { left } => *left == 0,
            Kind::Chunked(chunks) => chunks.is_done(),
            Kind::UntilClose => false,
        }
    }

    /// The fields after a chunked body, if there were any. Once only.
    pub fn take_trailers(&mut self) -> Option<Fields> {
        match &mut self.0 {
            Kind::Chunked(chunks) => chunks.take_trailers(),
            Kind::Counted { .. } | Kind::UntilClose => None,
        }
    }
}
