//! Walks over a text and finds the needles in it, each character in whatever spelling it has. Pure.
//!
//! A *candidate* is a needle of which the text has shown the first characters. At each place a candidate takes one more
//! character as itself, as the escape that begins there, or both ways; where neither fits it ends. So all mixtures of
//! spellings are followed at once, and candidates that came to the same point are one.
//!
//! Promises: time for each byte and memory are bounded, whatever the values and the text are. There are at most
//! [`MOST`] candidates; more arise only where a value repeats itself and the text repeats it too, and there more is
//! masked rather than less (see [`Flood`]). What began at most [`CERTAIN`] characters ago is held; a longer match is
//! masked as it comes, without waiting for its end.

use super::{
    filter::Filter,
    marks::Marks,
    needle::Needle,
    opening::Piece,
    spelling::{Spelling, spelling},
};

/// So many characters of a needle are masked even if the rest does not follow.
pub(super) const CERTAIN: usize = 256;

/// The most candidates that are followed one by one.
pub(super) const MOST: usize = 256;

/// From so many candidates on, those that came to the same point are made one.
const CROWD: usize = 16;

/// What is looked for.
pub(super) struct Sought {
    pub needles: Vec<Needle>,
    pub filter: Filter,
    /// The bytes any needle could have anywhere.
    pub alphabet: Box<[bool; 256]>,
}

/// Whether more of a text follows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum More {
    Follows,
    Ends,
}

/// How far one text was searched. Places are counted from the first byte that is still held.
#[derive(Default)]
pub(super) struct Search {
    candidates: Vec<Candidate>,
    /// Scratch for the candidates after a step.
    stepped: Vec<Candidate>,
    /// All before this was looked at.
    at: usize,
    /// Up to here a needle may begin; beyond, the filter is asked.
    look: usize,
    flood: Option<Flood>,
    pub marks: Marks,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    /// Where in the text its next character begins.
    at: usize,
    needle: usize,
    /// The needle's next character.
    position: usize,
    /// The needle's first character that the text showed.
    first: usize,
    /// Where in the text that is.
    start: usize,
}

/// There were too many candidates, and some are not followed. As long as each could still take another character, all
/// is masked.
#[derive(Clone, Copy)]
struct Flood {
    start: usize,
    /// How many characters the longest of them could still take.
    left: usize,
    /// An escape that was masked ends here.
    covered: usize,
}

impl Search {
    /// Looks at `text`, which is what is held and what came since.
    pub(super) fn advance(&mut self, sought: &Sought, text: &[u8], more: More) {
        while self.at < text.len() {
            if self.candidates.is_empty() && self.flood.is_none() && self.at >= self.look {
                let places = sought.filter.next(text, self.at);
                (self.at, self.look) = (places.start, places.end);
                continue;
            }
            let escape = match spelling(&text[self.at..]) {
                Spelling::Escape(byte, length) => Some((byte, length)),
                Spelling::Plain => None,
                Spelling::Open if more == More::Follows => return,
                Spelling::Open => {
                    self.cut_short(sought, text.len());
                    None
                }
            };
            self.step(sought, text[self.at], escape);
        }
    }

    /// Takes up what a body might begin with.
    pub(super) fn begin_within(&mut self, sought: &Sought, pieces: &[Piece]) {
        self.candidates.extend(pieces.iter().map(|piece| Candidate {
            at: piece.at,
            needle: piece.needle,
            position: piece.first,
            first: piece.first,
            start: 0,
        }));
        self.limit(sought);
    }

    /// Masks what the end of the text cut short.
    pub(super) fn cut_short(&mut self, sought: &Sought, end: usize) {
        for candidate in self.candidates.iter().filter(|candidate| candidate.at == self.at) {
            if candidate.shown() >= sought.needles[candidate.needle].slice() {
                self.marks.add(candidate.start, end);
            }
        }
    }

    /// What may leave: nothing found later can begin before.
    pub(super) fn settled(&self) -> usize {
        let open = self.candidates.iter().filter(|candidate| candidate.shown() < CERTAIN);
        open.map(|candidate| candidate.start).min().map_or(self.at, |start| start.min(self.at))
    }

    /// Forgets the first `count` bytes, which have left.
    pub(super) fn forget(&mut self, count: usize) {
        for candidate in &mut self.candidates {
            candidate.at -= count;
            candidate.start = candidate.start.saturating_sub(count);
        }
        if let Some(flood) = &mut self.flood {
            flood.start = flood.start.saturating_sub(count);
            flood.covered = flood.covered.saturating_sub(count);
        }
        self.at -= count;
        self.look = self.look.saturating_sub(count);
        self.marks.forget(count);
    }

    /// Moves on by one byte, which is `plain` or begins `escape`.
    fn step(&mut self, sought: &Sought, plain: u8, escape: Option<(u8, usize)>) {
        let at = self.at;
        self.at += 1;
        if self.flood.is_some() {
            self.pour(sought, at, plain, escape);
        }
        let mut candidates = std::mem::take(&mut self.candidates);
        for candidate in candidates.drain(..) {
            if candidate.at == at {
                self.take(sought, candidate, plain, escape);
            } else {
                self.stepped.push(candidate);
            }
        }
        for needle in 0..sought.needles.len() {
            self.take(sought, Candidate { at, needle, position: 0, first: 0, start: at }, plain, escape);
        }
        self.candidates = std::mem::replace(&mut self.stepped, candidates);
        self.limit(sought);
    }

    /// Lets `candidate` take its next character both ways.
    fn take(&mut self, sought: &Sought, candidate: Candidate, plain: u8, escape: Option<(u8, usize)>) {
        let needle = &sought.needles[candidate.needle];
        for (byte, length) in [Some((plain, 1)), escape].into_iter().flatten() {
            if !needle.accepts(candidate.position, byte) {
                continue;
            }
            let taken =
                Candidate { at: candidate.at + length, position: candidate.position + 1, ..candidate };
            let done = taken.position == needle.len();
            if done || taken.shown() >= CERTAIN {
                self.marks.add(taken.start, taken.at);
            }
            if !done {
                self.stepped.push(taken);
            }
        }
    }

    /// Keeps the candidates few.
    fn limit(&mut self, sought: &Sought) {
        if self.candidates.len() < CROWD {
            return;
        }
        // Of those alike but for their start, the longest comes first.
        self.candidates.sort_unstable();
        self.candidates.dedup_by_key(|candidate| Candidate { start: 0, ..*candidate });
        if self.candidates.len() <= MOST {
            return;
        }
        self.candidates.sort_unstable_by_key(|candidate| candidate.start);
        let (mut start, mut covered) = (self.at, self.at);
        for dropped in self.candidates.drain(MOST..) {
            (start, covered) = (start.min(dropped.start), covered.max(dropped.at));
        }
        self.marks.add(start, covered);
        let left = sought.needles.iter().map(Needle::len).max().unwrap_or(0);
        self.flood = Some(Flood { start, left, covered });
    }

    /// Masks one more character if it could be one of a candidate that is not followed.
    fn pour(&mut self, sought: &Sought, at: usize, plain: u8, escape: Option<(u8, usize)>) {
        let Some(flood) = &mut self.flood else { return };
        let escaped = escape.filter(|(byte, _)| sought.alphabet[usize::from(*byte)]);
        let fits = sought.alphabet[usize::from(plain)] || escaped.is_some();
        if at >= flood.covered && (!fits || flood.left == 0) {
            self.flood = None;
            return;
        }
        if at >= flood.covered {
            flood.left -= 1;
        }
        flood.covered = flood.covered.max(at + escaped.map_or(1, |(_, length)| length));
        self.marks.add(flood.start, flood.covered);
    }
}

impl Candidate {
    /// How many characters of the needle the text has shown.
    fn shown(&self) -> usize {
        self.position - self.first
    }
}
