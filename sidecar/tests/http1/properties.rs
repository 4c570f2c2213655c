//! What must hold for any bytes at all: they are read alike however they arrive, and what is accepted, written again
//! and read again, is the same. The property tests and the fuzz targets share these.

use keylend_sidecar::http1::{
    Asked, BodyDecoder, BodyEncoder, BodyError, Buffer, EncodeError, Expectation, Field, Fields, Framing,
    Full, HeadError, HeadWriter, Persistence, RequestHead, RequestReader, ResponseHead, ResponseReader, Step,
    Target, WriteError,
};

/// How the bytes come off the wire.
#[derive(Debug, Clone, Copy)]
pub enum Arrival {
    Whole,
    Bytewise,
    Cut(usize),
}

/// All that a reader learned from a connection until it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcript<H> {
    pub messages: Vec<Message<H>>,
    pub ending: Ending,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<H> {
    pub head: H,
    pub body: Vec<u8>,
    pub trailers: Named,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Between two messages.
    Orderly,
    /// Inside a head or a body.
    Incomplete,
    HeadRefused(HeadError),
    BodyRefused(BodyError),
}

pub type Named = Vec<(String, Vec<u8>)>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRequest {
    pub method: String,
    pub authority: Option<String>,
    pub target: String,
    pub host: String,
    pub fields: Named,
    pub framing: Framing,
    pub expectation: Expectation,
    pub persistence: Persistence,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenResponse {
    pub status: u16,
    pub reason: Vec<u8>,
    pub fields: Named,
    pub framing: Framing,
    pub persistence: Persistence,
}

impl From<&RequestHead> for SeenRequest {
    fn from(head: &RequestHead) -> Self {
        let (authority, path, query) = match head.target() {
            Target::Origin { path, query } => (None, path, query),
            Target::Absolute { authority, path, query } => (Some(authority.to_owned()), path, query),
        };
        Self {
            method: head.method().to_owned(),
            authority,
            target: query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}")),
            host: head.host().to_owned(),
            fields: end_to_end(head.fields()),
            framing: head.framing(),
            expectation: head.expectation(),
            persistence: head.persistence(),
        }
    }
}

impl From<&ResponseHead> for SeenResponse {
    fn from(head: &ResponseHead) -> Self {
        Self {
            status: head.status(),
            reason: head.reason().to_vec(),
            fields: end_to_end(head.fields()),
            framing: head.framing(),
            persistence: head.persistence(),
        }
    }
}

/// All fields but those the codec writes by itself.
fn end_to_end(fields: &Fields) -> Named {
    let own = ["host", "connection", "content-length", "transfer-encoding"];
    named(fields).into_iter().filter(|(name, _)| !own.contains(&name.to_ascii_lowercase().as_str())).collect()
}

fn named(fields: &Fields) -> Named {
    fields.iter().map(|field| (field.name.to_owned(), field.value.to_vec())).collect()
}

fn lent(fields: &Named) -> impl Iterator<Item = Field<'_>> {
    fields.iter().map(|(name, value)| Field { name, value })
}

struct Wire<'a> {
    rest: &'a [u8],
    read: usize,
    arrival: Arrival,
}

impl<'a> Wire<'a> {
    fn new(rest: &'a [u8], arrival: Arrival) -> Self {
        Self { rest, read: 0, arrival }
    }

    /// Reads once; `false` when nothing is left.
    fn read(&mut self, into: &mut Buffer) -> bool {
        let most = match self.arrival {
            Arrival::Bytewise => 1,
            Arrival::Cut(at) if self.read < at => at - self.read,
            Arrival::Cut(_) | Arrival::Whole => usize::MAX,
        };
        let space = into.space();
        let count = most.min(space.len()).min(self.rest.len());
        space[..count].copy_from_slice(&self.rest[..count]);
        into.filled(count);
        self.rest = &self.rest[count..];
        self.read += count;
        count > 0
    }
}

/// Reads requests until the wire ends or something is refused.
pub fn read_requests(bytes: &[u8], arrival: Arrival) -> Transcript<SeenRequest> {
    let (mut wire, mut input, mut reader) = (Wire::new(bytes, arrival), Buffer::new(), RequestReader::new());
    let mut messages = Vec::new();
    let ending = loop {
        match reader.head(&mut input) {
            Err(error) => break Ending::HeadRefused(error),
            Ok(None) if wire.read(&mut input) => {}
            Ok(None) if input.is_empty() => break Ending::Orderly,
            Ok(None) => break Ending::Incomplete,
            Ok(Some(head)) => {
                let (message, ending) =
                    read_body(&mut wire, &mut input, SeenRequest::from(&head), head.framing());
                messages.push(message);
                if ending != Ending::Orderly {
                    break ending;
                }
            }
        }
    };
    Transcript { messages, ending }
}

/// Reads the response to one request; what follows it stays unread.
pub fn read_response(bytes: &[u8], asked: Asked, arrival: Arrival) -> Transcript<SeenResponse> {
    let (mut wire, mut input, mut reader) =
        (Wire::new(bytes, arrival), Buffer::new(), ResponseReader::new(asked));
    loop {
        match reader.head(&mut input) {
            Err(error) => return Transcript { messages: vec![], ending: Ending::HeadRefused(error) },
            Ok(None) if wire.read(&mut input) => {}
            Ok(None) => return Transcript { messages: vec![], ending: Ending::Incomplete },
            Ok(Some(head)) => {
                let (message, ending) =
                    read_body(&mut wire, &mut input, SeenResponse::from(&head), head.framing());
                return Transcript { messages: vec![message], ending };
            }
        }
    }
}

/// Reads a chunked body; the second part is what follows it.
pub fn read_chunks(bytes: &[u8], arrival: Arrival) -> (Message<()>, Ending) {
    read_body(&mut Wire::new(bytes, arrival), &mut Buffer::new(), (), Framing::Chunked)
}

fn read_body<H>(wire: &mut Wire<'_>, input: &mut Buffer, head: H, framing: Framing) -> (Message<H>, Ending) {
    let mut message = Message { head, body: vec![], trailers: vec![] };
    let mut decoder = BodyDecoder::new(framing);
    let ending = loop {
        let step = match decoder.decode(input.bytes()) {
            Ok(step) => step,
            Err(error) => break Ending::BodyRefused(error),
        };
        if let Step::Data(range) = &step {
            assert!(!range.is_empty(), "a step without progress");
            message.body.extend_from_slice(&input.bytes()[range.clone()]);
        }
        input.consume(step.used());
        match step {
            Step::Data(_) => {}
            Step::More { .. } if wire.read(input) => {}
            Step::More { .. } if decoder.closed().is_ok() => break Ending::Orderly,
            Step::More { .. } => break Ending::Incomplete,
            Step::End { .. } => {
                assert!(decoder.is_done() && decoder.closed().is_ok(), "an end that is none");
                break Ending::Orderly;
            }
        }
    };
    message.trailers = decoder.take_trailers().map(|fields| named(&fields)).unwrap_or_default();
    (message, ending)
}

/// The property of everything that an app may send.
pub fn requests_have_one_reading(bytes: &[u8]) {
    let whole = read_requests(bytes, Arrival::Whole);
    for arrival in arrivals(bytes) {
        assert_eq!(whole, read_requests(bytes, arrival), "{arrival:?}");
    }
    for (index, message) in whole.messages.iter().enumerate() {
        let complete = index + 1 < whole.messages.len() || whole.ending == Ending::Orderly;
        let Some(rewritten) = write_request(message, complete) else { continue };
        let again = read_requests(&rewritten, Arrival::Whole);
        let head = SeenRequest { authority: None, ..message.head.clone() };
        assert_eq!(again.messages.len(), 1, "one request became another number");
        assert_eq!(again.messages[0].head, head);
        if complete {
            assert_eq!(again.ending, Ending::Orderly);
            assert_eq!(
                (&again.messages[0].body, &again.messages[0].trailers),
                (&message.body, &message.trailers)
            );
        }
    }
}

/// The property of everything that an upstream may send.
pub fn responses_have_one_reading(bytes: &[u8], asked: Asked) {
    let whole = read_response(bytes, asked, Arrival::Whole);
    for arrival in arrivals(bytes) {
        assert_eq!(whole, read_response(bytes, asked, arrival), "{arrival:?}");
    }
    for message in &whole.messages {
        let complete = whole.ending == Ending::Orderly;
        let Some(rewritten) = write_response(message, complete) else { continue };
        let again = read_response(&rewritten, asked, Arrival::Whole);
        assert_eq!(again.messages.len(), 1, "a response of ours was refused: {:?}", again.ending);
        assert_eq!(again.messages[0].head, message.head);
        if complete {
            assert_eq!(again, whole);
        }
    }
}

/// The property of every chunked body.
pub fn chunks_have_one_reading(bytes: &[u8]) {
    let whole = read_chunks(bytes, Arrival::Whole);
    for arrival in arrivals(bytes) {
        assert_eq!(whole, read_chunks(bytes, arrival), "{arrival:?}");
    }
    if whole.1 == Ending::Orderly {
        let mut rewritten = Vec::new();
        if write_body(&whole.0, Framing::Chunked, &mut rewritten).is_some() {
            assert_eq!(whole, read_chunks(&rewritten, Arrival::Whole));
        }
    }
}

fn arrivals(bytes: &[u8]) -> impl Iterator<Item = Arrival> {
    let cuts = [1, bytes.len() / 3, bytes.len() / 2, bytes.len().saturating_sub(1)];
    [Arrival::Bytewise].into_iter().chain(cuts.map(Arrival::Cut))
}

/// Nothing if the normalised head no longer fits.
fn write_request(message: &Message<SeenRequest>, complete: bool) -> Option<Vec<u8>> {
    let (head, mut out) = (&message.head, Buffer::new());
    let mut writer = unless_full(HeadWriter::request(&mut out, &head.method, &head.target, &head.host))?;
    unless_full(writer.fields(lent(&head.fields)))?;
    unless_full(writer.finish(head.framing, head.persistence))?;
    let mut bytes = out.bytes().to_vec();
    if complete {
        write_body(message, head.framing, &mut bytes)?;
    }
    Some(bytes)
}

fn write_response(message: &Message<SeenResponse>, complete: bool) -> Option<Vec<u8>> {
    let (head, mut out) = (&message.head, Buffer::new());
    let mut writer = unless_full(HeadWriter::response(&mut out, head.status, &head.reason))?;
    unless_full(writer.fields(lent(&head.fields)))?;
    unless_full(writer.finish(head.framing, head.persistence))?;
    let mut bytes = out.bytes().to_vec();
    if complete {
        write_body(message, head.framing, &mut bytes)?;
    }
    Some(bytes)
}

/// Only for want of room may something that was accepted not be written again.
fn unless_full<T>(written: Result<T, WriteError>) -> Option<T> {
    if let Err(error) = &written {
        assert_eq!(*error, WriteError::Full(Full), "accepted, but cannot be written");
    }
    written.ok()
}

fn write_body<H>(message: &Message<H>, framing: Framing, bytes: &mut Vec<u8>) -> Option<()> {
    let (mut encoder, mut out) = (BodyEncoder::new(framing), Buffer::new());
    for piece in message.body.chunks(7) {
        let frame = encoder.frame(piece.len());
        assert!(frame.is_ok(), "read as this long, but cannot be written");
        let frame = frame.ok()?;
        bytes.extend([frame.before(), piece, frame.after()].concat());
    }
    let ended = encoder.end(lent(&message.trailers), &mut out);
    assert!(
        matches!(ended, Ok(()) | Err(EncodeError::Trailers(WriteError::Full(_)))),
        "cannot be ended: {ended:?}"
    );
    bytes.extend_from_slice(out.bytes());
    // One more byte a field may put a trailer section over its limit.
    (out.bytes().len() < 8 * 1024).then_some(())
}
