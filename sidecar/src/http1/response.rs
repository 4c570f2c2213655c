//! Response heads, as a client receives them.
//!
//! Promises: as strict as the request side wherever framing is concerned. Where it is not, what real servers do is
//! taken: bytes above 0x7F in values and reason pass unread, and a status line may lack the space before an absent
//! reason (RFC 9112 section 4 forbids it to senders and lets recipients take it). Interim responses are counted and
//! dropped: we sent no expectation, and hints before the final response are optional.

use std::{mem::MaybeUninit, ops::Range};

use httparse::Status;

use super::{
    buffer::{Buffer, HEAD_LIMIT},
    fields::{FIELD_LIMIT, Fields},
    framing::{Asked, Framing, of_response},
    head::{HeadError, Persistence, persistence, translate},
    lines::{Lines, Section},
};

/// A server that sends more before it answers is not answering.
const INTERIM_LIMIT: u8 = 8;

/// `HTTP/1.1 200 `
const BEFORE_REASON: usize = 13;

/// Finds the response to one request in what the connection receives.
pub struct ResponseReader {
    lines: Lines,
    asked: Asked,
    interim: u8,
}

impl ResponseReader {
    /// For the response to a request that was just sent.
    #[must_use]
    pub fn new(asked: Asked) -> Self {
        Self { lines: Lines::new(Section::Head, HEAD_LIMIT), asked, interim: 0 }
    }

    /// Takes the final head out of `input`, or says that more must be read first.
    ///
    /// # Errors
    ///
    /// [`HeadError`]: the first rule that a head breaks.
    pub fn head(&mut self, input: &mut Buffer) -> Result<Option<ResponseHead>, HeadError> {
        while let Some(end) = self.lines.find_end(input.bytes())? {
            let head = ResponseHead::parse(&input.bytes()[..end], self.asked)?;
            input.consume(end);
            self.lines = Lines::new(Section::Head, HEAD_LIMIT);
            match head.status {
                101 => return Err(HeadError::SwitchingProtocols),
                100..=199 if self.interim == INTERIM_LIMIT => return Err(HeadError::TooManyInterim),
                100..=199 => self.interim += 1,
                _ => return Ok(Some(head)),
            }
        }
        Ok(None)
    }
}

/// One final response without its body. Owns its bytes and wipes them on drop.
pub struct ResponseHead {
    fields: Fields,
    status: u16,
    reason: Range<usize>,
    framing: Framing,
    persistence: Persistence,
}

impl ResponseHead {
    /// Parses one whole head, its empty line included.
    fn parse(section: &[u8], asked: Asked) -> Result<Self, HeadError> {
        let mut headers = [const { MaybeUninit::uninit() }; FIELD_LIMIT];
        let mut response = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let parsed = config.parse_response_with_uninit_headers(&mut response, section, &mut headers);
        let parsed = parsed.map_err(|error| translate(error, section, HeadError::StatusLine))?;
        let (Status::Complete(length), Some(status)) = (parsed, response.code) else {
            return Err(HeadError::StatusLine);
        };
        if length != section.len() {
            return Err(HeadError::StatusLine);
        }
        if response.version != Some(1) {
            return Err(HeadError::Version);
        }
        if !(100..=599).contains(&status) {
            return Err(HeadError::StatusCode);
        }
        let fields = Fields::new(section, response.headers);
        let framing = of_response(status, asked, &fields)?;
        let stated = persistence(&fields)?;
        let persistence = if framing == Framing::UntilClose { Persistence::Close } else { stated };
        Ok(Self { status, reason: reason(section), framing, persistence, fields })
    }

    /// 200 to 599.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// What follows the status code, possibly nothing.
    #[must_use]
    pub fn reason(&self) -> &[u8] {
        &self.fields.bytes()[self.reason.clone()]
    }

    /// All fields, those that are not to be forwarded included.
    #[must_use]
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// How the body ends.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether the connection may be used again once the body has ended.
    #[must_use]
    pub fn persistence(&self) -> Persistence {
        self.persistence
    }

    /// Lends the reason, each field name and each value, to be masked at equal length.
    pub fn mask(&mut self, mut each: impl FnMut(&mut [u8])) {
        each(self.fields.bytes_mut(&self.reason));
        self.fields.mask(each);
    }

    /// The head as it came, or as it was masked.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        self.fields.bytes()
    }
}

/// httparse checks the reason, but gives none back when it holds bytes above 0x7F.
fn reason(section: &[u8]) -> Range<usize> {
    let end = section.iter().position(|byte| *byte == b'\r').unwrap_or_default();
    BEFORE_REASON.min(end)..end
}
