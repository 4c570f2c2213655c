//! One app's connection: its requests in order, each answered before the next is read.

use std::{sync::Arc, time::Duration};

use keylend_contract::refusal::Refusal;
use tokio::{net::TcpStream, select, sync::watch, time::timeout};

use super::Door;
use crate::{
    call::{app::App, buffers::Progress, target::at_our_authority},
    fault::{Failure, with_causes},
    http1::{Asked, HeadError, Persistence, RequestHead, RequestReader, WriteError},
    respond,
};

/// How long a head may take from its first byte.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a connection may wait for its next request.
const IDLE_TIME: Duration = Duration::from_mins(5);

/// The probes' paths: no route has such a name.
const PROBES: [&str; 2] = ["/.keylend/started", "/.keylend/ready"];

/// Serves `stream` until either side is done with it. When `closing` ends, it is done after the present request.
pub(super) async fn serve(mut stream: TcpStream, door: Arc<Door>, mut closing: watch::Receiver<()>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let (read, write) = stream.split();
    let mut app = App::new(read, write, &door.carrier.spare);
    loop {
        let ends = closing.has_changed().is_err();
        if ends || (app.input.is_empty() && !awaken(&mut app, &mut closing).await) {
            return;
        }
        let head = match timeout(HEAD_TIME, head(&mut app)).await {
            Ok(Ok(Some(head))) => head,
            Ok(Ok(None)) => return,
            Ok(Err(error)) => return reject(app, error.to_string()).await,
            Err(_) => return reject(app, "its head did not come within 10 s".into()).await,
        };
        app.begin(&head);
        match Box::pin(answer(&door, &mut app, &head)).await {
            Next::Serve => {}
            Next::Part => return app.part().await,
            Next::Drop => return,
        }
    }
}

/// What to do with a connection after a request.
enum Next {
    Serve,
    Part,
    Drop,
}

impl From<Persistence> for Next {
    fn from(persistence: Persistence) -> Self {
        match persistence {
            Persistence::KeepAlive => Self::Serve,
            Persistence::Close => Self::Part,
        }
    }
}

/// Waits for the first byte of a request; says whether there is one.
async fn awaken(app: &mut App<'_>, closing: &mut watch::Receiver<()>) -> bool {
    select! {
        biased;
        filled = timeout(IDLE_TIME, app.input.fill(&mut app.read)) => matches!(filled, Ok(Ok(1..))),
        _ = closing.changed() => false,
    }
}

/// Reads one head; none when the app closed instead, which needs no answer.
async fn head(app: &mut App<'_>) -> Result<Option<RequestHead>, HeadError> {
    let mut reader = RequestReader::new();
    loop {
        if let Some(head) = reader.head(app.input.buffer())? {
            return Ok(Some(head));
        }
        if app.input.fill(&mut app.read).await.unwrap_or(0) == 0 {
            return Ok(None);
        }
    }
}

async fn answer(door: &Door, app: &mut App<'_>, head: &RequestHead) -> Next {
    if at_our_authority(head, &door.carrier.authority).is_ok_and(|(path, _)| PROBES.contains(&path)) {
        return probed(door, app, head).await;
    }
    let carried = match door.calls.try_acquire() {
        Ok(_room) => door.carrier.carry(app, head).await,
        Err(_) => Err(Refusal::Overloaded.into()),
    };
    match carried {
        Ok(persistence) => persistence.into(),
        Err(failure) => failed(app, head, &failure).await,
    }
}

/// Answers a request that was not carried, if nothing of a response was passed on; otherwise it can only be cut short.
async fn failed(app: &mut App<'_>, head: &RequestHead, failure: &Failure) -> Next {
    match failure {
        Failure::Refused(refusal) => tracing::info!(code = refusal.code(), "refused a call"),
        Failure::Broke(fault) => tracing::error!(error = with_causes(fault), "could not carry a call"),
    }
    if app.inviting || app.out.progress() == Progress::Begun {
        return Next::Drop;
    }
    app.out.restart();
    let outlook = app.outlook(head);
    let written = respond::failure(app.out.buffer(), failure, Asked::by(head.method()), outlook);
    finish(app, head, written, outlook).await
}

async fn probed(door: &Door, app: &mut App<'_>, head: &RequestHead) -> Next {
    let outlook = app.outlook(head);
    let status = if door.identity.enrolled().is_ok() { 200 } else { 503 };
    let written = respond::probe(app.out.buffer(), status, outlook);
    finish(app, head, written, outlook).await
}

/// Sends an answer of ours, and reads what is left of the request where that is short.
async fn finish(
    app: &mut App<'_>,
    head: &RequestHead,
    written: Result<(), WriteError>,
    outlook: Persistence,
) -> Next {
    if written.is_err() || app.out.send(&mut app.write).await.is_err() {
        return Next::Drop;
    }
    if outlook == Persistence::KeepAlive && app.drain(head).await.is_err() {
        return Next::Part;
    }
    outlook.into()
}

/// Answers what is no request; where the next one would begin is then unknown.
async fn reject(mut app: App<'_>, reason: String) {
    let refusal = Refusal::RequestMalformed { reason };
    tracing::info!(code = refusal.code(), "refused a request");
    app.out.restart();
    let written = respond::failure(app.out.buffer(), &refusal.into(), Asked::Other, Persistence::Close);
    if written.is_ok() && app.out.send(&mut app.write).await.is_ok() {
        app.part().await;
    }
}
