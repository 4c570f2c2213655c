//! The response's way: its head, then its body, scrubbed and framed anew.
//!
//! Promise: nothing of a response reaches the app before its head was found well-formed and [`acceptable`]. What is found
//! wrong while the head still waits to leave is refused as a whole.

use std::time::Duration;

use keylend_contract::refusal::Refusal;
use tokio::{net::tcp::WriteHalf, task::yield_now};

use super::{Afterwards, Exchange, Exchanged, Sent, acceptable};
use crate::{
    call::{
        app::gone,
        buffers::{Inlet, Outlet, Spare},
        hop,
    },
    fault::{Failure, Fault},
    http1::{
        Asked, BodyDecoder, BodyEncoder, EncodeError, Field, Fields, Framing, HeadWriter, Persistence,
        ResponseHead, ResponseReader, Step, WriteError,
    },
};

/// A server closes about when it said; a call that meets it closing is not retried.
const PATIENCE_MARGIN: Duration = Duration::from_secs(1);

/// After so much at once, others have their turn: masking costs more than reading, and a stream that is always ready
/// would keep renewals waiting.
const MUCH: usize = 8 * 1024;

/// Passes the response on.
pub(super) async fn download(
    this: &Exchange<'_>,
    (write, out): (&mut WriteHalf<'_>, &mut Outlet<'_>),
    spare: &Spare,
    sent: &Sent,
) -> Result<Exchanged, Failure> {
    let mut input = Inlet::new(spare);
    let mut response = head(this, &mut input).await?;
    acceptable::accept(&response)?;
    response.mask(|text| this.scrubber.whole(text));
    let framing = match response.framing() {
        Framing::UntilClose => Framing::Chunked,
        known @ (Framing::None | Framing::Declared(_) | Framing::Length(_) | Framing::Chunked) => known,
    };
    let app = if sent.is_set() { this.head.persistence() } else { Persistence::Close };
    write_head(out, &response, framing, app).map_err(unwritten)?;
    let mut decoder = BodyDecoder::new(response.framing());
    pass_body(this, &mut input, (&mut decoder, BodyEncoder::new(framing)), (write, out)).await?;
    // A server that did not read a body may take it for its next request, so what carried one carries no other.
    let reusable = !this.head.has_body()
        && response.persistence() == Persistence::KeepAlive
        && decoder.is_done()
        && input.is_empty()
        && sent.is_set();
    let upstream = if reusable { Afterwards::Keep(patience(response.fields())) } else { Afterwards::Close };
    Ok(Exchanged { app, upstream })
}

/// Reads up to the final head.
async fn head(this: &Exchange<'_>, input: &mut Inlet<'_>) -> Result<ResponseHead, Failure> {
    let mut from = this.connection;
    let mut reader = ResponseReader::new(Asked::by(this.head.method()));
    loop {
        if input.fill(&mut from).await.unwrap_or(0) == 0 {
            return Err(unreachable(this));
        }
        if let Some(head) = reader.head(input.buffer()).map_err(|error| malformed(error.to_string()))? {
            input.release();
            return Ok(head);
        }
    }
}

fn write_head(
    out: &mut Outlet<'_>,
    response: &ResponseHead,
    framing: Framing,
    app: Persistence,
) -> Result<(), WriteError> {
    let mut head = HeadWriter::response(out.buffer(), response.status(), response.reason())?;
    head.fields(hop::toward_app(response))?;
    head.finish(framing, app)
}

async fn pass_body(
    this: &Exchange<'_>,
    input: &mut Inlet<'_>,
    (decoder, mut encoder): (&mut BodyDecoder, BodyEncoder),
    (write, out): (&mut WriteHalf<'_>, &mut Outlet<'_>),
) -> Result<(), Failure> {
    let mut from = this.connection;
    let mut scrubbed = this.scrubber.stream();
    loop {
        let step = decoder.decode(input.bytes()).map_err(|error| malformed(error.to_string()))?;
        if let Step::Data(range) = &step {
            let data = scrubbed.push(&input.bytes()[range.clone()]);
            let frame = encoder.frame(data.len()).map_err(unframed)?;
            out.pass(write, [frame.before(), data, frame.after()]).await.map_err(|_| gone())?;
        }
        input.consume(step.used());
        match step {
            Step::Data(_) => continue,
            Step::End { .. } => break,
            Step::More { .. } => {}
        }
        out.send(write).await.map_err(|_| gone())?;
        match input.fill(&mut from).await.map_err(|_| unreachable(this))? {
            0 => {
                decoder.closed().map_err(|error| malformed(error.to_string()))?;
                break;
            }
            MUCH.. => yield_now().await,
            _ => {}
        }
    }
    let data = scrubbed.end();
    let frame = encoder.frame(data.len()).map_err(unframed)?;
    out.pass(write, [frame.before(), data, frame.after()]).await.map_err(|_| gone())?;
    let mut trailers = decoder.take_trailers();
    if let Some(trailers) = &mut trailers {
        trailers.mask(|text| this.scrubber.whole(text));
    }
    let passed = trailers.iter().flat_map(hop::trailers_toward_app);
    end(encoder, passed, out)?;
    out.send(write).await.map_err(|_| gone())
}

fn end<'f>(
    encoder: BodyEncoder,
    trailers: impl Iterator<Item = Field<'f>>,
    out: &mut Outlet<'_>,
) -> Result<(), Failure> {
    encoder.end(trailers, out.buffer()).map_err(unframed)
}

/// How long the peer said it keeps the connection (`Keep-Alive: timeout=5`), with a margin.
fn patience(fields: &Fields) -> Option<Duration> {
    let stated = fields.members("keep-alive").find_map(|member| {
        let text = str::from_utf8(member).ok()?;
        let (name, seconds) = text.split_once('=')?;
        if name.eq_ignore_ascii_case("timeout") { seconds.parse().ok() } else { None }
    });
    stated.map(|seconds| Duration::from_secs(seconds).saturating_sub(PATIENCE_MARGIN))
}

fn unreachable(this: &Exchange<'_>) -> Failure {
    Refusal::UpstreamUnreachable { host: this.host.to_string() }.into()
}

fn malformed(reason: String) -> Failure {
    Refusal::ResponseMalformed { reason }.into()
}

fn unwritten(error: WriteError) -> Failure {
    match error {
        WriteError::Full(_) => malformed("its head is longer than 32 KiB (RFC 9110 section 5.4)".into()),
        WriteError::StartLine
        | WriteError::FieldName
        | WriteError::FieldValue
        | WriteError::Reserved
        | WriteError::Framing => Fault::new("writing a response", error).into(),
    }
}

fn unframed(error: EncodeError) -> Failure {
    Fault::new("framing a response", error).into()
}
