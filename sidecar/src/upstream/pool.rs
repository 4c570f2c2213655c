//! Connections that wait for their next call, parted by [`Key`].
//!
//! Promises: a connection is handed out only under the key it was made for, and only if its peer has been quiet; none
//! waits longer than the last grant it was used under would have held, under a share that was lost, or for a route that
//! was refused: it is dropped, which cuts it. Bounded.

use std::{collections::HashMap, sync::Arc, time::Duration};

use keylend_contract::wire::Permit;
use tokio::time::Instant;

use super::{connection::Connection, destination::Key, tls::Sessions};

/// How many connections wait at once; each costs some tens of kilobytes.
const MAX_WAITING: usize = 256;
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

    /// Lets `connection` wait `until` then. Without room, when its share was lost while it was in use, or when its peer
    /// goes on speaking, it is cut.
    pub(super) fn put(&mut self, connection: Connection, until: Instant) {
        let kept = self.waiting < MAX_WAITING && connection.is_quiet();
        if let Some(lot) = self.lots.get_mut(connection.key()).filter(|_| kept) {
            lot.waiting.push(Waiting { connection, until });
            self.waiting += 1;
        }
    }

    /// Cuts what waits under any share of `permits`, and forgets their sessions.
    pub(super) fn forget(&mut self, permits: &[Permit]) {
        self.keep(|key, _| !permits.iter().any(|permit| key.held_by(&permit.share)));
    }

    /// Cuts what waits for `route`, and forgets its sessions.
    pub(super) fn forget_route(&mut self, route: &str) {
        self.keep(|key, _| !key.is_of(route));
    }

    /// Cuts what may not wait until `then`.
    pub(super) fn expire(&mut self, then: Instant) {
        self.keep(|_, lot| {
            lot.waiting.retain(|waiting| then < waiting.until);
            !lot.waiting.is_empty() || then < lot.used + REMEMBER
        });
    }

    fn keep(&mut self, wanted: impl FnMut(&Key, &mut Lot) -> bool) {
        self.lots.retain(wanted);
        self.waiting = self.lots.values().map(|lot| lot.waiting.len()).sum();
    }
}
