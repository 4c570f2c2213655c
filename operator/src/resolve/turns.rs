//! Turns: how many questions of one namespace are decided at once.
//!
//! A decision costs reads of the API server, which serves every replica as one user. Without a bound, one recipient who asks
//! in a loop would fill what it has to give, and everybody's questions and renewals would be late, which is a refusal. A question
//! waits for its turn in the order of arrival, and no longer than it is worth.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use keylend_contract::refusal::Refusal;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

/// Decisions for one namespace at once; at some five milliseconds each they are thousands a second.
pub(super) const AT_ONCE: usize = 32;

/// The turns of each namespace with a question.
#[derive(Default)]
pub struct Turns(Mutex<HashMap<String, Weak<Semaphore>>>);

impl Turns {
    /// Waits for a turn of `namespace`, which ends when it is dropped.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`] when there is none before `deadline`.
    pub async fn next(&self, namespace: &str, deadline: Instant) -> Result<OwnedSemaphorePermit, Refusal> {
        let turn = self.of(namespace).acquire_owned();
        timeout_at(deadline, turn).await.ok().and_then(Result::ok).ok_or(Refusal::Overloaded)
    }

    fn of(&self, namespace: &str) -> Arc<Semaphore> {
        let mut namespaces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = namespaces.get(namespace).and_then(Weak::upgrade) {
            return turns;
        }
        namespaces.retain(|_, turns| turns.strong_count() > 0);
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        namespaces.insert(namespace.to_owned(), Arc::downgrade(&turns));
        turns
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_namespace_waits_for_itself_alone() {
        let turns = Turns::default();
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut taken = join_all((0..AT_ONCE).map(|_| turns.next("loud", deadline))).await;
        assert!(taken.iter().all(Result::is_ok));
        assert_eq!(turns.next("loud", deadline).await.err(), Some(Refusal::Overloaded));
        assert_eq!(Instant::now(), deadline);
        assert!(turns.next("quiet", Instant::now() + Duration::from_millis(1)).await.is_ok());
        taken.pop();
        assert!(turns.next("loud", Instant::now() + Duration::from_millis(1)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_of_those_who_asked() {
        let turns = Turns::default();
        for name in ["a", "b", "c"] {
            drop(turns.next(name, Instant::now() + Duration::from_secs(1)).await);
        }
        assert_eq!(turns.0.lock().unwrap().len(), 1);
    }
}
