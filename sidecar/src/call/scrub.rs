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
/// Each is looked for as if it were alone: whoever knows one of them could otherwise learn of another from what the two
/// have masked together. Holds each value once, some 16 KiB for what it looks like, and of each body at most 32 KiB beside
/// the piece in hand.
pub struct Scrubber {
    sought: Vec<Sought>,
    /// The longest that one of them has to be held.
    hold: usize,
    hits: AtomicU64,
}

/// One body that is masked piece by piece.
///
/// What follows the last byte that ends all is held until such a byte or the body's end comes, but never more than the
/// spelling of a value may take: lines leave with their ends, other text a constant length late. A body that does not come
/// to its end is dropped, with what is held of it.
pub struct Stream<'s> {
    scrubber: &'s Scrubber,
    /// One for each value.
    searches: Vec<Search>,
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
        let sought: Vec<Sought> = values.map(Sought::new).collect();
        let hold = sought.iter().map(|sought| sought.hold).max().unwrap_or_default();
        Self { sought, hold, hits: AtomicU64::new(0) }
    }

    /// Masks a text that is complete: a field's name or value, a reason.
    pub fn whole(&self, text: &mut [u8]) {
        let mut searches = self.searches();
        self.advance(&mut searches, text, More::Ends);
        self.mask(&mut searches, text);
    }

    /// Starts a body.
    #[must_use]
    pub fn stream(&self) -> Stream<'_> {
        Stream {
            scrubber: self,
            searches: self.searches(),
            held: Zeroizing::default(),
            ended: 0,
            released: 0,
        }
    }

    fn searches(&self) -> Vec<Search> {
        self.sought.iter().map(|_| Search::default()).collect()
    }

    fn advance(&self, searches: &mut [Search], text: &[u8], more: More) {
        for (search, sought) in searches.iter_mut().zip(&self.sought) {
            search.advance(sought, text, more);
        }
    }

    /// Masks in `text` what was found so far.
    fn mask(&self, searches: &mut [Search], text: &mut [u8]) {
        for search in searches {
            search.marks.apply(text);
            self.hits.fetch_add(std::mem::take(&mut search.marks.found), Ordering::Relaxed);
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
        self.scrubber.advance(&mut self.searches, &self.held, More::Follows);
        self.release(self.ended.max(self.held.len().saturating_sub(self.scrubber.hold)))
    }

    /// Gives out the rest of a body that came to its end.
    pub fn end(&mut self) -> &[u8] {
        self.forget();
        self.scrubber.advance(&mut self.searches, &self.held, More::Ends);
        self.release(self.held.len())
    }

    fn forget(&mut self) {
        self.held.drain(..self.released);
        self.searches.iter_mut().for_each(|search| search.forget(self.released));
        self.ended = self.ended.saturating_sub(self.released);
        self.released = 0;
    }

    fn release(&mut self, count: usize) -> &[u8] {
        self.scrubber.mask(&mut self.searches, &mut self.held[..count]);
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
