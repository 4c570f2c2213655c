//! How one byte can be spelt in text: as itself, percent-encoded, escaped as in JSON, or as an HTML entity. Pure.
//!
//! Promises: [`spelling`] looks at no more than [`LONGEST`] bytes, and at none behind one that [`ends_all`]. It decodes one
//! level and one byte: a text in which every byte is spelt another way is a walk over such steps, so no mixture needs a
//! rule of its own.

/// The longest spelling of one byte: `&` and `;` around [`LONGEST_ENTITY`] characters.
pub(super) const LONGEST: usize = LONGEST_ENTITY + 2;

/// Entities are read up to here: room for `#x` and eight digits.
const LONGEST_ENTITY: usize = 10;

/// What a text begins with, beside the plain byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Spelling {
    /// Nothing but the plain byte.
    Plain,
    /// The text ends before it can be told.
    Open,
    /// This byte, in this many bytes of text.
    Escape(u8, usize),
}

/// The bytes escapes begin with.
pub(super) const INTRODUCERS: [u8; 3] = [b'%', b'\\', b'&'];

/// Whether `byte` stands in no spelling of any value: values are visible ASCII, spaces and tabs, and zeros part their
/// bytes in UTF-16. Nothing that is looked for goes on behind such a byte.
pub(super) fn ends_all(byte: u8) -> bool {
    !matches!(byte, 0 | b'\t' | b' '..=b'~')
}

/// What `text` begins with.
pub(super) fn spelling(text: &[u8]) -> Spelling {
    match text {
        [b'%', digits @ ..] => number(digits, 2, 1),
        [b'\\', rest @ ..] => backslash(rest),
        [b'&', rest @ ..] => entity(rest),
        _ => Spelling::Plain,
    }
}

/// JSON's escapes (RFC 8259, 7), and its neighbours' `\x27` and `\'`.
fn backslash(rest: &[u8]) -> Spelling {
    match rest {
        [] => Spelling::Open,
        [b'u', digits @ ..] => number(digits, 4, 2),
        [b'x', digits @ ..] => number(digits, 2, 2),
        [b't', ..] => Spelling::Escape(b'\t', 2),
        [b'n', ..] => Spelling::Escape(b'\n', 2),
        [b'r', ..] => Spelling::Escape(b'\r', 2),
        [mark, ..] if mark.is_ascii_punctuation() => Spelling::Escape(*mark, 2),
        [..] => Spelling::Plain,
    }
}

/// Exactly `count` hexadecimal digits, after `before` other bytes.
fn number(digits: &[u8], count: usize, before: usize) -> Spelling {
    let present = &digits[..count.min(digits.len())];
    match value(present, 16) {
        None => Spelling::Plain,
        Some(_) if present.len() < count => Spelling::Open,
        Some(byte) => {
            u8::try_from(byte).map_or(Spelling::Plain, |byte| Spelling::Escape(byte, before + count))
        }
    }
}

fn entity(rest: &[u8]) -> Spelling {
    let within = &rest[..rest.len().min(LONGEST_ENTITY + 1)];
    let named = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'#';
    match within.iter().position(|byte| !named(byte)) {
        Some(end) if within[end] == b';' => {
            named_or_numbered(&within[..end]).map_or(Spelling::Plain, |byte| Spelling::Escape(byte, end + 2))
        }
        None if within.len() <= LONGEST_ENTITY => Spelling::Open,
        Some(_) | None => Spelling::Plain,
    }
}

fn named_or_numbered(name: &[u8]) -> Option<u8> {
    let number = match name {
        [b'#', b'x' | b'X', digits @ ..] if !digits.is_empty() => value(digits, 16),
        [b'#', digits @ ..] if !digits.is_empty() => value(digits, 10),
        _ => return ENTITIES.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, byte)| *byte),
    };
    u8::try_from(number?).ok()
}

fn value(digits: &[u8], radix: u32) -> Option<u32> {
    digits.iter().try_fold(0_u32, |sum, digit| {
        let digit = char::from(*digit).to_digit(radix)?;
        Some(sum.saturating_mul(radix).saturating_add(digit))
    })
}

/// HTML's names of visible ASCII, the usual ones first.
const ENTITIES: [(&str, u8); 43] = [
    ("amp", b'&'),
    ("lt", b'<'),
    ("gt", b'>'),
    ("quot", b'"'),
    ("apos", b'\''),
    ("Tab", b'\t'),
    ("NewLine", b'\n'),
    ("excl", b'!'),
    ("QUOT", b'"'),
    ("num", b'#'),
    ("dollar", b'$'),
    ("percnt", b'%'),
    ("AMP", b'&'),
    ("lpar", b'('),
    ("rpar", b')'),
    ("ast", b'*'),
    ("midast", b'*'),
    ("plus", b'+'),
    ("comma", b','),
    ("period", b'.'),
    ("sol", b'/'),
    ("colon", b':'),
    ("semi", b';'),
    ("LT", b'<'),
    ("equals", b'='),
    ("GT", b'>'),
    ("quest", b'?'),
    ("commat", b'@'),
    ("lsqb", b'['),
    ("lbrack", b'['),
    ("bsol", b'\\'),
    ("rsqb", b']'),
    ("rbrack", b']'),
    ("Hat", b'^'),
    ("lowbar", b'_'),
    ("UnderBar", b'_'),
    ("grave", b'`'),
    ("lcub", b'{'),
    ("lbrace", b'{'),
    ("verbar", b'|'),
    ("vert", b'|'),
    ("rcub", b'}'),
    ("rbrace", b'}'),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_is_read_in_each_of_its_spellings() {
        let table: &[(&str, Spelling)] = &[
            ("a", Spelling::Plain),
            ("%2Fx", Spelling::Escape(b'/', 3)),
            ("%2f", Spelling::Escape(b'/', 3)),
            ("%2g", Spelling::Plain),
            ("%g", Spelling::Plain),
            ("%", Spelling::Open),
            ("%2", Spelling::Open),
            (r"\/", Spelling::Escape(b'/', 2)),
            ("\\\"", Spelling::Escape(b'"', 2)),
            (r"\\u", Spelling::Escape(b'\\', 2)),
            (r"\'", Spelling::Escape(b'\'', 2)),
            (r"\t", Spelling::Escape(b'\t', 2)),
            (r"\n", Spelling::Escape(b'\n', 2)),
            (r"\r", Spelling::Escape(b'\r', 2)),
            (r"\u002F", Spelling::Escape(b'/', 6)),
            (r"\u002f", Spelling::Escape(b'/', 6)),
            (r"\u012f", Spelling::Plain),
            (r"\u00", Spelling::Open),
            (r"\u", Spelling::Open),
            (r"\", Spelling::Open),
            (r"\x2f", Spelling::Escape(b'/', 4)),
            (r"\x2", Spelling::Open),
            (r"\q", Spelling::Plain),
            ("&", Spelling::Open),
            ("&am", Spelling::Open),
            ("&amp;x", Spelling::Escape(b'&', 5)),
            ("&lt;", Spelling::Escape(b'<', 4)),
            ("&gt;", Spelling::Escape(b'>', 4)),
            ("&quot;", Spelling::Escape(b'"', 6)),
            ("&apos;", Spelling::Escape(b'\'', 6)),
            ("&#39;", Spelling::Escape(b'\'', 5)),
            ("&#x2F;", Spelling::Escape(b'/', 6)),
            ("&#X2f;", Spelling::Escape(b'/', 6)),
            ("&#x0000002F;", Spelling::Escape(b'/', 12)),
            ("&#0000000047;", Spelling::Plain),
            ("&#x;", Spelling::Plain),
            ("&#;", Spelling::Plain),
            ("&#300;", Spelling::Plain),
            ("&;", Spelling::Plain),
            ("& ", Spelling::Plain),
            ("&abcdefghij", Spelling::Open),
            ("&abcdefghijk", Spelling::Plain),
        ];
        for (text, expected) in table {
            assert_eq!(spelling(text.as_bytes()), *expected, "{text}");
        }
    }

    #[test]
    fn no_spelling_holds_or_awaits_a_byte_that_ends_all() {
        let starts = [
            "", "%", "%4", "\\", "\\u", "\\u004", "\\x", "\\x4", "&", "&#", "&#x", "&#4", "&a", "&am", "&amp",
        ];
        for byte in (0..=u8::MAX).filter(|byte| ends_all(*byte)) {
            for start in starts {
                for rest in ["", ";", "41;", "0041"] {
                    let text = [start.as_bytes(), &[byte], rest.as_bytes()].concat();
                    assert_eq!(spelling(&text), Spelling::Plain, "{}", text.escape_ascii());
                }
            }
        }
        assert!(ends_all(b'\n') && ends_all(b'\r') && ends_all(0xc3) && !ends_all(b'n'));
    }

    #[test]
    fn only_an_introducer_begins_an_escape() {
        for byte in (0..=255).filter(|byte| !INTRODUCERS.contains(byte)) {
            assert_eq!(spelling(&[byte, b'x', b'4', b'1', b';']), Spelling::Plain);
        }
    }
}
