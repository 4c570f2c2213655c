//! Which bytes of what is held are masked when they leave. Pure.
//!
//! Promise: what is marked is masked, and nothing else; the bytes stay as they are until they leave, because something
//! found later may begin among them.

/// What a masked byte becomes: it may stand in names, values and bodies.
pub(super) const MASK: u8 = b'*';

/// The marked ranges, by where they end.
#[derive(Default)]
pub(super) struct Marks {
    ranges: Vec<(usize, usize)>,
    /// How many separate finds there were.
    pub found: u64,
}

impl Marks {
    /// Marks from `start` to `end`; a find that was marked in part grows.
    pub(super) fn add(&mut self, start: usize, end: usize) {
        match self.ranges.last_mut() {
            Some(last) if start < last.1 || (start, last.1) == (0, 0) => {
                *last = (last.0.min(start), last.1.max(end));
            }
            Some(_) | None => {
                self.found += 1;
                self.ranges.push((start, end));
            }
        }
    }

    /// Masks what is marked in `text`.
    pub(super) fn apply(&self, text: &mut [u8]) {
        for (start, end) in &self.ranges {
            let end = text.len().min(*end);
            text[(*start).min(end)..end].fill(MASK);
        }
    }

    /// Forgets the first `count` bytes, but not that something ended there.
    pub(super) fn forget(&mut self, count: usize) {
        let ending = self.ranges.last().is_some_and(|last| last.1 >= count);
        self.ranges.retain(|range| range.1 > count);
        for range in &mut self.ranges {
            *range = (range.0.saturating_sub(count), range.1 - count);
        }
        if self.ranges.is_empty() && ending {
            self.ranges.push((0, 0));
        }
    }
}
