//! Sends to a permitted destination over verified TLS, and nowhere else.
//!
//! Promises: every permit of a grant is asked again before anything is dialled; one name is resolved, checked address by
//! address, dialled, verified and written as Host; connections and TLS sessions are kept per (shares and generations,
//! destination, anchors) and never cross that line. Never add a retry, a redirect, a proxy, or a way around verification.

mod connection;
mod destination;
mod dial;
mod pool;
mod tls;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use keylend_contract::{refusal::Refusal, wire::Granted};
use tokio::time::{Instant, interval};

pub use self::{connection::Connection, destination::Destination, dial::Resolver};
use self::{pool::Pool, tls::Anchored};
use crate::fault::{Failure, Fault};

/// How often connections that waited too long are closed.
const TIDY_EVERY: Duration = Duration::from_secs(5);

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

    /// A connection to `destination` that nothing was written to: one that waited, or a new one.
    ///
    /// # Errors
    /// [`Refusal::AddressNotApproved`], [`Refusal::UpstreamUnreachable`] or [`Refusal::UpstreamUntrusted`].
    pub async fn connect(&self, destination: &Destination<'_>) -> Result<Connection, Failure> {
        let key = destination.key();
        if let Some(waiting) = self.pool().take(&key, Instant::now()) {
            return Ok(waiting);
        }
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

    /// Takes a connection back for the next call. Only one that is exactly between two messages may come here.
    pub fn keep(&self, connection: Connection, patience: Option<Duration>) {
        self.pool().put(connection, patience, Instant::now());
    }

    /// Closes what waits under any share of `granted`.
    pub fn forget(&self, granted: &Granted) {
        self.pool().forget(&granted.permits);
    }

    /// Closes what waited too long, for as long as the sidecar runs.
    pub async fn tidy(&self) {
        let mut ticks = interval(TIDY_EVERY);
        loop {
            ticks.tick().await;
            self.pool().expire(Instant::now());
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
