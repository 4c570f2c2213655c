//! Whether there is room for a row.
//!
//! The log has a budget of bytes. Segments whose newest row is older than the minimum retention are aged: they may
//! be dropped, oldest first, and only when room is needed. Younger ones never are; so what is young must leave room
//! for everybody:
//! - denials take at most half of the budget;
//! - a recipient takes at most [`HOG`] times what is free: one alone four fifths, two together eight ninths, and a
//!   newcomer always finds room;
//! - writes may use the last sixteenth, which uses and denials may not.
//!
//! Pure: time is an argument, nothing here touches a file. Never add: an exception for one caller.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

/// How many times the free room one recipient may take.
const HOG: u64 = 4;

/// How many recipients are told apart in a segment; the others share one place.
const RECIPIENTS: usize = 1024;

/// What rows are for, as far as room goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A use by a recipient, named by its namespace's UID, or an enrolment of one of its containers.
    Use(Arc<str>),
    /// A refusal, or a count of refusals and alarms.
    Denial,
    /// A change somebody made, or an alarm.
    Write,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Fits,
    /// Fits once the oldest segment is dropped.
    DropOldest,
    Full,
}

/// A segment that is kept. The newest is the open one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    /// Number of its first row.
    pub(super) first: u64,
    pub(super) bytes: u64,
    pub(super) denial_bytes: u64,
    /// Time of its newest row.
    pub(super) newest: Timestamp,
    pub(super) uses: HashMap<Arc<str>, u64>,
}

impl Kept {
    /// A segment that has just been opened.
    pub(super) fn opened(first: u64, bytes: u64, now: Timestamp) -> Self {
        Self { first, bytes, denial_bytes: 0, newest: now, uses: HashMap::new() }
    }
}

/// All that is kept, and what the young of it weigh.
#[derive(Debug)]
pub(super) struct Room {
    budget: u64,
    minimum_retention: SignedDuration,
    aged: VecDeque<Kept>,
    young: VecDeque<Kept>,
    aged_bytes: u64,
    young_bytes: u64,
    young_denials: u64,
    young_uses: HashMap<Arc<str>, u64>,
}

impl Room {
    pub(super) fn new(budget: u64, minimum_retention: SignedDuration) -> Self {
        Self {
            budget,
            minimum_retention,
            aged: VecDeque::new(),
            young: VecDeque::new(),
            aged_bytes: 0,
            young_bytes: 0,
            young_denials: 0,
            young_uses: HashMap::new(),
        }
    }

    /// What the log takes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.aged_bytes + self.young_bytes
    }

    /// The volume turned out to hold another amount.
    pub(super) fn set_budget(&mut self, budget: u64) {
        self.budget = budget;
    }

    /// Adds a segment, newer than all others.
    pub(super) fn keep(&mut self, kept: Kept) {
        self.young_bytes += kept.bytes;
        self.young_denials += kept.denial_bytes;
        for (recipient, bytes) in &kept.uses {
            *self.young_uses.entry(Arc::clone(recipient)).or_default() += bytes;
        }
        self.young.push_back(kept);
    }

    /// Lets segments become aged. The open one never does.
    pub(super) fn age(&mut self, now: Timestamp) {
        while self.young.len() > 1
            && self
                .young
                .front()
                .is_some_and(|kept| now.duration_since(kept.newest) >= self.minimum_retention)
        {
            let Some(kept) = self.young.pop_front() else { return };
            self.young_bytes -= kept.bytes;
            self.young_denials -= kept.denial_bytes;
            for (recipient, bytes) in &kept.uses {
                if let Some(sum) = self.young_uses.get_mut(recipient) {
                    *sum -= bytes;
                }
            }
            self.young_uses.retain(|_, sum| *sum > 0);
            self.aged_bytes += kept.bytes;
            self.aged.push_back(kept);
        }
    }

    /// Decides about a row of `bytes`.
    pub(super) fn judge(&self, purpose: &Purpose, bytes: u64) -> Verdict {
        let reserve = self.budget / 16;
        let young = self.young_bytes + bytes;
        let (ceiling, within_share) = match purpose {
            Purpose::Write => (self.budget, true),
            Purpose::Denial => (self.budget - reserve, self.young_denials + bytes <= self.budget / 2),
            Purpose::Use(_) => {
                let used = self.place(purpose).and_then(|place| self.young_uses.get(&place)).copied();
                let used = used.unwrap_or_default();
                let free = (self.budget - reserve).saturating_sub(self.young_bytes);
                (self.budget - reserve, used + bytes <= HOG * free)
            }
        };
        if young > ceiling || !within_share {
            Verdict::Full
        } else if self.aged_bytes + young > ceiling {
            Verdict::DropOldest
        } else {
            Verdict::Fits
        }
    }

    /// The oldest segment, if it may be dropped.
    pub(super) fn oldest_aged(&self) -> Option<u64> {
        self.aged.front().map(|kept| kept.first)
    }

    /// The oldest segment has been dropped.
    pub(super) fn drop_oldest(&mut self) {
        if let Some(kept) = self.aged.pop_front() {
            self.aged_bytes -= kept.bytes;
        }
    }

    /// A row is about to stand in the open segment.
    pub(super) fn add(&mut self, purpose: &Purpose, bytes: u64, now: Timestamp) {
        let place = self.place(purpose);
        let Some(open) = self.young.back_mut() else { return };
        open.bytes += bytes;
        open.newest = open.newest.max(now);
        self.young_bytes += bytes;
        if *purpose == Purpose::Denial {
            open.denial_bytes += bytes;
            self.young_denials += bytes;
        }
        if let Some(recipient) = place {
            *open.uses.entry(Arc::clone(&recipient)).or_default() += bytes;
            *self.young_uses.entry(recipient).or_default() += bytes;
        }
    }

    /// A row that was added has not been written after all.
    pub(super) fn take_back(&mut self, purpose: &Purpose, bytes: u64) {
        let place = self.place(purpose);
        let Some(open) = self.young.back_mut() else { return };
        open.bytes -= bytes;
        self.young_bytes -= bytes;
        if *purpose == Purpose::Denial {
            open.denial_bytes -= bytes;
            self.young_denials -= bytes;
        }
        if let Some(recipient) = place {
            for uses in [&mut open.uses, &mut self.young_uses] {
                if let Some(sum) = uses.get_mut(&recipient) {
                    *sum -= bytes;
                }
            }
        }
    }

    /// How many bytes of the open segment are denials.
    pub(super) fn open_denial_bytes(&self) -> u64 {
        self.young.back().map_or(0, |open| open.denial_bytes)
    }

    /// Under which name a use counts: its recipient's, or the shared one.
    fn place(&self, purpose: &Purpose) -> Option<Arc<str>> {
        let Purpose::Use(recipient) = purpose else { return None };
        let uses = &self.young.back()?.uses;
        let told_apart = uses.contains_key(recipient) || uses.len() < RECIPIENTS;
        Some(if told_apart { Arc::clone(recipient) } else { Arc::from("") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: u64 = 1600;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A room with one open segment, where segments age after 100 s.
    fn room() -> Room {
        let mut room = Room::new(BUDGET, SignedDuration::from_secs(100));
        room.keep(segment(1, 0));
        room
    }

    fn segment(first: u64, second: i64) -> Kept {
        Kept::opened(first, 0, at(second))
    }

    fn recipient(name: &str) -> Purpose {
        Purpose::Use(name.into())
    }

    /// Writes rows of 10 bytes until one does not fit; says how many bytes were written.
    fn fill(room: &mut Room, purpose: &Purpose, now: Timestamp) -> u64 {
        let mut bytes = 0;
        while room.judge(purpose, 10) == Verdict::Fits {
            room.add(purpose, 10, now);
            bytes += 10;
        }
        bytes
    }

    #[test]
    fn denials_take_half_and_leave_room_for_uses() {
        let mut room = room();
        assert_eq!(fill(&mut room, &Purpose::Denial, at(0)), 800);
        assert_eq!(room.judge(&Purpose::Denial, 10), Verdict::Full);
        assert!(fill(&mut room, &recipient("a"), at(0)) > 500);
        assert_eq!(room.open_denial_bytes(), 800);
    }

    #[test]
    fn a_recipient_that_takes_all_it_can_leaves_room_for_newcomers_and_writes() {
        let mut room = room();
        assert_eq!(fill(&mut room, &recipient("hog"), at(0)), 1200);
        for newcomer in ["a", "b", "c"] {
            assert!(fill(&mut room, &recipient(newcomer), at(0)) > 0, "{newcomer}");
        }
        assert_eq!(fill(&mut room, &Purpose::Write, at(0)), BUDGET - room_used_before_writes());
        assert_eq!(room.bytes(), BUDGET);
    }

    fn room_used_before_writes() -> u64 {
        let mut room = room();
        for name in ["hog", "a", "b", "c"] {
            fill(&mut room, &recipient(name), at(0));
        }
        assert!(room.bytes() <= BUDGET - BUDGET / 16);
        room.bytes()
    }

    #[test]
    fn aged_segments_are_dropped_oldest_first_and_only_when_room_is_needed() {
        let mut room = room();
        fill(&mut room, &Purpose::Write, at(0));
        room.keep(segment(9, 50));
        room.age(at(99));
        assert_eq!(room.judge(&Purpose::Write, 10), Verdict::Full, "younger than the minimum retention");
        assert_eq!(room.oldest_aged(), None);
        room.age(at(100));
        assert_eq!(room.judge(&Purpose::Write, 10), Verdict::DropOldest);
        assert_eq!(room.oldest_aged(), Some(1));
        room.drop_oldest();
        assert_eq!(room.judge(&Purpose::Write, 10), Verdict::Fits);
        room.age(at(10_000));
        assert_eq!(room.oldest_aged(), None, "the open segment never ages");
    }

    #[test]
    fn what_is_aged_counts_against_nobody() {
        let mut room = room();
        fill(&mut room, &Purpose::Denial, at(0));
        fill(&mut room, &recipient("a"), at(0));
        fill(&mut room, &Purpose::Write, at(0));
        assert_eq!(room.judge(&recipient("a"), 10), Verdict::Full);
        room.keep(segment(9, 100));
        room.age(at(100));
        assert_eq!(room.judge(&Purpose::Denial, 10), Verdict::DropOldest);
        assert_eq!(room.judge(&recipient("a"), 10), Verdict::DropOldest);
    }

    #[test]
    fn a_row_that_was_not_written_leaves_no_trace() {
        for purpose in [Purpose::Write, Purpose::Denial, recipient("a")] {
            let mut room = room();
            room.add(&purpose, 10, at(0));
            room.take_back(&purpose, 10);
            assert_eq!((room.bytes(), room.young_denials), (0, 0), "{purpose:?}");
            assert!(room.young_uses.values().all(|&bytes| bytes == 0), "{purpose:?}");
        }
    }

    #[test]
    fn recipients_beyond_the_number_share_one_share() {
        let mut room = Room::new(1_000_000, SignedDuration::from_secs(100));
        room.keep(segment(1, 0));
        for name in 0..RECIPIENTS {
            room.add(&recipient(&name.to_string()), 1, at(0));
        }
        for name in RECIPIENTS..10 * RECIPIENTS {
            let further = recipient(&format!("further-{name}"));
            if room.judge(&further, 100) == Verdict::Fits {
                room.add(&further, 100, at(0));
            }
        }
        assert_eq!(room.young_uses.len(), RECIPIENTS + 1);
        assert!(room.bytes() < 800_000);
    }
}
