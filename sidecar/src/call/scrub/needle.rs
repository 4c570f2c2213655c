//! What is looked for: a value written out as itself, in base64, in hexadecimal or in UTF-16. Pure.
//!
//! Promise: a needle keeps no copy of the value in its form; each character is worked out when it is compared, so a
//! scrubber holds each value once. A needle's characters may each be spelt in any way [`spelling`](super::spelling) knows.

use std::sync::Arc;

use zeroize::Zeroizing;

/// A value in one form.
pub(super) struct Needle {
    value: Arc<Zeroizing<Vec<u8>>>,
    form: Form,
}

/// How the value is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Raw,
    /// With this many bytes before the value in its group of three. The outermost characters may also hold bits of the
    /// bytes beside the value: only the value's bits are compared.
    Base64(usize),
    Hex,
    Utf16Le,
    Utf16Be,
}

const FORMS: [Form; 7] =
    [Form::Raw, Form::Base64(0), Form::Base64(1), Form::Base64(2), Form::Hex, Form::Utf16Le, Form::Utf16Be];

const HEX: &[u8; 16] = b"0123456789abcdef";

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Up to four bits of a character of base64 may be anything, and two characters are another in the other alphabet.
const MOST_ACCEPTED: usize = 16 + 2;

/// The bytes that may stand at one position.
pub(super) struct Accepted {
    bytes: [u8; MOST_ACCEPTED],
    count: usize,
}

impl Accepted {
    fn add(&mut self, byte: u8) {
        self.bytes[self.count] = byte;
        self.count += 1;
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.count]
    }
}

impl Needle {
    /// Everything to look for `value` as.
    pub(super) fn all(value: Zeroizing<Vec<u8>>) -> impl Iterator<Item = Self> {
        let value = Arc::new(value);
        FORMS.into_iter().map(move |form| Self { value: Arc::clone(&value), form })
    }

    /// How many characters it has.
    pub(super) fn len(&self) -> usize {
        let bytes = self.value.len();
        match self.form {
            Form::Raw => bytes,
            Form::Base64(before) => (8 * (before + bytes)).div_ceil(6) - first_sextet(before),
            Form::Hex | Form::Utf16Le | Form::Utf16Be => 2 * bytes,
        }
    }

    /// Whether `byte` may stand at `position`.
    pub(super) fn accepts(&self, position: usize, byte: u8) -> bool {
        match self.form {
            Form::Raw => {
                let wanted = self.value[position];
                // A form spells a space as a plus.
                byte == wanted || (wanted == b' ' && byte == b'+')
            }
            Form::Base64(before) => {
                let (wanted, known) = self.sextet(before, position);
                sextet_of(byte).is_some_and(|sextet| (sextet ^ wanted) & known == 0)
            }
            Form::Hex => char::from(byte).to_digit(16) == Some(u32::from(self.nibble(position))),
            Form::Utf16Le => byte == self.unit_half(position, 0),
            Form::Utf16Be => byte == self.unit_half(position, 1),
        }
    }

    /// All bytes that may stand at `position`.
    pub(super) fn accepted(&self, position: usize) -> Accepted {
        let mut accepted = Accepted { bytes: [0; MOST_ACCEPTED], count: 0 };
        match self.form {
            Form::Raw => {
                accepted.add(self.value[position]);
                if self.value[position] == b' ' {
                    accepted.add(b'+');
                }
            }
            Form::Base64(before) => {
                let (wanted, known) = self.sextet(before, position);
                for beside in (0..64).filter(|bits| bits & known == 0) {
                    accepted.add(STANDARD[usize::from(wanted | beside)]);
                    match wanted | beside {
                        62 => accepted.add(b'-'),
                        63 => accepted.add(b'_'),
                        _ => {}
                    }
                }
            }
            Form::Hex => {
                let digit = HEX[usize::from(self.nibble(position))];
                accepted.add(digit);
                if digit.is_ascii_lowercase() {
                    accepted.add(digit.to_ascii_uppercase());
                }
            }
            Form::Utf16Le => accepted.add(self.unit_half(position, 0)),
            Form::Utf16Be => accepted.add(self.unit_half(position, 1)),
        }
        accepted
    }

    /// The six bits at `position`, and which of them are the value's.
    fn sextet(&self, before: usize, position: usize) -> (u8, u8) {
        let bit = 6 * (first_sextet(before) + position);
        let byte = |at: usize| at.checked_sub(before).and_then(|at| self.value.get(at));
        let pair = |pick: fn(Option<&u8>) -> u8| {
            let (high, low) = (pick(byte(bit / 8)), pick(byte(bit / 8 + 1)));
            let word = u16::from_be_bytes([high, low]) << (bit % 8);
            word.to_be_bytes()[0] >> 2
        };
        (pair(|byte| byte.copied().unwrap_or(0)), pair(|byte| byte.map_or(0, |_| u8::MAX)))
    }

    fn nibble(&self, position: usize) -> u8 {
        let byte = self.value[position / 2];
        if position.is_multiple_of(2) { byte >> 4 } else { byte & 0xF }
    }

    /// The byte at `position` when the value's bytes stand at odd or even places, and zeros between them.
    fn unit_half(&self, position: usize, odd: usize) -> u8 {
        if position % 2 == odd { self.value[position / 2] } else { 0 }
    }
}

/// The first character of base64 that holds a bit of a value with `before` bytes before it.
fn first_sextet(before: usize) -> usize {
    8 * before / 6
}

/// What a character of base64 stands for, in either alphabet.
fn sextet_of(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_accepted_bytes_are_those_that_are_listed() {
        let value = (b' '..=b'~').chain([0, 128, 255]).collect::<Vec<u8>>();
        for needle in Needle::all(Zeroizing::new(value)) {
            for position in 0..needle.len() {
                let listed = needle.accepted(position);
                let set: BTreeSet<u8> = listed.as_slice().iter().copied().collect();
                assert_eq!(set.len(), listed.as_slice().len(), "each once");
                for byte in 0..=u8::MAX {
                    assert_eq!(
                        needle.accepts(position, byte),
                        set.contains(&byte),
                        "{:?} {position}",
                        needle.form
                    );
                }
            }
        }
    }
}
