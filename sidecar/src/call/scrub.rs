//! Masks the injected values in what comes back, at equal length, whatever the upstream made of them. Pure.
//!
//! Promises: a value does not pass as itself, in base64 (either alphabet, any alignment), in hexadecimal or in UTF-16,
//! each character of these as itself, percent-encoded, escaped as in JSON or as an HTML entity, in any mixture, wherever
//! the pieces of a body are cut. Eight bytes or more of a value at an edge of a body do not pass either. Nothing is held
//! back but what might still be the beginning of a value. Other text passes unchanged.
//! It cannot mask what is computed from a value (hashes, ciphers, compression), what is escaped twice, nor base64 that is
//! broken into lines. State that outlives a call must never be added.

mod filter;
mod marks;
mod needle;
mod opening;
mod search;
mod spelling;

use std::sync::atomic::{AtomicU64, Ordering};

use keylend_contract::{material::Material, plaintext::MIN_VALUE_BYTES};
use zeroize::Zeroizing;

use self::search::{MOST, More, Search, Sought};

/// Finds the values of one call.
///
/// Holds each value once, some 16 KiB for what they look like, and of each text at most 3 KiB beside the piece in hand.
pub struct Scrubber {
    sought: Sought,
    hits: AtomicU64,
}

/// One body that is masked piece by piece.
pub struct Stream<'s> {
    scrubber: &'s Scrubber,
    search: Search,
    /// Whether it was found out what the body begins with.
    begun: bool,
    held: Zeroizing<Vec<u8>>,
    released: usize,
}

impl Scrubber {
    /// For the values of `material`.
    #[must_use]
    pub fn new(material: &Material) -> Self {
        Self::of(material.values.iter().map(|value| value.expose(|bytes| Zeroizing::new(bytes.to_vec()))))
    }

    /// For `values`; one under eight bytes is no value.
    pub fn of(values: impl IntoIterator<Item = Zeroizing<Vec<u8>>>) -> Self {
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
            begun: false,
            held: Zeroizing::default(),
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
        self.held.extend_from_slice(piece);
        self.search(More::Follows);
        self.release(self.search.settled())
    }

    /// Gives out the rest.
    pub fn end(&mut self) -> &[u8] {
        self.forget();
        self.search(More::Ends);
        self.search.cut_short(&self.scrubber.sought, self.held.len());
        self.release(self.held.len())
    }

    fn search(&mut self, more: More) {
        let sought = &self.scrubber.sought;
        if !self.begun {
            // One more than can be followed, so that the search knows.
            let Some(pieces) = opening::pieces(&sought.needles, &self.held, more, MOST + 1) else { return };
            self.search.begin_within(&pieces);
            self.begun = true;
        }
        self.search.advance(sought, &self.held, more);
    }

    fn forget(&mut self) {
        self.held.drain(..self.released);
        self.search.forget(self.released);
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
