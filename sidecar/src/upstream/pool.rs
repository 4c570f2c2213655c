//! Connections that wait for their next call, parted by [`Key`].
//!
//! Promises: a connection is handed out only under the key it was made for, only if its peer has been quiet, and only
//! before it waited too long; nothing waits under a share that was lost. Bounded.

use std::{collections::HashMap, sync::Arc, time::Duration};

use keylend_contract::wire::Permit;
use tokio::time::Instant;

use super::{connection::Connection, destination::Key, tls::Sessions};

/// How many connections wait at once; each costs some tens of kilobytes.
const MAX_WAITING: usize = 256;
/// How long one waits. Most servers close after a minute or more; a call that meets a closing server is not retried.
const WAIT: Duration = Duration::from_secs(30);
/// How long the sessions of an unused key are kept.
const REMEMBER: Duration = Duration::from_mins(10);

/// All waiting connections.
#[derive(Default)]
pub(super) struct Pool {
    lots: HashMap<Key, Lot>,
    waiting: usize,
}

struct Lot {
    sessions: Sessions,
    waiting: Vec<Waiting>,
    used: Instant,
}

struct Waiting {
    connection: Connection,
    until: Instant,
}

impl Pool {
    /// The connection that was used last, if it is still good.
    pub(super) fn take(&mut self, key: &Key, now: Instant) -> Option<Connection> {
        let lot = self.lots.get_mut(key)?;
        lot.used = now;
        while let Some(Waiting { connection, until }) = lot.waiting.pop() {
            self.waiting -= 1;
            if now < until && connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// The sessions of `key`, if it was used before.
    pub(super) fn sessions(&self, key: &Key) -> Option<Sessions> {
        self.lots.get(key).map(|lot| Arc::clone(&lot.sessions))
    }

    /// Remembers the sessions of `key`, or gives back those that another call made meanwhile.
    pub(super) fn learn(&mut self, key: &Key, sessions: Sessions) -> Sessions {
        let fresh = || Lot { sessions, waiting: Vec::new(), used: Instant::now() };
        Arc::clone(&self.lots.entry(key.clone()).or_insert_with(fresh).sessions)
    }

    /// Lets `connection` wait, no longer than its peer has `patience`. Without room, or when its share was lost while it
    /// was in use, it is closed.
    pub(super) fn put(&mut self, connection: Connection, patience: Option<Duration>, now: Instant) {
        let wait = patience.map_or(WAIT, |patience| patience.min(WAIT));
        match self.lots.get_mut(connection.key()) {
            Some(lot) if self.waiting < MAX_WAITING => {
                lot.used = now;
                lot.waiting.push(Waiting { connection, until: now + wait });
                self.waiting += 1;
            }
            Some(_) | None => connection.settle(),
        }
    }

    /// Cuts what waits under any share of `permits`, and forgets their sessions.
    pub(super) fn forget(&mut self, permits: &[Permit]) {
        self.lots.retain(|key, _| !permits.iter().any(|permit| key.held_by(&permit.share)));
        self.waiting = self.lots.values().map(|lot| lot.waiting.len()).sum();
    }

    /// Closes what waited too long.
    pub(super) fn expire(&mut self, now: Instant) {
        for lot in self.lots.values_mut() {
            for over in lot.waiting.extract_if(.., |waiting| waiting.until <= now) {
                over.connection.settle();
            }
        }
        self.lots.retain(|_, lot| !lot.waiting.is_empty() || now < lot.used + REMEMBER);
        self.waiting = self.lots.values().map(|lot| lot.waiting.len()).sum();
    }
}
