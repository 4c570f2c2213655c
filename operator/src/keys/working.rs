//! Which keys work, as far as somebody looked. It only tells: each use of a key asks for itself.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::sync::watch as channel;

use crate::{
    fault::with_causes,
    keys::{KeyProvider as _, local::LocalKeys},
};

/// The loss of a key is told this late.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The names of the keys that worked at the last look.
pub struct WorkingKeys {
    keys: Arc<LocalKeys>,
    last: channel::Sender<Option<BTreeSet<String>>>,
}

impl WorkingKeys {
    /// Nobody has looked yet.
    #[must_use]
    pub fn of(keys: Arc<LocalKeys>) -> Self {
        Self { keys, last: channel::Sender::new(None) }
    }

    /// Tells when a look saw something else than the one before.
    #[must_use]
    pub fn subscribe(&self) -> channel::Receiver<Option<BTreeSet<String>>> {
        self.last.subscribe()
    }

    /// What the last look saw; nothing before the first.
    #[must_use]
    pub fn last(&self) -> Option<BTreeSet<String>> {
        self.last.borrow().clone()
    }

    /// Looks now; nothing if that cannot be seen.
    pub async fn look(&self) -> Option<BTreeSet<String>> {
        let seen = self.keys.working().await;
        let seen = seen.inspect_err(|error| {
            tracing::warn!(error = with_causes(error), "which keys work could not be seen");
        });
        let seen = Some(seen.ok()?);
        self.last.send_if_modified(|last| std::mem::replace(last, seen.clone()) != seen);
        seen
    }

    /// Looks again and again.
    pub async fn keep_looking(&self) {
        loop {
            self.look().await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
