//! What the log has done, as numbers.
//!
//! Never add: a label. The metrics module names them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) rows: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) counted: AtomicU64,
    pub(super) full: AtomicU64,
    pub(super) faults: AtomicU64,
    pub(super) late: AtomicU64,
    /// The rows there were when one was late last, and one more; nothing if none was.
    late_after: AtomicU64,
    pub(super) segments_dropped: AtomicU64,
    pub(super) mirror_dropped: AtomicU64,
    pub(super) segments_damaged: AtomicU64,
    pub(super) bytes: AtomicU64,
}

/// A reading of the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Rows that are durable.
    pub rows: u64,
    /// `fdatasync`s that made rows durable.
    pub syncs: u64,
    /// Denials that got no row of their own.
    pub counted: u64,
    /// Rows refused because there was no room.
    pub full: u64,
    /// Rows refused because the disk failed.
    pub faults: u64,
    /// Rows that nobody waited for any longer, because the disk hung.
    pub late: u64,
    /// Segments dropped because their room was needed.
    pub segments_dropped: u64,
    /// Rows that the mirror did not take.
    pub mirror_dropped: u64,
    /// Segments that were found damaged at start.
    pub segments_damaged: u64,
    /// Bytes the log takes on disk now.
    pub bytes: u64,
}

impl Counters {
    /// Nobody waits any longer for a row.
    pub(super) fn note_late(&self) {
        count(&self.late, 1);
        self.late_after.store(self.rows.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Whether a row was late, and none has become durable since: whoever can do without one does not wait.
    pub(super) fn hangs(&self) -> bool {
        self.late_after.load(Ordering::Relaxed) == self.rows.load(Ordering::Relaxed) + 1
    }

    pub(super) fn read(&self) -> Reading {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Reading {
            rows: read(&self.rows),
            syncs: read(&self.syncs),
            counted: read(&self.counted),
            full: read(&self.full),
            faults: read(&self.faults),
            late: read(&self.late),
            segments_dropped: read(&self.segments_dropped),
            mirror_dropped: read(&self.mirror_dropped),
            segments_damaged: read(&self.segments_damaged),
            bytes: read(&self.bytes),
        }
    }
}

/// Counts `more`.
pub(super) fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}
