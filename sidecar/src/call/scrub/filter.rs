//! Passes quickly over text in which nothing begins. Pure.
//!
//! Promise: no place where a needle begins is passed over. A needle begins with [`HEAD`] characters. Either all are spelt
//! as themselves, and then each two neighbours of them are a pair known here; or one is an escape, and then an
//! introducer stands there with fewer than [`HEAD`] bytes before it.

use std::{array, ops::Range};

use memchr::memchr3_iter;

use super::{
    needle::{Accepted, Needle},
    spelling::{INTRODUCERS, Spelling, spelling},
};

/// How many characters of a needle are looked at here; the shortest needle has as many.
const HEAD: usize = 8;

/// How far apart probes may be so that one hits a pair of every plain head.
const STRIDE: usize = HEAD - 1;

/// How many places are looked over for one of both before the other.
const WINDOW: usize = 512;

/// What heads look like.
pub(super) struct Filter {
    /// One bit for each two bytes that stand side by side in a head.
    pairs: Box<[u64; 1024]>,
    /// The bytes that stand in a head.
    bytes: Box<[bool; 256]>,
}

impl Filter {
    pub(super) fn new(needles: &[Needle]) -> Self {
        let (mut pairs, mut bytes) = (Box::new([0; 1024]), Box::new([false; 256]));
        for needle in needles {
            let head: [Accepted; HEAD] = array::from_fn(|position| needle.accepted(position));
            head.iter().flat_map(Accepted::as_slice).for_each(|byte| bytes[usize::from(*byte)] = true);
            for side_by_side in head.windows(2) {
                let (left, right) = (side_by_side[0].as_slice(), side_by_side[1].as_slice());
                for (first, second) in left.iter().flat_map(|a| right.iter().map(move |b| (*a, *b))) {
                    let (word, bit) = pair_bit(first, second);
                    pairs[word] |= bit;
                }
            }
        }
        Self { pairs, bytes }
    }

    /// The next places from `from` on where a needle might begin; those before them are passed over.
    pub(super) fn next(&self, text: &[u8], mut from: usize) -> Range<usize> {
        // What begins behind here shows less than its head yet.
        let tail = text.len().saturating_sub(STRIDE).max(from);
        while from < tail {
            let end = tail.min(from + WINDOW);
            let escape = self.escape(text, from..end + STRIDE);
            let until = escape.map_or(end, |at| at.saturating_sub(STRIDE).max(from));
            if let Some(at) = self.plain(text, from..until) {
                return at.min(until)..at + STRIDE;
            }
            if let Some(at) = escape {
                return until..at + 1;
            }
            from = end;
        }
        tail..text.len()
    }

    /// The first of `places` at which [`HEAD`] bytes stand that are known pairs; of such places in a row, the first.
    fn plain(&self, text: &[u8], places: Range<usize>) -> Option<usize> {
        places.clone().step_by(STRIDE).find_map(|place| {
            let probe = place + STRIDE - 1;
            if !self.knows(text, probe) {
                return None;
            }
            let before = (place..probe).rev().take_while(|at| self.knows(text, *at)).count();
            let after = (probe + 1..probe + STRIDE).take_while(|at| self.knows(text, *at)).count();
            (before + 1 + after >= STRIDE).then(|| probe - before)
        })
    }

    /// Whether the two bytes at `at` are a pair.
    fn knows(&self, text: &[u8], at: usize) -> bool {
        let known = |pair: &[u8]| {
            let (word, bit) = pair_bit(pair[0], pair[1]);
            self.pairs[word] & bit != 0
        };
        text.get(at..at + 2).is_some_and(known)
    }

    /// Where the first escape in `places` is that may stand in a head.
    fn escape(&self, text: &[u8], places: Range<usize>) -> Option<usize> {
        let [a, b, c] = INTRODUCERS;
        memchr3_iter(a, b, c, &text[places.clone()]).map(|at| places.start + at).find(|at| {
            match spelling(&text[*at..]) {
                Spelling::Open => true,
                Spelling::Escape(byte, _) => self.bytes[usize::from(byte)],
                Spelling::Plain => false,
            }
        })
    }
}

fn pair_bit(first: u8, second: u8) -> (usize, u64) {
    let pair = usize::from(u16::from_be_bytes([first, second]));
    (pair / 64, 1 << (pair % 64))
}
