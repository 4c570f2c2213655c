//! Walks over a text and finds the needles in it, each character in whatever spelling it has. Pure.
//!
//! A *candidate* is a needle of which the text has shown the first characters. At each place a candidate takes one more
//! character as itself, as the escape that begins there, or both ways; where neither fits it ends. So all mixtures of
//! spellings are followed at once, and candidates that came to the same point are one.
//!
//! Promises: time for each byte and memory are bounded, whatever the values and the text are. There are at most [`MOST`]
//! candidates; more arise only where a value repeats itself and the text repeats it too, and there more is masked rather
//! than less. What began fewer than [`CERTAIN`] characters ago is held; a longer match is masked as it comes, without
//! waiting for its end.

use std::ops::Range;

use zeroize::Zeroizing;

use super::{
    filter::Filter,
    marks::Marks,
    needle::Needle,
    opening::Piece,
    spelling::{Spelling, spelling},
};

/// So many characters of a needle are masked even if the rest does not follow.
const CERTAIN: usize = 256;

/// The most candidates that are followed.
pub(super) const MOST: usize = 64;

/// From so many candidates on, those that came to the same point are made one.
const CROWD: usize = 16;

/// What is looked for.
pub(super) struct Sought {
    pub needles: Vec<Needle>,
    filter: Filter,
    /// The needles that begin with each byte.
    beginning: Vec<Vec<usize>>,
    /// The bytes that stand anywhere in a needle.
    alphabet: Box<[bool; 256]>,
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

/// There were too many candidates, and none is followed. All is masked up to a character that is in no needle, where
/// each of them would have ended.
#[derive(Clone, Copy)]
struct Flood {
    start: usize,
    /// An escape that was masked ends here.
    covered: usize,
}

impl Sought {
    /// To find `values`, each in every form.
    pub(super) fn new(values: impl Iterator<Item = Zeroizing<Vec<u8>>>) -> Self {
        let mut alphabet = Box::new([false; 256]);
        let mut needles = Vec::new();
        for value in values {
            value.iter().for_each(|byte| alphabet[usize::from(*byte)] = true);
            needles.extend(Needle::all(value));
        }
        // The characters of the other forms, and the zeros of UTF-16.
        (0..=u8::MAX)
            .filter(|byte| byte.is_ascii_alphanumeric() || b"+-/_\0".contains(byte))
            .for_each(|byte| alphabet[usize::from(byte)] = true);
        let mut beginning = vec![Vec::new(); 256];
        for (index, needle) in needles.iter().enumerate() {
            needle.accepted(0).into_iter().for_each(|byte| beginning[usize::from(byte)].push(index));
        }
        Self { filter: Filter::new(&needles), needles, beginning, alphabet }
    }

    fn knows(&self, byte: u8) -> bool {
        self.alphabet[usize::from(byte)]
    }
}

impl Search {
    /// Looks at `text`, which is what is held and what came since.
    pub(super) fn advance(&mut self, sought: &Sought, text: &[u8], more: More) {
        while self.at < text.len() {
            if self.at >= self.places.end {
                self.places = sought.filter.next(text, self.at);
            }
            if self.candidates.is_empty() && self.flood.is_none() && self.at < self.places.start {
                self.at = self.places.start;
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
    pub(super) fn begin_within(&mut self, pieces: &[Piece]) {
        self.candidates.extend(pieces.iter().map(|piece| Candidate {
            at: piece.at,
            needle: piece.needle,
            position: piece.first,
            first: piece.first,
            start: 0,
        }));
        self.limit();
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
        self.places = self.places.start.saturating_sub(count)..self.places.end.saturating_sub(count);
        self.marks.forget(count);
    }

    /// Moves on by one byte, which is `plain` or begins `escape`.
    fn step(&mut self, sought: &Sought, plain: u8, escape: Option<(u8, usize)>) {
        let at = self.at;
        self.at += 1;
        if self.pour(sought, at, plain, escape) {
            return;
        }
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
                    let candidate = Candidate { at, needle: *needle, position: 0, first: 0, start: at };
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
        let done = taken.position == needle.len();
        if done || taken.shown() >= CERTAIN {
            self.marks.add(taken.start, taken.at);
        }
        if !done {
            self.stepped.push(taken);
        }
    }

    /// Keeps the candidates few.
    fn limit(&mut self) {
        if self.candidates.len() < CROWD {
            return;
        }
        // Of those alike but for their start, the longest comes first.
        self.candidates.sort_unstable();
        self.candidates.dedup_by_key(|candidate| Candidate { start: 0, ..*candidate });
        if self.candidates.len() <= MOST {
            return;
        }
        let mut flood = Flood { start: self.at, covered: self.at };
        for dropped in self.candidates.drain(..) {
            flood.start = flood.start.min(dropped.start);
            flood.covered = flood.covered.max(dropped.at);
        }
        self.marks.add(flood.start, flood.covered);
        self.flood = Some(flood);
    }

    /// Masks one more character in a flood; says whether there is one.
    fn pour(&mut self, sought: &Sought, at: usize, plain: u8, escape: Option<(u8, usize)>) -> bool {
        let Some(flood) = &mut self.flood else { return false };
        let escaped = escape.filter(|(byte, _)| sought.knows(*byte)).map(|(_, length)| length);
        let length = escaped.or_else(|| sought.knows(plain).then_some(1));
        if at >= flood.covered && length.is_none() {
            self.flood = None;
            return false;
        }
        flood.covered = flood.covered.max(at + length.unwrap_or(0));
        self.marks.add(flood.start, flood.covered);
        true
    }
}

impl Candidate {
    /// How many characters of the needle the text has shown.
    fn shown(&self) -> usize {
        self.position - self.first
    }
}
