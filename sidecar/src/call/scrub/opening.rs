//! A body that begins inside a value: the piece of an echo that a range or a cut left. Pure.
//!
//! Promise: eight bytes of a value or more are not passed because what stood before them is missing, even if the cut
//! went through the spelling of a byte. A piece counts only if it reaches the value's end or the body's.

use std::ops::Range;

use super::{
    needle::Needle,
    search::More,
    spelling::{INTRODUCERS, LONGEST, Spelling, names, spelling, spellings},
};

/// A body that could begin at this character of this needle.
pub(super) struct Piece {
    /// Which needle.
    pub needle: usize,
    /// The needle's first character that is there as a whole.
    pub first: usize,
    /// Where it is: the end of a cut spelling may come before.
    pub at: usize,
}

/// How much of what is asked for a text shows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shown {
    Nothing,
    AllThereIs,
    Enough,
}

/// The pieces `body` might begin with; `None` if more of it must be seen first. Nothing is looked for beyond `most`.
pub(super) fn pieces(needles: &[Needle], body: &[u8], more: More, most: usize) -> Option<Vec<Piece>> {
    if more == More::Follows && may_become_an_end(body) {
        return None;
    }
    let mut pieces = Vec::new();
    for at in (0..LONGEST.min(body.len() + 1)).filter(|at| may_be_an_end(&body[..*at])) {
        let plain = body.get(at).filter(|byte| !INTRODUCERS.contains(byte));
        for (index, needle) in needles.iter().enumerate() {
            for first in 1..=needle.len() - needle.slice() {
                if plain.is_some_and(|byte| !needle.accepts(first, *byte)) {
                    continue;
                }
                let shown = shown(needle, first..first + needle.slice(), &body[at..], more);
                if shown == Shown::Nothing
                    || !needle.accepted(first - 1).into_iter().any(|byte| ends(byte, &body[..at]))
                {
                    continue;
                }
                if shown == Shown::AllThereIs {
                    return None;
                }
                pieces.push(Piece { needle: index, first, at });
                if pieces.len() == most {
                    return Some(pieces);
                }
            }
        }
    }
    Some(pieces)
}

/// Whether `text` may be the end of a spelling whose beginning is missing: nothing, digits, or what ends an entity.
fn may_be_an_end(text: &[u8]) -> bool {
    let (number, closed) = match text {
        [number @ .., b';'] => (number, true),
        number => (number, false),
    };
    let marks = number.iter().take_while(|byte| b"#uxX".contains(byte)).count();
    let digits = &number[marks..];
    digits.iter().all(u8::is_ascii_hexdigit) || (closed && names().any(|name| name.ends_with(number)))
}

/// Whether `body` may be the beginning of such an end.
fn may_become_an_end(body: &[u8]) -> bool {
    let longest_yet = body.len() < LONGEST - 1;
    longest_yet
        && (may_be_an_end(body) || names().any(|name| name.windows(body.len()).any(|part| part == body)))
}

/// Whether a spelling of `byte` ends with `text`.
fn ends(byte: u8, text: &[u8]) -> bool {
    text.is_empty()
        || spellings(byte).iter().any(|spelling| {
            let from = spelling.len().checked_sub(text.len()).filter(|from| *from > 0);
            from.is_some_and(|from| spelling.as_bytes()[from..].eq_ignore_ascii_case(text))
        })
}

/// How many of the characters at `positions` the text begins with, in any spelling.
fn shown(needle: &Needle, positions: Range<usize>, text: &[u8], more: More) -> Shown {
    let (position, rest) = (positions.start, positions.start + 1..positions.end);
    if positions.is_empty() {
        return Shown::Enough;
    }
    let unfinished = if more == More::Follows { Shown::AllThereIs } else { Shown::Nothing };
    let Some(plain) = text.first() else { return unfinished };
    let after = |byte: u8, length: usize| {
        if needle.accepts(position, byte) {
            shown(needle, rest.clone(), &text[length..], more)
        } else {
            Shown::Nothing
        }
    };
    let escaped = match spelling(text) {
        Spelling::Plain => Shown::Nothing,
        Spelling::Open => unfinished,
        Spelling::Escape(byte, length) => after(byte, length),
    };
    after(*plain, 1).max(escaped)
}
