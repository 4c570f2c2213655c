//! What a log left behind, read at start.
//!
//! Promises: the chain goes on from the last good row; a tail that a crash tore is cut away, and nothing else is
//! ever cut. A segment that is damaged in its middle, with good rows behind, is kept as it is, for a person to see.
//!
//! Never add: a repair.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use jiff::Timestamp;

use super::chain::{Head, Link, MAX_LINE, Next, Seal, next_line};
use super::room::Kept;
use super::row::{CLOSING_KIND, DENIAL_KINDS};
use super::segment::Directory;

/// What was found.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) head: Head,
    pub(super) kept: Vec<Kept>,
    pub(super) torn_bytes: u64,
    /// Segments with bad rows that no crash explains.
    pub(super) damaged: Vec<u64>,
}

/// Reads what is there, and cuts the torn tail of the newest segment.
pub(super) fn recover(directory: &Directory) -> io::Result<Recovered> {
    let mut recovered =
        Recovered { head: Head::GENESIS, kept: Vec::new(), torn_bytes: 0, damaged: Vec::new() };
    let segments = directory.segments()?;
    for &first in &segments {
        let age = if segments.last() == Some(&first) { Age::Newest } else { Age::Older };
        recovered.segment(directory, first, age)?;
    }
    Ok(recovered)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    Older,
    Newest,
}

impl Recovered {
    fn segment(&mut self, directory: &Directory, first: u64, age: Age) -> io::Result<()> {
        let mut file = File::options().read(true).write(true).open(directory.path_of(first))?;
        let metadata = file.metadata()?;
        let length = metadata.len();
        let scan = match closing_row(&mut file, length)? {
            Some(scan) => scan,
            None => Scan::of(&file)?,
        };
        let torn = scan.flaw == Flaw::Torn && age == Age::Newest;
        if scan.flaw != Flaw::None && !torn {
            self.damaged.push(first);
        }
        let newest = match scan.last {
            Some((head, newest)) => {
                self.head = head;
                newest
            }
            None if age == Age::Newest && length < MAX_LINE as u64 => {
                self.torn_bytes += length;
                return directory.remove(first);
            }
            None if age == Age::Newest => {
                self.damaged.push(first);
                return directory.set_aside(first);
            }
            None => Timestamp::try_from(metadata.modified()?).unwrap_or(Timestamp::MAX),
        };
        let bytes = if torn { scan.good_bytes } else { length };
        if age == Age::Newest {
            // The rows that the chain goes on from were perhaps written, but not yet synced, when we died.
            self.torn_bytes += length - bytes;
            file.set_len(bytes)?;
            file.sync_all()?;
        }
        self.kept.push(Kept { first, bytes, denial_bytes: scan.denial_bytes, newest, uses: HashMap::new() });
        Ok(())
    }
}

/// What one segment holds.
struct Scan {
    last: Option<(Head, Timestamp)>,
    /// Up to the end of the last good row before the first bad byte.
    good_bytes: u64,
    denial_bytes: u64,
    flaw: Flaw,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// Nothing good stands behind the first bad byte.
    Torn,
    Damaged,
}

impl Scan {
    fn of(file: &File) -> io::Result<Self> {
        let mut scan = Self { last: None, good_bytes: 0, denial_bytes: 0, flaw: Flaw::None };
        let (mut reader, mut line) = (BufReader::new(file), Vec::new());
        loop {
            let next = next_line(&mut reader, &mut line)?;
            let row = match next {
                Next::End => return Ok(scan),
                Next::Line => Link::read(&line).filter(|link| link.seal == Seal::Sound),
                Next::Ragged => None,
            };
            let Some(row) = row else {
                if scan.flaw == Flaw::None {
                    scan.flaw = Flaw::Torn;
                }
                continue;
            };
            let bytes = line.len() as u64 + 1;
            match scan.flaw {
                Flaw::None => scan.good_bytes += bytes,
                Flaw::Torn | Flaw::Damaged => scan.flaw = Flaw::Damaged,
            }
            if DENIAL_KINDS.contains(&row.kind.as_str()) {
                scan.denial_bytes += bytes;
            }
            scan.last = Some((row.head, row.time));
        }
    }
}

/// A segment that was closed in good order says itself what it holds; it is not read as a whole.
fn closing_row(file: &mut File, length: u64) -> io::Result<Option<Scan>> {
    let start = length.saturating_sub(MAX_LINE as u64);
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.read_to_end(&mut tail)?;
    file.seek(SeekFrom::Start(0))?;
    let Some(lines) = tail.strip_suffix(b"\n") else { return Ok(None) };
    let line = lines.rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
    let closing = Link::read(line).filter(|link| link.seal == Seal::Sound && link.kind == CLOSING_KIND);
    Ok(closing.and_then(|link| {
        let denial_bytes = link.denial_bytes?;
        let last = Some((link.head, link.time));
        Some(Scan { last, good_bytes: length, denial_bytes, flaw: Flaw::None })
    }))
}
