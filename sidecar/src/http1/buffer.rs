//! The bytes of one connection, in one direction, that wait to be parsed or written.
//!
//! Promises: the storage is allocated once and never grows, so no stale copy of a credential is left behind by a
//! reallocation; bytes are wiped as soon as they are consumed, and all of them on `clear` and on drop. Never add
//! `Clone`, `Debug`, or a way to grow.

use zeroize::optimization_barrier;

/// No head may be longer, so a buffer that is full holds no complete head.
pub const HEAD_LIMIT: usize = 32 * 1024;

/// The buffer has no room for all of the bytes; none was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("writing a message of more than 32 KiB at once")]
pub struct Full;

/// A fixed store of [`HEAD_LIMIT`] bytes that forgets what was consumed.
///
/// A connection that waits for its next request with nothing received should hold none: make one when the socket is
/// readable and drop it when it is empty again, so that idle connections cost no memory.
pub struct Buffer {
    storage: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self { storage: vec![0; HEAD_LIMIT].into_boxed_slice(), start: 0, end: 0 }
    }

    /// What was received or pushed, and not yet consumed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.storage[self.start..self.end]
    }

    /// Whether nothing waits here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Where to read more bytes into; tell [`filled`](Self::filled) how many came. Empty when the buffer is full.
    pub fn space(&mut self) -> &mut [u8] {
        // So that what is left behind the bytes is never a scrap that takes many reads to fill.
        if self.start > self.storage.len() - self.end {
            self.compact();
        }
        &mut self.storage[self.end..]
    }

    /// The first `count` bytes of [`space`](Self::space) now hold data.
    pub fn filled(&mut self, count: usize) {
        self.end = self.end.saturating_add(count).min(self.storage.len());
    }

    /// Appends all of `bytes`, or nothing.
    ///
    /// # Errors
    ///
    /// [`Full`] if they do not fit.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Full> {
        if self.storage.len() - self.end < bytes.len() {
            self.compact();
        }
        self.storage.get_mut(self.end..self.end + bytes.len()).ok_or(Full)?.copy_from_slice(bytes);
        self.end += bytes.len();
        Ok(())
    }

    /// Forgets and wipes the first `count` bytes.
    pub fn consume(&mut self, count: usize) {
        let upto = self.start.saturating_add(count).min(self.end);
        wipe(&mut self.storage[self.start..upto]);
        self.start = upto;
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Forgets and wipes everything.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Keeps the first `length` bytes and wipes what follows them.
    pub(super) fn truncate(&mut self, length: usize) {
        let from = self.start.saturating_add(length).min(self.end);
        wipe(&mut self.storage[from..self.end]);
        self.end = from;
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Moves the bytes to the front, so that all free space lies behind them.
    fn compact(&mut self) {
        let length = self.end - self.start;
        self.storage.copy_within(self.start..self.end, 0);
        wipe(&mut self.storage[length..self.end]);
        (self.start, self.end) = (0, length);
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Overwrites with zeros in a way the compiler keeps. A plain fill behind a barrier is one `memset`, where the
/// byte-wise volatile writes of `Zeroize` would cost more than decrypting the same bytes.
pub(super) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    optimization_barrier(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_consumed_is_wiped_and_the_rest_stays() {
        let mut buffer = Buffer::new();
        buffer.push(b"kl-test-secret|rest").unwrap();
        buffer.consume(15);
        assert_eq!(buffer.bytes(), b"rest");
        assert_eq!(&buffer.storage[..15], &[0; 15]);
    }

    #[test]
    fn clearing_and_truncating_wipe() {
        let mut buffer = Buffer::new();
        buffer.push(b"keep|kl-test-secret").unwrap();
        buffer.truncate(5);
        assert_eq!(buffer.bytes(), b"keep|");
        buffer.clear();
        assert!(buffer.is_empty());
        assert!(buffer.storage.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn moving_the_rest_to_the_front_leaves_no_second_copy() {
        let mut buffer = Buffer::new();
        buffer.push(&vec![b'x'; HEAD_LIMIT - 10]).unwrap();
        buffer.push(b"0123456789").unwrap();
        buffer.consume(HEAD_LIMIT - 10);
        assert_eq!(buffer.space().len(), HEAD_LIMIT - 10);
        assert_eq!(buffer.bytes(), b"0123456789");
        assert!(buffer.storage[10..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn space_is_never_a_scrap() {
        let mut buffer = Buffer::new();
        buffer.push(&vec![b'x'; HEAD_LIMIT - 1]).unwrap();
        buffer.consume(HEAD_LIMIT - 11);
        assert_eq!(buffer.space().len(), HEAD_LIMIT - 10);
        assert_eq!(buffer.bytes(), [b'x'; 10]);
    }

    #[test]
    fn a_push_that_does_not_fit_takes_nothing() {
        let mut buffer = Buffer::new();
        buffer.push(&vec![b'x'; HEAD_LIMIT - 1]).unwrap();
        assert_eq!(buffer.push(b"ab"), Err(Full));
        assert_eq!(buffer.bytes().len(), HEAD_LIMIT - 1);
        buffer.push(b"a").unwrap();
        assert!(buffer.space().is_empty());
    }

    #[test]
    fn counts_beyond_the_content_are_taken_as_all_of_it() {
        let mut buffer = Buffer::new();
        buffer.filled(usize::MAX);
        assert_eq!(buffer.bytes().len(), HEAD_LIMIT);
        buffer.consume(usize::MAX);
        assert!(buffer.is_empty());
    }
}
