//! The one connection that is kept to the operator.
//!
//! It is opened before anybody asks, and replaced in the background when it ends, when somebody doubts it, and when the
//! certificate changed. What was asked on the old one may still be answered there.

use std::time::Duration;

use bytes::Bytes;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use zeroize::Zeroizing;

use super::{
    connection::{Connection, PostError},
    dial::Dialer,
    pause::Pause,
};
use crate::{
    fault::with_causes,
    identity::{Identity, Standing},
};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A connection that ended sooner was refused rather than closed.
const SOON: Duration = Duration::from_secs(1);

/// The kept connection, if there is one now.
pub(crate) struct Line {
    dialer: Dialer,
    current: watch::Sender<Option<Connection>>,
}

impl Line {
    pub(crate) fn new(dialer: Dialer) -> Self {
        Self { dialer, current: watch::Sender::new(None) }
    }

    /// Posts `message`, on another connection if this one ended before it was acted on; it is never acted on twice. The
    /// time is taken before anything is written.
    pub(crate) async fn post_once(
        &self,
        path: &'static str,
        message: Bytes,
    ) -> Result<(Instant, Zeroizing<Vec<u8>>), PostError> {
        loop {
            let connection = self.connection().await;
            let sent = Instant::now();
            match connection.post(path, message.clone()).await {
                Err(PostError::Unprocessed) => self.doubt(&connection),
                answer => return answer.map(|answer| (sent, answer)),
            }
        }
    }

    /// The connection, as soon as there is one.
    pub(crate) async fn connection(&self) -> Connection {
        let mut current = self.current.subscribe();
        loop {
            let connection = current.borrow_and_update().clone();
            if let Some(connection) = connection {
                return connection;
            }
            if current.changed().await.is_err() {
                // The sender is ours, so this is never reached; no connection is the safe answer.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Has `connection` replaced: it ended, or answers too slowly to wait for.
    pub(crate) fn doubt(&self, connection: &Connection) {
        self.current.send_if_modified(|current| {
            let doubted = current.as_ref().is_some_and(|current| current.is(connection));
            if doubted {
                *current = None;
            }
            doubted
        });
    }

    /// Keeps a connection for as long as it is polled.
    pub(crate) async fn keep(&self, identity: &Identity) {
        let mut standing = identity.standing();
        let mut pause = Pause::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut last = None;
        let mut told = String::new();
        loop {
            if standing.wait_for(Standing::is_enrolled).await.is_err() {
                return;
            }
            let dialled = Instant::now();
            match self.dialer.dial(last).await {
                Ok(connection) => {
                    told.clear();
                    last = Some(connection.address());
                    tracing::info!(address = %connection.address(), "connected to the operator");
                    self.current.send_replace(Some(connection.clone()));
                    tokio::select! {
                        () = connection.ended() => self.doubt(&connection),
                        () = self.doubted(&connection) => {}
                        _ = standing.changed() => {}
                    }
                    if dialled.elapsed() > SOON {
                        pause.reset();
                        continue;
                    }
                }
                Err(error) => {
                    let cause = with_causes(&error);
                    if told != cause {
                        tracing::warn!(cause, "the operator is out of reach");
                        told = cause;
                    }
                }
            }
            sleep(pause.next()).await;
        }
    }

    async fn doubted(&self, connection: &Connection) {
        let kept =
            |current: &Option<Connection>| current.as_ref().is_some_and(|current| current.is(connection));
        // An error means that the sender, ours, is gone.
        let _ = self.current.subscribe().wait_for(|current| !kept(current)).await;
    }
}
