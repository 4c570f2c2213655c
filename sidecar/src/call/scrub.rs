//! Masks the injected values in what comes back, at equal length, whatever the upstream made of them. Pure.
//!
//! Promises: a value does not pass as itself, in base64 (either alphabet, any alignment), in hexadecimal or in UTF-16,
//! each character of these as itself, percent-encoded, escaped as in JSON or as an HTML entity, in any mixture, wherever
//! the pieces of a body are cut. Other text passes unchanged, a part of a value among it: if parts were masked, an app
//! that makes the upstream echo its guesses would see which are right, byte by byte. For the same reason when a body's
//! bytes leave depends on how it came, on where bytes stand that are in no value, and on how long the values are, never
//! on what they are: see [`Stream`].
//! It cannot mask what is computed from a value (hashes, ciphers, compression), what is escaped twice, base64 that is
//! broken into lines, nor a value that comes in parts. State that outlives a call must never be added.

mod filter;
mod marks;
mod needle;
mod search;
mod spelling;

use std::sync::atomic::{AtomicU64, Ordering};

use keylend_contract::{material::Material, plaintext::MIN_VALUE_BYTES};
use zeroize::Zeroizing;

use self::{
    search::{More, Search, Sought},
    spelling::ends_all,
};

/// Finds the values of one call.
///
/// Holds each value once, some 16 KiB for what they look like, and of each body at most 32 KiB beside the piece in hand.
pub struct Scrubber {
    sought: Sought,
    hits: AtomicU64,
}

/// One body that is masked piece by piece.
///
/// What follows the last byte that ends all is held until such a byte or the body's end comes, but never more than the
/// spelling of a value may take: lines leave with their ends, other text a constant length late. A body that does not come
/// to its end is dropped, with what is held of it.
pub struct Stream<'s> {
    scrubber: &'s Scrubber,
    search: Search,
    held: Zeroizing<Vec<u8>>,
    /// All before this came with a byte that ends all.
    ended: usize,
    released: usize,
}

impl Scrubber {
    /// For the values of `material`.
    #[must_use]
    pub fn new(material: &Material) -> Self {
        Self::of(material.values.iter().map(|value| value.expose(|bytes| Zeroizing::new(bytes.to_vec()))))
    }

    /// For `values`, which are text as a [`Plaintext`](keylend_contract::plaintext::Plaintext) is; one under eight bytes
    /// is no value.
    fn of(values: impl IntoIterator<Item = Zeroizing<Vec<u8>>>) -> Self {
        let values = values.into_iter().filter(|value| value.len() >= MIN_VALUE_BYTES);
        Self { sought: Sought::new(values), hits: AtomicU64::new(0) }
    }

    /// Masks a text that is complete: a field's name or value, a reason.
    pub fn whole(&self, text: &mut [u8]) {
        let mut search = Search::default();
        search.advance(&self.sought, text, More::Ends);
        search.marks.apply(text);
        self.hits.fetch_add(search.marks.found, Ordering::Relaxed);
    }

    /// Starts a body.
    #[must_use]
    pub fn stream(&self) -> Stream<'_> {
        Stream {
            scrubber: self,
            search: Search::default(),
            held: Zeroizing::default(),
            ended: 0,
            released: 0,
        }
    }

    /// How many times a value was found so far.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }
}

impl Stream<'_> {
    /// Takes the next piece in, and gives out what can no longer become a value.
    pub fn push(&mut self, piece: &[u8]) -> &[u8] {
        self.forget();
        if let Some(last) = piece.iter().rposition(|byte| ends_all(*byte)) {
            self.ended = self.held.len() + last + 1;
        }
        self.held.extend_from_slice(piece);
        let sought = &self.scrubber.sought;
        self.search.advance(sought, &self.held, More::Follows);
        self.release(self.ended.max(self.held.len().saturating_sub(sought.hold)))
    }

    /// Gives out the rest of a body that came to its end.
    pub fn end(&mut self) -> &[u8] {
        self.forget();
        self.search.advance(&self.scrubber.sought, &self.held, More::Ends);
        self.release(self.held.len())
    }

    fn forget(&mut self) {
        self.held.drain(..self.released);
        self.search.forget(self.released);
        self.ended = self.ended.saturating_sub(self.released);
        self.released = 0;
    }

    fn release(&mut self, count: usize) -> &[u8] {
        self.search.marks.apply(&mut self.held[..count]);
        let found = std::mem::take(&mut self.search.marks.found);
        self.scrubber.hits.fetch_add(found, Ordering::Relaxed);
        self.released = count;
        &self.held[..count]
    }
}

#[cfg(test)]
mod property;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
