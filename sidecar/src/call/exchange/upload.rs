//! The request's way: what waits, then the body, framed anew.
//!
//! Promise: a broken upstream does not end it: it may still have answered, so the response decides. One that merely takes
//! nothing for too long does.

use std::{future::pending, io, time::Duration};

use keylend_contract::refusal::Refusal;
use tokio::{net::tcp::ReadHalf, time::timeout};

use super::{Exchange, Sent};
use crate::{
    call::{
        app::gone,
        buffers::{Inlet, Outlet},
    },
    fault::{Failure, Fault},
    http1::{BodyDecoder, BodyEncoder, BodyError, EncodeError, Step},
};

/// How long the next piece of a body may take that the app owes us.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Why a request was not sent.
enum Upload {
    Failed(Failure),
    Broken,
}

/// Sends the request. Once it is sent, this waits for the app to leave.
pub(super) async fn upload(
    this: &Exchange<'_>,
    app: (&mut ReadHalf<'_>, &mut Inlet<'_>),
    out: Outlet<'_>,
    sent: &Sent,
) -> Failure {
    let (read, input) = app;
    match send(this, read, input, out).await {
        Ok(()) => {
            sent.set();
            left(read, input).await;
            gone()
        }
        Err(Upload::Failed(failure)) => failure,
        Err(Upload::Broken) => pending().await,
    }
}

async fn send(
    this: &Exchange<'_>,
    read: &mut ReadHalf<'_>,
    input: &mut Inlet<'_>,
    mut out: Outlet<'_>,
) -> Result<(), Upload> {
    let mut to = this.connection;
    let framing = this.head.framing();
    let (mut decoder, mut encoder) = (BodyDecoder::new(framing), BodyEncoder::new(framing));
    loop {
        let step = decoder.decode(input.bytes()).map_err(malformed)?;
        if let Step::Data(range) = &step {
            let data = &input.bytes()[range.clone()];
            let frame = encoder.frame(data.len()).map_err(unframed)?;
            out.pass(&mut to, [frame.before(), data, frame.after()])
                .await
                .map_err(|error| refuses(this, &error))?;
        }
        input.consume(step.used());
        match step {
            Step::Data(_) => {}
            Step::More { .. } => {
                out.send(&mut to).await.map_err(|error| refuses(this, &error))?;
                if next(read, input).await? == 0 {
                    decoder.closed().map_err(malformed)?;
                }
            }
            Step::End { .. } => {
                encoder.end([], out.buffer()).map_err(unframed)?;
                return out.send(&mut to).await.map_err(|error| refuses(this, &error));
            }
        }
    }
}

async fn next(read: &mut ReadHalf<'_>, input: &mut Inlet<'_>) -> Result<usize, Upload> {
    match timeout(BODY_TIME, input.fill(read)).await {
        Ok(Ok(count)) => Ok(count),
        Ok(Err(_)) => Err(Upload::Failed(gone())),
        Err(_) => Err(Upload::Failed(refused("the next piece of its body did not come within 30 s".into()))),
    }
}

/// Resolves when the app closes its side. Bytes of its next request end the watch: they wait for their turn.
async fn left(read: &mut ReadHalf<'_>, input: &mut Inlet<'_>) {
    if input.is_empty() && matches!(input.fill(read).await, Ok(0) | Err(_)) {
        return;
    }
    pending::<()>().await;
}

fn refuses(this: &Exchange<'_>, error: &io::Error) -> Upload {
    if error.kind() == io::ErrorKind::TimedOut {
        return Upload::Failed(Refusal::UpstreamUnreachable { host: this.host.to_string() }.into());
    }
    Upload::Broken
}

fn malformed(error: BodyError) -> Upload {
    Upload::Failed(refused(error.to_string()))
}

fn refused(reason: String) -> Failure {
    Refusal::RequestMalformed { reason }.into()
}

fn unframed(error: EncodeError) -> Upload {
    Upload::Failed(Fault::new("framing a request", error).into())
}
