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
    pub(super) fn read(&self) -> Reading {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Reading {
            rows: read(&self.rows),
            syncs: read(&self.syncs),
            counted: read(&self.counted),
            full: read(&self.full),
            faults: read(&self.faults),
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
