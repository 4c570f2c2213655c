//! Walks over a text and finds the needles of one value in it, each character in whatever spelling it has. Pure.
//!
//! A *candidate* is a needle of which the text has shown the first characters. At each place a candidate takes one more
//! character as itself, as the escape that begins there, or both ways; where neither fits it ends. So all mixtures of
//! spellings are followed at once, and candidates that came to the same point are one.
//!
//! Promises: a needle that the text shows in part only leaves no trace; time for each byte and memory are bounded,
//! whatever the values and the text are. Two bounds make exceptions, and mask more than a needle rather than a part of
//! it: of a longer needle only the first [`CERTAIN`] characters are looked for, and there are at most [`MOST`]
//! candidates, of which more arise only where a value repeats itself and the text repeats it too. Either way all is
//! masked from there up to a byte that [`ends_all`], so that what follows does not show either how much of it was right.

use std::ops::Range;

use zeroize::Zeroizing;

use super::{
    filter::Filter,
    marks::Marks,
    needle::Needle,
    spelling::{LONGEST, Spelling, ends_all, spelling},
};

/// So many characters of a needle are looked for: all of a value of half as many bytes, in every form.
pub(super) const CERTAIN: usize = 2048;

/// The most candidates that are followed.
const MOST: usize = 64;

/// From so many candidates on, those that came to the same point are made one.
const CROWD: usize = 16;

/// One value that is looked for.
pub(super) struct Sought {
    needles: Vec<Needle>,
    filter: Filter,
    /// The needles that begin with each byte.
    beginning: Vec<Vec<usize>>,
    /// How many bytes at the end of a text may belong to a find that is still to come: known from the value's length alone,
    /// and so coarse that it tells little even of that.
    pub hold: usize,
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
    /// Room for the candidates after a step.
    stepped: Vec<Candidate>,
    /// All before this was looked at.
    at: usize,
    /// Where the next needle may begin; what lies before was filtered out, what lies behind was not asked yet.
    places: Range<usize>,
    /// From here on all is masked, and no candidate is followed.
    flood: Option<usize>,
    pub marks: Marks,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    /// Where in the text its next character begins.
    at: usize,
    needle: usize,
    /// The needle's next character.
    position: usize,
    /// Where in the text its first character begins.
    start: usize,
}

impl Sought {
    /// To find `value` in every form.
    pub(super) fn new(value: Zeroizing<Vec<u8>>) -> Self {
        let needles: Vec<Needle> = Needle::all(value).collect();
        let mut beginning = vec![Vec::new(); 256];
        for (index, needle) in needles.iter().enumerate() {
            needle.accepted(0).as_slice().iter().for_each(|byte| beginning[usize::from(*byte)].push(index));
        }
        let longest = needles.iter().map(Needle::len).max().unwrap_or_default().min(CERTAIN);
        // One more, for a spelling that may be the plain end of a find.
        let hold = ((longest + 1) * LONGEST).next_power_of_two();
        Self { filter: Filter::new(&needles), needles, beginning, hold }
    }
}

impl Search {
    /// Looks at `text`, which is what is held and what came since.
    pub(super) fn advance(&mut self, sought: &Sought, text: &[u8], more: More) {
        while self.at < text.len() {
            if let Some(start) = self.flood {
                self.pour(start, text);
                continue;
            }
            if self.at >= self.places.end {
                self.places = sought.filter.next(text, self.at);
            }
            if self.candidates.is_empty() && self.at < self.places.start {
                self.at = self.places.start;
                continue;
            }
            let escape = match spelling(&text[self.at..]) {
                Spelling::Escape(byte, length) => Some((byte, length)),
                Spelling::Open if more == More::Follows => return,
                Spelling::Open | Spelling::Plain => None,
            };
            self.step(sought, text[self.at], escape);
        }
    }

    /// Forgets the first `count` bytes, which have left.
    pub(super) fn forget(&mut self, count: usize) {
        for candidate in &mut self.candidates {
            candidate.at -= count;
            candidate.start -= count;
        }
        self.flood = self.flood.map(|start| start.saturating_sub(count));
        self.at -= count;
        self.places = self.places.start.saturating_sub(count)..self.places.end.saturating_sub(count);
        self.marks.forget(count);
    }

    /// Moves on by one byte, which is `plain` or begins `escape`.
    fn step(&mut self, sought: &Sought, plain: u8, escape: Option<(u8, usize)>) {
        let at = self.at;
        self.at += 1;
        let ways = [Some((plain, 1)), escape];
        let mut candidates = std::mem::take(&mut self.candidates);
        for candidate in candidates.drain(..) {
            if candidate.at > at {
                self.stepped.push(candidate);
                continue;
            }
            let needle = &sought.needles[candidate.needle];
            for (byte, length) in ways.into_iter().flatten() {
                if needle.accepts(candidate.position, byte) {
                    self.take(needle, candidate, length);
                }
            }
        }
        if self.places.contains(&at) {
            for (byte, length) in ways.into_iter().flatten() {
                for needle in &sought.beginning[usize::from(byte)] {
                    let candidate = Candidate { at, needle: *needle, position: 0, start: at };
                    self.take(&sought.needles[*needle], candidate, length);
                }
            }
        }
        self.candidates = std::mem::replace(&mut self.stepped, candidates);
        self.limit();
    }

    /// Lets `candidate` take its next character, which has this `length`.
    fn take(&mut self, needle: &Needle, candidate: Candidate, length: usize) {
        let taken = Candidate { at: candidate.at + length, position: candidate.position + 1, ..candidate };
        if taken.position == needle.len() {
            self.marks.add(taken.start, taken.at);
        } else {
            self.stepped.push(taken);
        }
    }

    /// Keeps the candidates few, and none that has shown enough.
    fn limit(&mut self) {
        if self.candidates.len() >= CROWD {
            // Of those alike but for their start, the longest comes first.
            self.candidates.sort_unstable();
            self.candidates.dedup_by_key(|candidate| Candidate { start: 0, ..*candidate });
        }
        let certain = self.candidates.iter().any(|candidate| candidate.position >= CERTAIN);
        if certain || self.candidates.len() > MOST {
            self.flood = self.candidates.drain(..).map(|candidate| candidate.start).min();
            self.flood.into_iter().for_each(|start| self.marks.add(start, self.at));
        }
    }

    /// Masks from `start` up to a byte that ends all.
    fn pour(&mut self, start: usize, text: &[u8]) {
        let dry = text[self.at..].iter().position(|byte| ends_all(*byte));
        self.at = dry.map_or(text.len(), |length| self.at + length);
        self.marks.add(start, self.at);
        if dry.is_some() {
            self.flood = None;
        }
    }
}
