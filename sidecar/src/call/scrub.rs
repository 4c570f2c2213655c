//! Masks the injected values in what comes back, at equal length. Pure.
//!
//! Promise: no injected value passes, wherever a piece of the body ends.

use keylend_contract::material::Material;
use zeroize::Zeroizing;

/// What a masked byte becomes; it may stand in names, values and bodies.
const MASK: u8 = b'*';

/// Finds the values of one call.
pub struct Scrubber(Vec<Zeroizing<Vec<u8>>>);

/// One body that is masked piece by piece.
pub struct Stream<'s> {
    scrubber: &'s Scrubber,
    held: Zeroizing<Vec<u8>>,
    released: usize,
}

impl Scrubber {
    /// For the values of `material`.
    #[must_use]
    pub fn new(material: &Material) -> Self {
        Self(
            material
                .values
                .iter()
                .map(|value| value.expose(|bytes| Zeroizing::new(bytes.to_vec())))
                .collect(),
        )
    }

    /// Masks a text that is complete.
    pub fn whole(&self, text: &mut [u8]) {
        for value in &self.0 {
            let mut start = 0;
            while start + value.len() <= text.len() {
                if text[start..].starts_with(value) {
                    text[start..start + value.len()].fill(MASK);
                }
                start += 1;
            }
        }
    }

    /// Starts a body.
    #[must_use]
    pub fn stream(&self) -> Stream<'_> {
        Stream { scrubber: self, held: Zeroizing::default(), released: 0 }
    }

    /// How many bytes at the end of `text` may be the beginning of a value.
    fn begun(&self, text: &[u8]) -> usize {
        let begun = |value: &[u8]| {
            let most = text.len().min(value.len() - 1);
            (1..=most).rev().find(|length| text.ends_with(&value[..*length])).unwrap_or(0)
        };
        self.0.iter().map(|value| begun(value)).max().unwrap_or(0)
    }
}

impl Stream<'_> {
    /// Takes the next piece in, and gives out what can no longer become a value.
    pub fn push(&mut self, piece: &[u8]) -> &[u8] {
        self.held.drain(..self.released);
        self.held.extend_from_slice(piece);
        self.scrubber.whole(&mut self.held);
        self.released = self.held.len() - self.scrubber.begun(&self.held);
        &self.held[..self.released]
    }

    /// Gives out the rest.
    pub fn end(&mut self) -> &[u8] {
        self.held.drain(..self.released);
        self.released = 0;
        &self.held
    }
}
