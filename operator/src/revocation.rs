//! When a stop is complete: when nothing that was granted before it can still be open.
//!
//! Why waiting suffices, whatever replicas and sidecars do in the meantime:
//! 1. A grant rests on a linearizable read of the share that was sent after its ask, or renewal, arrived. So whatever
//!    was granted was *sent* by its sidecar before the stop was accepted, and therefore before anyone read the stop.
//! 2. A sidecar relies on a grant for [`GRANT_TERM`] after it *sent* the question, by its own monotonic clock, then cuts.
//! 3. So [`GRANT_TERM`] and [`MARGIN`] after *any* replica first read the stop, by that replica's monotonic clock,
//!    nothing is open, whoever granted it, and that replica may say so.
//!
//! Nobody is asked: a replica that hangs, restarts or is cut off changes nothing, since it can neither grant without a
//! read nor renew. A restarted replica has forgotten when it first read and waits anew, hence [`Incarnation`].
//! Acknowledgements (reserved in the wire) may later shorten the wait; they would count only over incarnations on record
//! before their first grant, and a missing one, or a start within the term, means the full wait.
//!
//! An expiry is a stop by a wall clock, and wall clocks differ: it is written into the share first, every replica
//! refuses by that record, and only from reading the record on is the wait counted.
//!
//! Never add: a way to complete a stop on somebody's word, or a comparison of clocks of two machines.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use keylend_contract::wire::GRANT_TERM;
use keylend_crds::{ConditionType, Reason, SecretShare, condition::ConditionStatus};

use crate::resolve::policy::expiry;

#[cfg(test)]
mod model;

/// What a sidecar may need beyond its term: closing both sides of its calls once its timer has fired on a busy node
/// (nearly all of it), and two monotonic clocks that each run wrong by 500 parts in a million, as far as NTP slews them
/// (2 ms). A process that is paused between its last check and its write is beyond any margin.
pub const MARGIN: Duration = Duration::from_millis(400);

/// How long what a replica first read is remembered: much longer than any wait. Forgetting only lengthens a wait.
const REMEMBERED: Duration = Duration::from_mins(5);

/// Why nothing more is granted under a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stop {
    /// Deleted, or `revoked: true`: for good.
    Final,
    /// Past `expiresAt` as it stood in this generation: an owner may still extend it.
    Expired {
        /// The share's generation.
        generation: i64,
    },
}

/// One run of one replica: when it first read which stop, by its own monotonic clock.
#[derive(Debug, Default)]
pub struct Incarnation {
    first_reads: HashMap<(String, Stop), Instant>,
}

/// What still has to pass at `now` of the wait that began at `first_read`; nothing once the stop is complete.
#[must_use]
pub fn remaining(first_read: Instant, now: Instant) -> Option<Duration> {
    (GRANT_TERM + MARGIN).checked_sub(now.duration_since(first_read)).filter(|wait| !wait.is_zero())
}

/// How `share` was stopped, if it was: by its owner, by its own end at `now`, or by what another replica's clock said.
#[must_use]
pub fn stop_of(share: &SecretShare, now: Timestamp) -> Option<Stop> {
    if share.metadata.deletion_timestamp.is_some() || share.spec.revoked == Some(true) {
        return Some(Stop::Final);
    }
    let ended = matches!(expiry(&share.spec), Ok(Some(end)) if end <= now);
    let generation = share.metadata.generation.unwrap_or_default();
    let expired = Stop::Expired { generation };
    (ended || expired.is_on_record(share)).then_some(expired)
}

impl Stop {
    /// Whether the share as read says so to every replica alike, whatever its clock.
    #[must_use]
    pub fn is_on_record(self, share: &SecretShare) -> bool {
        match self {
            Self::Final => true,
            Self::Expired { generation } => share
                .status
                .iter()
                .flat_map(|status| &status.conditions)
                .filter(|condition| condition.type_ == ConditionType::Revoked)
                .any(|condition| {
                    condition.observed_generation == generation && condition.reason != Reason::NotStopped
                }),
        }
    }

    /// Whether the share as read says that the wait for this very stop is over.
    #[must_use]
    pub fn is_complete(self, share: &SecretShare) -> bool {
        let generation = share.metadata.generation.unwrap_or_default();
        let revoked = share
            .status
            .iter()
            .flat_map(|status| &status.conditions)
            .find(|condition| condition.type_ == ConditionType::Revoked)
            .filter(|condition| condition.status == ConditionStatus::True);
        revoked.is_some_and(|condition| match self {
            Self::Final => condition.reason == Reason::Stopped,
            Self::Expired { .. } => condition.observed_generation == generation,
        })
    }
}

impl Incarnation {
    /// Whether this run has read `stop` of the share `uid`.
    #[must_use]
    pub fn has_read(&self, uid: &str, stop: Stop) -> bool {
        self.first_reads.contains_key(&(uid.to_owned(), stop))
    }

    /// Notes that `stop` of the share `uid` was read at `now`, and says what still has to pass since it first was.
    pub fn wait(&mut self, uid: &str, stop: Stop, now: Instant) -> Option<Duration> {
        self.first_reads.retain(|_, first_read| now.duration_since(*first_read) < REMEMBERED);
        let first_read = self.first_reads.entry((uid.to_owned(), stop)).or_insert(now);
        remaining(*first_read, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_complete_a_term_and_a_margin_after_it_was_first_read() {
        let start = Instant::now();
        let whole = GRANT_TERM + MARGIN;
        let nanosecond = Duration::from_nanos(1);
        // (after the first read, what remains)
        let table = [
            (Duration::ZERO, Some(whole)),
            (GRANT_TERM, Some(MARGIN)),
            (whole.checked_sub(nanosecond).unwrap(), Some(nanosecond)),
            (whole, None),
            (whole * 2, None),
        ];
        for (after, expected) in table {
            assert_eq!(remaining(start, start + after), expected, "{after:?}");
        }
    }

    #[test]
    fn a_wait_counts_from_the_first_read_of_that_very_stop_in_this_run() {
        let start = Instant::now();
        let later = start + GRANT_TERM;
        let mut run = Incarnation::default();
        let expired = Stop::Expired { generation: 1 };
        assert_eq!(run.wait("a", expired, start), Some(GRANT_TERM + MARGIN));
        assert_eq!(run.wait("a", expired, later), Some(MARGIN));
        // Another share, another stop of the same share, another run: each waits for itself.
        assert_eq!(run.wait("b", expired, later), Some(GRANT_TERM + MARGIN));
        assert_eq!(run.wait("a", Stop::Expired { generation: 2 }, later), Some(GRANT_TERM + MARGIN));
        assert_eq!(run.wait("a", Stop::Final, later), Some(GRANT_TERM + MARGIN));
        assert_eq!(Incarnation::default().wait("a", expired, later), Some(GRANT_TERM + MARGIN));
    }

    #[test]
    fn what_was_forgotten_is_waited_for_again() {
        let start = Instant::now();
        let mut run = Incarnation::default();
        run.wait("a", Stop::Final, start);
        run.wait("b", Stop::Final, start + REMEMBERED);
        assert_eq!(run.first_reads.len(), 1);
        assert_eq!(run.wait("a", Stop::Final, start + REMEMBERED), Some(GRANT_TERM + MARGIN));
    }
}
