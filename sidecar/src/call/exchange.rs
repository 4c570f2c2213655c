//! Both directions of one exchange at once: the request's body upstream, the response back.
//!
//! Promises: a chunk leaves in the wake-up in which it came; memory is bounded by one buffer a direction, whoever is
//! slow; a response that begins while the request is still being sent is passed on, after which both sides close; what
//! reaches the app was framed by us, and every byte the upstream chose was scrubbed. Any odd framing ends it.
//!
//! Time: an app that owes us the next piece of a body, or takes nothing of what is there for it, has 30 s. The
//! upstream's silence before and within its response has no limit of ours: event streams are silent by nature. The
//! hold, the app's patience (closing its side ends the exchange) and TCP keep-alive bound it.

mod acceptable;
mod download;
mod upload;

use std::{
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use keylend_contract::host::Host;
use tokio::select;

use super::{
    app::{App, BodyRead},
    buffers::Outlet,
    scrub::Scrubber,
};
use crate::{
    fault::Failure,
    http1::{Persistence, RequestHead},
    upstream::Connection,
};

/// What an exchange is made of, beside the app.
pub struct Exchange<'a> {
    /// The app's request.
    pub head: &'a RequestHead,
    /// Where it goes.
    pub connection: &'a Connection,
    /// The upstream's name, for refusals.
    pub host: &'a Host,
    /// What may not come back.
    pub scrubber: &'a Scrubber,
}

/// What becomes of both connections after a whole exchange.
pub struct Exchanged {
    /// The app's.
    pub app: Persistence,
    /// The upstream's.
    pub upstream: Afterwards,
}

/// What becomes of an upstream's connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Afterwards {
    /// It lies exactly between two messages, and may wait for as long as its peer stated.
    Keep(Option<Duration>),
    /// It is used no more, and to be dropped.
    Close,
}

/// Whether the whole request was sent; both directions look at it.
#[derive(Default)]
struct Sent(AtomicBool);

impl Sent {
    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Exchange<'_> {
    /// Sends what waits in `out`, the request's head, then its body, and passes the response on.
    ///
    /// # Errors
    /// Why it ended early. The upstream's connection is then to be dropped, and the app's too if a response had begun.
    pub async fn run(&self, app: &mut App<'_>, out: Outlet<'_>) -> Result<Exchanged, Failure> {
        let sent = Sent::default();
        if app.body == BodyRead::Nothing {
            app.body = BodyRead::Part;
        }
        let exchanged = {
            let mut upload = pin!(upload::upload(self, (&mut app.read, &mut app.input), out, &sent));
            let mut download =
                pin!(download::download(self, (&mut app.write, &mut app.out), app.spare, &sent));
            select! {
                biased;
                failure = &mut upload => Err(failure),
                exchanged = &mut download => exchanged,
            }
        };
        if sent.is_set() {
            app.body = BodyRead::Whole;
        }
        exchanged
    }
}
