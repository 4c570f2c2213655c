//! Checks a log: is every row there, in its place, as it was written?
//!
//! Finds rows that were edited, removed, swapped, repeated or cut off, and says where. A log that was cut at its
//! end, or rewritten as a whole from some row on, shows only against a head kept elsewhere (an acknowledged
//! position, the mirror on standard output): pass it to [`Verifier::finish`].
//!
//! Never add: anything that repairs, or that reads a file by its name.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use serde::Serialize;

use super::chain::{Digest, Head, Link, Next, Seal, next_line};
use super::row::OPENING_KIND;

/// Reads segments in order and keeps what it finds.
#[derive(Debug, Default)]
pub struct Verifier {
    segment: String,
    line: u64,
    after: Option<Head>,
    last: Option<Head>,
    /// Heads that are demanded and have not been met.
    known: BTreeMap<u64, Digest>,
    rows: u64,
    findings: Vec<Finding>,
}

/// A flaw, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The segment, by the name it was given.
    pub segment: String,
    /// The line in it, counted from 1.
    pub line: u64,
    /// What is wrong there.
    pub flaw: Flaw,
}

/// What can be wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "flaw", rename_all = "snake_case")]
pub enum Flaw {
    /// The line is no row.
    #[error("not a row")]
    Unreadable,
    /// The line ends in the middle: a crash, or a cut.
    #[error("ends in the middle of a row")]
    Torn,
    /// The row's hash is not the hash of its bytes.
    #[error("row {seq} was edited")]
    Edited {
        /// Its number.
        seq: u64,
    },
    /// Rows are not there.
    #[error("rows {from} to {to} are missing")]
    Missing {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
    /// A row stands where an earlier number already was passed.
    #[error("row {seq} stands after row {after}")]
    Reordered {
        /// Its number.
        seq: u64,
        /// The highest number before it.
        after: u64,
    },
    /// A row has the right number but names another predecessor.
    #[error("row {seq} does not follow the row before it")]
    Detached {
        /// Its number.
        seq: u64,
    },
    /// A segment does not begin with the row that opens a segment.
    #[error("the segment has lost its beginning")]
    Beheaded,
    /// A head that was kept elsewhere is not in the log.
    #[error("row {seq}, known from elsewhere, is not in the log")]
    Unmet {
        /// Its number.
        seq: u64,
    },
}

/// What a whole log looks like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How many rows were read.
    pub rows: u64,
    /// The row before the first one; [`Head::GENESIS`] if nothing has been dropped by retention.
    pub after: Option<Head>,
    /// The last row.
    pub last: Option<Head>,
    /// What is wrong, in the order it was met.
    pub findings: Vec<Finding>,
}

impl Verifier {
    /// A verifier that also demands the rows in `known` to be there.
    #[must_use]
    pub fn expecting(known: impl IntoIterator<Item = Head>) -> Self {
        Self { known: known.into_iter().map(|head| (head.seq, head.hash)).collect(), ..Self::default() }
    }

    /// Reads one segment; the oldest comes first.
    ///
    /// # Errors
    /// When the reader fails.
    pub fn segment(&mut self, name: &str, mut reader: impl BufRead) -> io::Result<()> {
        name.clone_into(&mut self.segment);
        self.line = 0;
        let mut line = Vec::new();
        loop {
            self.line += 1;
            match next_line(&mut reader, &mut line)? {
                Next::Line => self.row(&line),
                Next::Ragged => self.find(Flaw::Torn),
                Next::End => return Ok(()),
            }
        }
    }

    /// Ends the reading.
    #[must_use]
    pub fn finish(mut self) -> Report {
        let begins = self.after.map_or(0, |after| after.seq);
        for seq in std::mem::take(&mut self.known).into_keys().filter(|&seq| seq > begins) {
            self.find(Flaw::Unmet { seq });
        }
        Report { rows: self.rows, after: self.after, last: self.last, findings: self.findings }
    }

    fn row(&mut self, bytes: &[u8]) {
        let Some(link) = Link::read(bytes) else { return self.find(Flaw::Unreadable) };
        self.rows += 1;
        let seq = link.head.seq;
        if self.line == 1 && link.kind != OPENING_KIND {
            self.find(Flaw::Beheaded);
        }
        if link.seal == Seal::Broken {
            self.find(Flaw::Edited { seq });
        }
        match self.last {
            None => self.after = Some(Head { seq: seq.saturating_sub(1), hash: link.prev }),
            Some(last) if seq <= last.seq => return self.find(Flaw::Reordered { seq, after: last.seq }),
            Some(last) if seq > last.seq + 1 => self.find(Flaw::Missing { from: last.seq + 1, to: seq - 1 }),
            Some(last) if link.prev != last.hash => self.find(Flaw::Detached { seq }),
            Some(_) => {}
        }
        self.last = Some(link.head);
        if self.known.get(&seq) == Some(&link.head.hash) {
            self.known.remove(&seq);
        }
    }

    fn find(&mut self, flaw: Flaw) {
        self.findings.push(Finding { segment: self.segment.clone(), line: self.line, flaw });
    }
}
