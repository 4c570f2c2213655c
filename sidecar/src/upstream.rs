//! Sends to a permitted destination over verified TLS, and nowhere else.
//!
//! Promises: every permit of a grant is asked again before anything is dialled; one name is resolved, checked address by
//! address, dialled, verified and written as Host; connections and TLS sessions are kept per (route, shares and generations,
//! destination, anchors) and never cross that line; none outlives the last grant it was used under. Never add a retry, a
//! redirect, a proxy, or a way around verification.

mod connection;
mod destination;
mod dial;
mod pool;
mod tls;
mod wiping;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use keylend_contract::{refusal::Refusal, wire::Granted};
use tokio::time::{Instant, interval};

pub use self::{connection::Connection, destination::Destination, dial::Resolver};
use self::{pool::Pool, tls::Anchored};
use crate::fault::{Failure, Fault};

/// How often connections that may not wait until the next time are dropped.
const TIDY_EVERY: Duration = Duration::from_millis(500);

/// All connections of this sidecar to upstreams.
pub struct Upstreams {
    resolver: Resolver,
    anchored: Anchored,
    pool: Mutex<Pool>,
}

impl Upstreams {
    /// No connections; names are resolved by `resolver`.
    ///
    /// # Errors
    /// [`Fault`] when TLS cannot be set up.
    pub fn new(resolver: Resolver) -> Result<Self, Fault> {
        Ok(Self { resolver, anchored: Anchored::new()?, pool: Mutex::default() })
    }

    /// A connection to `destination` that waited for a call of `route`. Its peer may end it just as a request is sent.
    pub fn waiting(&self, route: &str, destination: &Destination<'_>) -> Option<Connection> {
        self.pool().take(&destination.key(route), Instant::now())
    }

    /// A new connection to `destination` for a call of `route`.
    ///
    /// # Errors
    /// [`Refusal::AddressNotApproved`], [`Refusal::UpstreamUnreachable`] or [`Refusal::UpstreamUntrusted`].
    pub async fn connect(&self, route: &str, destination: &Destination<'_>) -> Result<Connection, Failure> {
        let key = destination.key(route);
        let known = self.pool().sessions(&key);
        let sessions = match known {
            Some(sessions) => sessions,
            None => self.pool().learn(&key, self.anchored.sessions(destination)?),
        };
        let addresses = self.resolver.resolve(destination).await?;
        let stream = dial::dial(destination, &addresses).await?;
        let stream = tls::prove(destination, sessions, stream).await?;
        Ok(Connection::new(stream, key))
    }

    /// Takes a connection back for the next call: until `held`, the end of the hold it was used under, and no longer than
    /// its peer has `patience`. Only one that is exactly between two messages may come here; what its TLS still has of the
    /// last one is wiped.
    pub fn keep(&self, connection: Connection, held: Instant, patience: Option<Duration>) {
        let until = patience.and_then(|patience| Instant::now().checked_add(patience));
        let until = until.map_or(held, |until| held.min(until));
        self.pool().put(connection, until);
    }

    /// Cuts what waits under any share of `granted`.
    pub fn forget(&self, granted: &Granted) {
        self.pool().forget(&granted.permits);
    }

    /// Cuts what waits for `route`.
    pub fn forget_route(&self, route: &str) {
        self.pool().forget_route(route);
    }

    /// Cuts what waited long enough, for as long as the sidecar runs.
    pub async fn tidy(&self) {
        let mut ticks = interval(TIDY_EVERY);
        loop {
            ticks.tick().await;
            self.pool().expire(Instant::now() + TIDY_EVERY);
        }
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a host that cannot be reached is answered with.
fn unreachable(destination: &Destination<'_>) -> Refusal {
    Refusal::UpstreamUnreachable { host: destination.host().to_string() }
}
