//! The log on its volume: the open segment, where the chain stands, and what is kept.
//!
//! Promises: the chain's head is always a durable row; a segment is begun with a row that binds it to the segment
//! before, and closed with one that says what it holds; only aged segments are dropped, and only for room.
//!
//! Never add: who waits for a row.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::AuditFault;
use super::chain::{Head, MAX_LINE, Prefix};
use super::recover::recover;
use super::room::{Kept, Purpose, Room, Verdict};
use super::row::Row;
use super::segment::{Directory, Segment};

/// What a segment keeps free: one row of any length, and its closing row.
const SEGMENT_RESERVE: u64 = MAX_LINE as u64 + 1024;

/// What is never asked of the volume.
const VOLUME_SPARE: u64 = 16 * 1024;

/// Where the log is, whose it is, and how large it may become.
#[derive(Debug, Clone)]
pub struct Settings {
    /// A directory of this replica alone.
    pub directory: PathBuf,
    /// The replica's name; in every row.
    pub replica: String,
    /// This run of the replica; in each segment's first row.
    pub incarnation: String,
    /// How large a segment becomes.
    pub segment_bytes: u64,
    /// How large the log becomes; at least four segments. Less if the volume holds less.
    pub budget_bytes: u64,
    /// Rows younger than this are never dropped.
    pub minimum_retention: SignedDuration,
    /// How long whoever asks waits for a row. One that becomes durable later stands for nothing: a row without a use is
    /// allowed.
    pub patience: Duration,
}

/// The log on its volume.
pub(super) struct Store {
    directory: Directory,
    segment: Option<Segment>,
    head: Head,
    room: Room,
    settings: Settings,
    /// The replica's name as JSON.
    replica: String,
    /// Rows of the log's own that are durable and not mirrored yet.
    own: Vec<Vec<u8>>,
    dropped: u64,
}

/// What was found at start.
pub(super) struct Found {
    pub(super) head: Head,
    pub(super) torn_bytes: u64,
    pub(super) damaged: Vec<u64>,
}

/// Rows that are written together.
pub(super) struct Lines {
    prefix: Prefix,
    now: Timestamp,
    head: Head,
    pub(super) bytes: Vec<u8>,
}

impl Store {
    /// Takes the directory and reads what is there. Nothing is written before the first row.
    pub(super) fn open(settings: Settings) -> io::Result<(Self, Found)> {
        let directory = Directory::take(Path::new(&settings.directory))?;
        let recovered = recover(&directory)?;
        let mut room = Room::new(settings.budget_bytes, settings.minimum_retention);
        recovered.kept.into_iter().for_each(|kept| room.keep(kept));
        let found =
            Found { head: recovered.head, torn_bytes: recovered.torn_bytes, damaged: recovered.damaged };
        let replica = serde_json::to_string(&settings.replica)?;
        let (head, own) = (found.head, Vec::new());
        Ok((Self { directory, segment: None, head, room, settings, replica, own, dropped: 0 }, found))
    }

    /// Makes sure that a segment is open that takes a row of any length.
    pub(super) fn prepare(&mut self, now: Timestamp) -> io::Result<()> {
        if let Some(segment) = &self.segment {
            if !segment.is_trusted() {
                segment.cut()?;
            } else if segment.bytes() + SEGMENT_RESERVE <= self.settings.segment_bytes {
                return Ok(());
            } else {
                self.close(now)?;
            }
            self.segment = None;
        }
        self.begin(now)
    }

    /// Begins a batch.
    pub(super) fn lines(&mut self, now: Timestamp) -> Lines {
        self.room.age(now);
        Lines { prefix: Prefix::new(now, &self.replica), now, head: self.head, bytes: Vec::new() }
    }

    /// Whether the open segment takes another row of any length.
    pub(super) fn takes_more(&self, lines: &Lines) -> bool {
        let open = self.segment.as_ref().map_or(0, Segment::bytes);
        open + lines.bytes.len() as u64 + SEGMENT_RESERVE <= self.settings.segment_bytes
    }

    /// Adds a row to the batch, if there is room; says how long it became and where it will stand.
    pub(super) fn add(
        &mut self,
        lines: &mut Lines,
        purpose: &Purpose,
        row: &[u8],
    ) -> Result<(u64, Head), AuditFault> {
        self.make_room(purpose, lines.prefix.line_bytes(row) as u64)?;
        let start = lines.bytes.len();
        lines.head = lines.head.append(&mut lines.bytes, &lines.prefix, row);
        let bytes = (lines.bytes.len() - start) as u64;
        self.room.add(purpose, bytes, lines.now);
        Ok((bytes, lines.head))
    }

    /// Writes the batch and returns once it is durable.
    pub(super) fn append(&mut self, lines: &Lines) -> io::Result<()> {
        self.segment.as_mut().ok_or(io::ErrorKind::NotFound)?.append(&lines.bytes)?;
        self.head = lines.head;
        Ok(())
    }

    /// Gives back the room of a row that was not written.
    pub(super) fn take_back(&mut self, purpose: &Purpose, bytes: u64) {
        self.room.take_back(purpose, bytes);
    }

    /// The budget is what was configured, or what the volume really has.
    pub(super) fn look_at_volume(&mut self) {
        if let Ok(free) = self.directory.free_bytes() {
            let there = self.room.bytes() + free.saturating_sub(VOLUME_SPARE);
            self.room.set_budget(self.settings.budget_bytes.min(there));
        }
    }

    /// Writes the open segment's last row.
    pub(super) fn close(&mut self, now: Timestamp) -> io::Result<()> {
        if !self.segment.as_ref().is_some_and(Segment::is_trusted) {
            return Ok(());
        }
        let lines =
            self.own_line(&Row::SegmentClosed { denial_bytes: self.room.open_denial_bytes() }, now)?;
        self.append(&lines)?;
        self.room.add(&Purpose::Write, lines.bytes.len() as u64, now);
        self.own.push(lines.bytes);
        Ok(())
    }

    /// Takes out the log's own rows that became durable since the last time.
    pub(super) fn take_own(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.own)
    }

    /// What the log takes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.room.bytes()
    }

    /// How many segments were dropped for room.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    fn begin(&mut self, now: Timestamp) -> io::Result<()> {
        let lines =
            self.own_line(&Row::SegmentOpened { incarnation: self.settings.incarnation.clone() }, now)?;
        let first = self.head.seq + 1;
        self.segment = Some(Segment::create(&self.directory, first, &lines.bytes)?);
        self.head = lines.head;
        self.room.keep(Kept::opened(first, lines.bytes.len() as u64, now));
        self.own.push(lines.bytes);
        self.look_at_volume();
        Ok(())
    }

    fn own_line(&mut self, row: &Row, now: Timestamp) -> io::Result<Lines> {
        let mut lines = self.lines(now);
        lines.head = lines.head.append(&mut lines.bytes, &lines.prefix, &serde_json::to_vec(row)?);
        Ok(lines)
    }

    fn make_room(&mut self, purpose: &Purpose, bytes: u64) -> Result<(), AuditFault> {
        if self.room.judge(purpose, bytes) == Verdict::Full {
            self.look_at_volume();
        }
        loop {
            match self.room.judge(purpose, bytes) {
                Verdict::Fits => return Ok(()),
                Verdict::Full => return Err(AuditFault::Full),
                Verdict::DropOldest => self.drop_oldest()?,
            }
        }
    }

    fn drop_oldest(&mut self) -> Result<(), AuditFault> {
        let oldest = self.room.oldest_aged().ok_or(AuditFault::Full)?;
        self.directory.remove(oldest)?;
        self.room.drop_oldest();
        self.dropped += 1;
        Ok(())
    }
}
