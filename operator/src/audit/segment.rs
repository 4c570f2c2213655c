//! The open segment: a file that only grows, and whose every acknowledged byte is on the disk.
//!
//! Promises: after a failed write the partly written tail is cut away before anything else is written. After a
//! failed `fdatasync` nothing is appended any more: the kernel may have dropped the pages and will report success
//! the next time, so the segment is cut back to what was durable and left.
//!
//! Never add: a retry of `fdatasync`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The name of the segment whose first row is `first`; names sort as the rows do.
pub(super) fn name(first: u64) -> String {
    format!("{first:020}.jsonl")
}

/// The number of the first row, from a file name.
fn first_of(name: &str) -> Option<u64> {
    name.strip_suffix(".jsonl").filter(|digits| digits.len() == 20)?.parse().ok()
}

/// The segments in `directory`, oldest first.
pub(super) fn segments_in(directory: &Path) -> io::Result<Vec<u64>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        segments.extend(entry?.file_name().to_str().and_then(first_of));
    }
    segments.sort_unstable();
    Ok(segments)
}

/// The log's directory, held by one process at a time.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    handle: File,
}

impl Directory {
    /// Takes the directory; makes it if need be.
    pub(super) fn take(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let handle = File::open(path)?;
        handle.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::ResourceBusy, "another process writes this log")
            }
            TryLockError::Error(error) => error,
        })?;
        Ok(Self { path: path.to_owned(), handle })
    }

    pub(super) fn path_of(&self, first: u64) -> PathBuf {
        self.path.join(name(first))
    }

    /// The segments that are there, oldest first.
    pub(super) fn segments(&self) -> io::Result<Vec<u64>> {
        segments_in(&self.path)
    }

    pub(super) fn remove(&self, first: u64) -> io::Result<()> {
        std::fs::remove_file(self.path_of(first))
    }

    /// Keeps a file that holds no row, under a name that is no segment's.
    pub(super) fn set_aside(&self, first: u64) -> io::Result<()> {
        let path = self.path_of(first);
        std::fs::rename(&path, path.with_extension("damaged"))
    }

    /// What the volume still has for us.
    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        let volume = rustix::fs::fstatvfs(&self.handle)?;
        Ok(volume.f_bavail.saturating_mul(volume.f_frsize))
    }
}

/// What the file holds beyond its durable length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    Clean,
    /// A write failed or was not finished.
    Ragged,
    /// An `fdatasync` failed.
    Untrusted,
}

/// The open segment.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    durable: u64,
    tail: Tail,
}

impl Segment {
    /// Begins the segment whose first row is `first`, durably, with `header` in it.
    ///
    /// A file of that name can only be what is left of an attempt that failed: no row with that number or a higher
    /// one has ever been acknowledged.
    pub(super) fn create(directory: &Directory, first: u64, header: &[u8]) -> io::Result<Self> {
        let path = directory.path_of(first);
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let mut segment = Self { file, durable: 0, tail: Tail::Clean };
        let begun = segment.append(header).and_then(|()| directory.handle.sync_all());
        if let Err(error) = begun {
            // What stays is truncated by the next attempt, or at the next start.
            let _ = directory.remove(first);
            return Err(error);
        }
        Ok(segment)
    }

    /// Writes whole lines, and returns once they are on the disk.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.tail == Tail::Ragged {
            self.file.set_len(self.durable)?;
        }
        self.tail = Tail::Ragged;
        self.file.write_all_at(lines, self.durable)?;
        self.tail = Tail::Untrusted;
        self.file.sync_data()?;
        self.tail = Tail::Clean;
        self.durable += lines.len() as u64;
        Ok(())
    }

    /// Its durable length.
    pub(super) fn bytes(&self) -> u64 {
        self.durable
    }

    /// Whether it may be appended to.
    pub(super) fn is_trusted(&self) -> bool {
        self.tail != Tail::Untrusted
    }

    /// Cuts the file back to what was durable. It is not appended to afterwards.
    pub(super) fn cut(&self) -> io::Result<()> {
        self.file.set_len(self.durable)?;
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_whose_sync_fails_is_no_success_and_ends_the_trust() {
        // The null device takes every byte and cannot be synced.
        let file = OpenOptions::new().write(true).open("/dev/null").unwrap();
        let mut segment = Segment { file, durable: 0, tail: Tail::Clean };
        assert!(segment.append(b"{}\n").is_err());
        assert_eq!((segment.bytes(), segment.is_trusted()), (0, false));
    }

    #[test]
    fn names_sort_as_rows_do_and_nothing_else_is_a_segment() {
        assert!(name(9) < name(10) && name(99_999) < name(u64::MAX));
        // (file name, first row)
        let table = [
            ("00000000000000000042.jsonl", Some(42)),
            ("00000000000000000042.damaged", None),
            ("42.jsonl", None),
            ("0000000000000000004x.jsonl", None),
            ("lost+found", None),
        ];
        for (file_name, first) in table {
            assert_eq!(first_of(file_name), first, "{file_name}");
        }
    }
}
