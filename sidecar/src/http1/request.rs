//! Request heads, as an origin or a proxy receives them.
//!
//! Promises: a head that comes out of here has one reading: one method, one target, one Host, one framing. Everything
//! else is refused, never repaired. Deviations from the letter, each on the side RFC 9112 allows:
//!
//! - One empty line before the request line is skipped (section 2.2 asks for it; old clients send one after a POST).
//! - `Upgrade: h2c` alone is ignored, as RFC 9110 section 7.8 permits: Java's client sends it with each request in the
//!   clear. Any other protocol is refused, so that a WebSocket client learns why instead of waiting for a 101.
//!
//! Never add a lenient mode.

use std::{mem::MaybeUninit, ops::Range};

use httparse::Status;

use super::{
    buffer::{Buffer, HEAD_LIMIT},
    fields::{FIELD_LIMIT, FieldError, Fields, refuse_obs_text, within},
    framing::{Framing, of_request},
    head::{HeadError, Persistence, persistence, translate},
    lines::{Lines, Section},
    target::{Target, is_authority},
};

/// Finds request heads in what one connection receives.
pub struct RequestReader {
    lines: Lines,
    skipped_empty_line: bool,
}

impl RequestReader {
    /// For a new connection.
    #[must_use]
    pub fn new() -> Self {
        Self { lines: Lines::new(Section::Head, HEAD_LIMIT), skipped_empty_line: false }
    }

    /// Takes the next head out of `input`, or says that more must be read first. What follows the head stays in
    /// `input`: its body, then the next request.
    ///
    /// # Errors
    ///
    /// [`HeadError`]: the first rule that the head breaks.
    pub fn head(&mut self, input: &mut Buffer) -> Result<Option<RequestHead>, HeadError> {
        if !self.skipped_empty_line && input.bytes().starts_with(b"\r\n") {
            self.skipped_empty_line = true;
            input.consume(2);
        }
        let Some(end) = self.lines.find_end(input.bytes())? else { return Ok(None) };
        let head = RequestHead::parse(&input.bytes()[..end])?;
        input.consume(end);
        *self = Self::new();
        Ok(Some(head))
    }
}

impl Default for RequestReader {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether the client waits before it sends the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// It does not.
    Nothing,
    /// It waits for `100 Continue`: send [`CONTINUE`](super::CONTINUE) when the body is first wanted.
    Continue,
}

/// One request without its body. Owns its bytes and wipes them on drop.
pub struct RequestHead {
    fields: Fields,
    method: Range<usize>,
    authority: Option<Range<usize>>,
    path: Range<usize>,
    query: Option<Range<usize>>,
    host: Range<usize>,
    framing: Framing,
    expectation: Expectation,
    persistence: Persistence,
}

impl RequestHead {
    /// Parses one whole head, its empty line included.
    fn parse(section: &[u8]) -> Result<Self, HeadError> {
        let mut headers = [const { MaybeUninit::uninit() }; FIELD_LIMIT];
        let mut request = httparse::Request::new(&mut []);
        let parsed = request.parse_with_uninit_headers(section, &mut headers);
        let parsed = parsed.map_err(|error| translate(error, section, HeadError::RequestLine))?;
        let (Status::Complete(length), Some(method), Some(target)) = (parsed, request.method, request.path)
        else {
            return Err(HeadError::RequestLine);
        };
        if length != section.len() {
            return Err(HeadError::RequestLine);
        }
        if request.version != Some(1) {
            return Err(HeadError::Version);
        }
        refuse_method(method)?;
        let target = Target::parse(target)?;
        let fields = Fields::new(section, request.headers);
        Self::check(section, method, target, fields)
    }

    /// Applies every rule that looks at fields.
    fn check(section: &[u8], method: &str, target: Target<'_>, fields: Fields) -> Result<Self, HeadError> {
        refuse_obs_text(&fields)?;
        refuse_upgrade(&fields)?;
        let host = the_host(&fields, target)?;
        let place = |part: &str| within(section, part.as_bytes());
        let (authority, path, query) = match target {
            Target::Origin { path, query } => (None, path, query),
            Target::Absolute { authority, path, query } => (Some(place(authority)), path, query),
        };
        Ok(Self {
            method: place(method),
            authority,
            path: place(path),
            query: query.map(place),
            host: within(fields.bytes(), host),
            framing: of_request(&fields)?,
            expectation: expectation(&fields)?,
            persistence: persistence(&fields)?,
            fields,
        })
    }

    /// Any token but CONNECT and TRACE, in the case it was sent in.
    #[must_use]
    pub fn method(&self) -> &str {
        self.fields.text(&self.method)
    }

    /// Whether sending it twice has the effect of sending it once (RFC 9110, 9.2.2); of a method that is not known, no.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        matches!(self.method(), "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE")
    }

    /// Where to, in the bytes it was sent in.
    #[must_use]
    pub fn target(&self) -> Target<'_> {
        let path = if self.path.is_empty() { "/" } else { self.fields.text(&self.path) };
        let query = self.query.as_ref().map(|query| self.fields.text(query));
        match &self.authority {
            None => Target::Origin { path, query },
            Some(authority) => Target::Absolute { authority: self.fields.text(authority), path, query },
        }
    }

    /// The one Host: `name` or `name:port`.
    #[must_use]
    pub fn host(&self) -> &str {
        self.fields.text(&self.host)
    }

    /// All fields, those that are not to be forwarded included.
    #[must_use]
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// How the body ends: `None`, `Length` or `Chunked`.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether anything follows the head that belongs to it.
    #[must_use]
    pub fn has_body(&self) -> bool {
        !matches!(self.framing, Framing::None | Framing::Length(0))
    }

    /// Whether the client waits for `100 Continue`.
    #[must_use]
    pub fn expectation(&self) -> Expectation {
        self.expectation
    }

    /// Whether the client may send another request on this connection.
    #[must_use]
    pub fn persistence(&self) -> Persistence {
        self.persistence
    }

    /// The head as it came.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        self.fields.bytes()
    }
}

/// In any case of letters: some upstreams do not tell them apart.
fn refuse_method(method: &str) -> Result<(), HeadError> {
    if method.eq_ignore_ascii_case("TRACE") {
        return Err(HeadError::Trace);
    }
    if method.eq_ignore_ascii_case("CONNECT") {
        return Err(HeadError::Connect);
    }
    Ok(())
}

fn refuse_upgrade(fields: &Fields) -> Result<(), HeadError> {
    let served = fields.members("upgrade").all(|protocol| protocol.eq_ignore_ascii_case(b"h2c"));
    if served { Ok(()) } else { Err(HeadError::Upgrade) }
}

fn the_host<'a>(fields: &'a Fields, target: Target<'_>) -> Result<&'a [u8], HeadError> {
    let mut hosts = fields.all("host");
    let host = hosts.next().ok_or(HeadError::HostMissing)?;
    if hosts.next().is_some() {
        return Err(HeadError::HostRepeated);
    }
    is_authority(str::from_utf8(host).map_err(|_| FieldError::ObsText)?)?;
    match target {
        Target::Absolute { authority, .. } if authority.as_bytes() != host => Err(HeadError::HostDiffers),
        Target::Absolute { .. } | Target::Origin { .. } => Ok(host),
    }
}

fn expectation(fields: &Fields) -> Result<Expectation, HeadError> {
    let mut expected = fields.all("expect");
    match (expected.next(), expected.next()) {
        (None, _) => Ok(Expectation::Nothing),
        (Some(only), None) if only.eq_ignore_ascii_case(b"100-continue") => Ok(Expectation::Continue),
        (Some(_), _) => Err(HeadError::Expectation),
    }
}
