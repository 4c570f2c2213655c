//! Who may write how many denials (refusals and alarms) as rows of their own.
//!
//! Each caller has some rows and some bytes an interval. What is beyond is counted, and the counts become one row
//! for each caller and code and interval. Memory is bounded: callers beyond a number share one place.
//!
//! Pure: time is an argument, nothing here writes. Never add: a use. A use always has its own row.

use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp};

use super::row::{Coalesced, Party};

/// How many denials are written singly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DenialLimits {
    /// The interval that the other limits are for, and in which counts become a row.
    pub interval: SignedDuration,
    /// Rows of one caller.
    pub rows: u32,
    /// Bytes of one caller's rows.
    pub bytes: usize,
    /// How many callers are told apart.
    pub callers: usize,
}

/// A denial that asks for its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Denial {
    pub(super) by: Party,
    pub(super) code: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Gets a row of its own.
    Write,
    /// Has been counted.
    Counted,
}

/// What every caller has used of its share, and what is counted.
#[derive(Debug)]
pub(super) struct Shares {
    limits: DenialLimits,
    callers: HashMap<Party, Share>,
}

#[derive(Debug)]
struct Share {
    since: Timestamp,
    rows: u32,
    bytes: usize,
    counts: BTreeMap<&'static str, Count>,
}

#[derive(Debug)]
struct Count {
    denials: u64,
    first: Timestamp,
    last: Timestamp,
}

impl Shares {
    pub(super) fn new(limits: DenialLimits) -> Self {
        Self { limits, callers: HashMap::new() }
    }

    /// Decides about a denial whose row has `bytes`.
    pub(super) fn weigh(&mut self, denial: &Denial, bytes: usize, now: Timestamp) -> Verdict {
        let limits = self.limits;
        let share = self.share(&denial.by, now);
        if over(share.since, now, limits.interval) {
            (share.since, share.rows, share.bytes) = (now, 0, 0);
        }
        if share.rows < limits.rows && share.bytes + bytes <= limits.bytes {
            share.rows += 1;
            share.bytes += bytes;
            return Verdict::Write;
        }
        share.count(denial.code, 1, now, now);
        Verdict::Counted
    }

    /// Counts a denial that could not be written.
    pub(super) fn count(&mut self, denial: &Denial, now: Timestamp) {
        self.share(&denial.by, now).count(denial.code, 1, now, now);
    }

    /// Takes out the counts that are an interval old, and forgets callers with nothing left.
    pub(super) fn due(&mut self, now: Timestamp) -> Vec<Coalesced> {
        let interval = self.limits.interval;
        let mut rows = Vec::new();
        self.callers.retain(|by, share| {
            for (code, count) in share.counts.extract_if(.., |_, count| over(count.first, now, interval)) {
                rows.push(count.row(by, code));
            }
            !share.counts.is_empty() || !over(share.since, now, interval)
        });
        rows
    }

    /// Takes out all counts: the log is closing.
    pub(super) fn rest(&mut self) -> Vec<Coalesced> {
        let callers = self.callers.drain();
        let rows = callers
            .flat_map(|(by, share)| share.counts.into_iter().map(move |(code, count)| count.row(&by, code)));
        rows.collect()
    }

    /// Takes back a count that could not be written.
    pub(super) fn restore(&mut self, row: Coalesced) {
        let Coalesced { code, count, first, last, by } = row;
        self.share(&by, last).count(code, count, first, last);
    }

    fn share(&mut self, by: &Party, now: Timestamp) -> &mut Share {
        let told_apart = self.callers.contains_key(by) || self.callers.len() < self.limits.callers;
        let by = if told_apart { by.clone() } else { Party::Further };
        self.callers.entry(by).or_insert_with(|| Share {
            since: now,
            rows: 0,
            bytes: 0,
            counts: BTreeMap::new(),
        })
    }
}

impl Share {
    fn count(&mut self, code: &'static str, more: u64, first: Timestamp, last: Timestamp) {
        let count = self.counts.entry(code).or_insert(Count { denials: 0, first, last });
        count.denials = count.denials.saturating_add(more);
        count.first = count.first.min(first);
        count.last = count.last.max(last);
    }
}

impl Count {
    fn row(self, by: &Party, code: &'static str) -> Coalesced {
        Coalesced { code, count: self.denials, first: self.first, last: self.last, by: by.clone() }
    }
}

/// Whether an interval that began at `since` is over. A clock set back ends it too.
fn over(since: Timestamp, now: Timestamp, interval: SignedDuration) -> bool {
    now < since || now.duration_since(since) >= interval
}

#[cfg(test)]
mod tests {
    use super::super::row::Caller;
    use super::*;

    const LIMITS: DenialLimits =
        DenialLimits { interval: SignedDuration::from_secs(60), rows: 3, bytes: 1000, callers: 2 };

    fn pod(name: &str) -> Party {
        let text = |raw: &str| raw.into();
        Party::Caller(Caller {
            namespace: text("partner"),
            namespace_uid: text("n"),
            pod: text(name),
            pod_uid: text(name),
            service_account: text("checkout"),
        })
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn denial(by: Party, code: &'static str) -> Denial {
        Denial { by, code }
    }

    #[test]
    fn denials_beyond_a_share_are_counted() {
        // (second, caller, bytes, written)
        let table = [
            (0, "a", 400, Verdict::Write),
            (1, "a", 400, Verdict::Write),
            (1, "a", 201, Verdict::Counted), // bytes are used up
            (2, "a", 200, Verdict::Write),
            (3, "a", 0, Verdict::Counted), // rows are used up
            (3, "b", 400, Verdict::Write), // another caller has its own share
            (59, "a", 1, Verdict::Counted),
            (60, "a", 1, Verdict::Write), // a new interval
            (10, "a", 1, Verdict::Write), // a clock set back begins a new one
        ];
        let mut shares = Shares::new(LIMITS);
        for (line, (second, caller, bytes, verdict)) in table.into_iter().enumerate() {
            let weighed = shares.weigh(&denial(pod(caller), "secret_unknown"), bytes, at(second));
            assert_eq!(weighed, verdict, "line {line}");
        }
    }

    #[test]
    fn counts_become_one_row_for_each_caller_and_code_once_an_interval_is_over() {
        let mut shares = Shares::new(LIMITS);
        for second in 0..10 {
            shares.weigh(&denial(pod("a"), "secret_unknown"), 1, at(second));
        }
        shares.weigh(&denial(pod("a"), "port_not_approved"), 1, at(20));
        assert_eq!(shares.due(at(62)), []);
        let first = Coalesced { code: "secret_unknown", count: 7, first: at(3), last: at(9), by: pod("a") };
        assert_eq!(shares.due(at(63)), std::slice::from_ref(&first));
        let second =
            Coalesced { code: "port_not_approved", count: 1, first: at(20), last: at(20), by: pod("a") };
        assert_eq!(shares.due(at(80)), [second]);
        assert_eq!(shares.due(at(1000)), []);
        shares.restore(first.clone());
        assert_eq!(shares.rest(), [first]);
        assert_eq!(shares.rest(), []);
    }

    #[test]
    fn a_count_that_could_not_be_written_is_added_to_what_came_meanwhile() {
        let mut shares = Shares::new(LIMITS);
        shares.count(&denial(Party::Unknown, "caller_unknown"), at(5));
        shares.restore(Coalesced {
            code: "caller_unknown",
            count: 9,
            first: at(1),
            last: at(2),
            by: Party::Unknown,
        });
        let row =
            Coalesced { code: "caller_unknown", count: 10, first: at(1), last: at(5), by: Party::Unknown };
        assert_eq!(shares.rest(), [row]);
    }

    #[test]
    fn callers_beyond_the_number_share_one_place_until_others_are_forgotten() {
        let mut shares = Shares::new(LIMITS);
        for name in 0..1000 {
            shares.weigh(&denial(pod(&name.to_string()), "secret_unknown"), 1, at(0));
        }
        assert_eq!(shares.callers.len(), LIMITS.callers + 1);
        let counted = shares.due(at(60));
        assert_eq!(
            counted.iter().map(|row| (row.count, row.by.clone())).collect::<Vec<_>>(),
            [(998 - 3, Party::Further)]
        );
        assert_eq!(shares.callers.len(), 0);
    }
}
