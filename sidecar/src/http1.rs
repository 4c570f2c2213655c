//! Our HTTP/1.1: strict, without IO, for both sides of the sidecar.
//!
//! Promises: what passes has one reading, so what we approved is what the upstream sees; heads and bodies are always
//! written anew from typed parts, and no byte of framing is forwarded; buffers are fixed and wiped after use. Never add
//! IO, a clock, a lenient mode, or a repair of malformed input.
//!
//! Any error means: close that connection. The callers map [`HeadError`] and [`BodyError`] to `request_malformed` (400)
//! on the app's side and to `response_malformed` (502) on the upstream's; their sentences may be shown and logged.
//!
//! # Serving a connection
//!
//! Bytes after a body stay in the buffer, so keep-alive and pipelining need no code of their own:
//!
//! ```
//! use keylend_sidecar::http1::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut wire: &[u8] = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhiGET /b HTTP/1.1\r\nHost: x\r\n\r\n";
//! let mut read = |buffer: &mut Buffer| {
//!     let count = std::io::Read::read(&mut wire, buffer.space()).unwrap_or(0);
//!     buffer.filled(count);
//!     count // 0: the peer closed
//! };
//! let (mut input, mut reader, mut seen) = (Buffer::new(), RequestReader::new(), Vec::new());
//! 'connection: loop {
//!     let head = loop {
//!         match reader.head(&mut input)? {
//!             Some(head) => break head,
//!             None if read(&mut input) == 0 => break 'connection, // orderly if `input` is empty
//!             None => {}
//!         }
//!     };
//!     let mut body = BodyDecoder::new(head.framing());
//!     loop {
//!         let step = body.decode(input.bytes())?;
//!         if let Step::Data(range) = &step {
//!             seen.extend_from_slice(&input.bytes()[range.clone()]); // pass it on first
//!         }
//!         input.consume(step.used()); // then forget it
//!         match step {
//!             Step::Data(_) => {}
//!             Step::More { .. } if read(&mut input) == 0 => body.closed()?,
//!             Step::More { .. } => {}
//!             Step::End { .. } => break,
//!         }
//!     }
//!     seen.extend_from_slice(head.method().as_bytes());
//!     if head.persistence() == Persistence::Close {
//!         break;
//!     }
//! }
//! assert_eq!(seen, b"hiPOSTGET");
//! # Ok(())
//! # }
//! ```
//!
//! # Calling an upstream
//!
//! One [`ResponseReader`] a request. The connection may be used again only if the whole request was sent, the response
//! says so, its body was read to its end, and nothing follows it:
//!
//! ```
//! use keylend_sidecar::http1::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut out = Buffer::new();
//! let mut head = HeadWriter::request(&mut out, "POST", "/v1/charges", "api.example.com")?;
//! head.field("Authorization", b"Bearer kl-test-value")?;
//! head.finish(Framing::Chunked, Persistence::KeepAlive)?;
//! let mut body = BodyEncoder::new(Framing::Chunked);
//! let frame = body.frame(5)?;
//! for part in [frame.before(), b"hello", frame.after()] {
//!     out.push(part)?;
//! }
//! body.end([], &mut out)?;
//! assert!(out.bytes().ends_with(b"chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"));
//! out.clear(); // when it was written: nothing of the value stays
//!
//! let mut input = Buffer::new();
//! input.push(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
//! let mut reader = ResponseReader::new(Asked::by("POST"));
//! let Some(response) = reader.head(&mut input)? else { return Err("read more".into()) };
//! let mut body = BodyDecoder::new(response.framing());
//! assert_eq!(body.decode(input.bytes())?, Step::Data(0..2));
//! input.consume(2);
//! assert!(response.persistence() == Persistence::KeepAlive && body.is_done() && input.is_empty());
//! # Ok(())
//! # }
//! ```

mod body;
mod buffer;
mod chunks;
mod encode;
mod fields;
mod framing;
mod head;
mod lines;
mod request;
mod response;
mod target;
mod writer;

pub use self::{
    body::{BodyDecoder, BodyError, Step},
    buffer::{Buffer, Full, HEAD_LIMIT},
    chunks::ChunkError,
    encode::{BodyEncoder, EncodeError, Frame},
    fields::{FIELD_LIMIT, Field, FieldError, Fields},
    framing::{Asked, Framing, FramingError},
    head::{HeadError, Persistence},
    lines::LineError,
    request::{Expectation, RequestHead, RequestReader},
    response::{ResponseHead, ResponseReader},
    target::{Target, TargetError},
    writer::{HeadWriter, WriteError},
};

/// Tells a client that waits (`Expect: 100-continue`) to send its body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
