//! Arbitrary values, texts and cuts: the scrubber against every walk, and against readers that decode.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;

use super::{
    reference::{Looked, one_html, one_json, one_percent},
    tests::{pieces_of, scrubbed},
};

/// Which bytes may stand at each character of one form of a value.
type Written = Vec<Vec<u8>>;

/// The forms of `value`, written out by an encoder with each possible neighbour.
fn forms(value: &[u8]) -> Vec<Written> {
    let exactly = |bytes: &[u8]| bytes.iter().map(|byte| vec![*byte]).collect::<Vec<_>>();
    let mut raw = exactly(value);
    raw.iter_mut().filter(|byte| **byte == b" ").for_each(|byte| byte.push(b'+'));
    let hex = value.iter().flat_map(|byte| format!("{byte:02x}").into_bytes());
    let hex = hex.map(|digit| vec![digit, digit.to_ascii_uppercase()]).collect();
    let low: Vec<u8> = value.iter().flat_map(|byte| [*byte, 0]).collect();
    let high: Vec<u8> = value.iter().flat_map(|byte| [0, *byte]).collect();
    let mut forms = vec![raw, hex, exactly(&low), exactly(&high)];
    for before in 0..3 {
        let (first, last) = (before * 8 / 6, ((before + value.len()) * 8).div_ceil(6));
        let mut seen = vec![Vec::new(); last - first];
        for beside in 0..=255 {
            let text = STANDARD.encode([&[beside; 2][..before], value, &[beside; 2]].concat());
            for (seen, byte) in seen.iter_mut().zip(&text.as_bytes()[first..last]) {
                let other = match byte {
                    b'+' => b'-',
                    b'/' => b'_',
                    same => *same,
                };
                seen.extend([*byte, other]);
            }
        }
        for seen in &mut seen {
            seen.sort_unstable();
            seen.dedup();
        }
        forms.push(seen);
    }
    forms
}

/// The places after one character at `at`, spelt in any way.
fn after(text: &[u8], at: usize, wanted: &[u8]) -> Vec<usize> {
    let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) else { return Vec::new() };
    let plain = Some((rest[0], &rest[1..]));
    let spelt = [plain, one_percent(rest), one_json(rest), one_html(rest)].into_iter().flatten();
    spelt.filter(|(byte, _)| wanted.contains(byte)).map(|(_, rest)| text.len() - rest.len()).collect()
}

/// What must be masked in a body, by walking from every place as every form.
fn masked(value: &[u8], text: &[u8]) -> Vec<u8> {
    let mut out = text.to_vec();
    for form in forms(value) {
        for start in 0..text.len() {
            if let Some(end) = walk(&form, text, start) {
                out[start..end].fill(b'*');
            }
        }
    }
    out
}

/// Where a walk from `start` ends that shows the form.
fn walk(form: &[Vec<u8>], text: &[u8], start: usize) -> Option<usize> {
    let mut places = vec![start];
    for wanted in form {
        places = places.iter().flat_map(|at| after(text, *at, wanted)).collect();
        places.sort_unstable();
        places.dedup();
    }
    places.last().copied()
}

fn in_pieces(text: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
    let (mut rest, mut pieces) = (text, Vec::new());
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at(rest.len().min(*size));
        pieces.push(piece.to_vec());
        rest = after;
    }
    pieces
}

/// One of the ways to spell `byte`.
fn spelt(byte: u8, way: u8) -> Vec<u8> {
    match way {
        0 => format!("%{byte:02x}"),
        1 => format!("%{byte:02X}"),
        2 => format!("\\u{byte:04x}"),
        3 => format!("&#{byte};"),
        4 => format!("&#x{byte:X};"),
        5 if byte.is_ascii_punctuation() => format!("\\{}", char::from(byte)),
        6 if byte == b'&' => "&amp;".to_owned(),
        _ => return vec![byte],
    }
    .into_bytes()
}

/// Few letters, so that values overlap themselves and escapes overlap values.
fn narrow_value() -> impl Strategy<Value = Vec<u8>> {
    let unit = prop_oneof![
        Just("a"),
        Just("aab"),
        Just("%25"),
        Just("\\"),
        Just("\\\\u0025"),
        Just("&amp;"),
        Just("5"),
        Just(" ")
    ];
    prop::collection::vec(unit, 3..12)
        .prop_map(|units| units.concat().into_bytes())
        .prop_filter("a value has eight bytes", |value| value.len() >= 8)
}

fn any_value() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(b' '..=b'~', 8..40)
}

/// Two values of the same length, and a text that shows all of the first but its last byte again and again.
fn alike() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, Vec<u8>)> {
    prop_oneof![narrow_value(), any_value()].prop_flat_map(|value| {
        let other = prop::collection::vec(b' '..=b'~', value.len());
        let (at, changed) = (0..value.len(), value.clone());
        let change = (at, b' '..=b'~').prop_map(move |(at, byte)| {
            let mut other = changed.clone();
            other[at] = byte;
            other
        });
        let text = near(value[..value.len() - 1].to_vec()).prop_map(|(_, text)| text);
        (Just(value), prop_oneof![other, change], text)
    })
}

/// Text that comes near to `value` again and again.
fn near(value: Vec<u8>) -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let length = value.len();
    let run = (0..length, 0..=length, prop::collection::vec(0..14_u8, length), 0..8_u8);
    prop::collection::vec(run, 1..4).prop_map(move |runs| {
        let mut text = Vec::new();
        for (from, to, ways, form) in runs {
            let cut = &value[from.min(to)..to.max(from)];
            let whole = if ways[0] % 2 == 0 { &value[..] } else { cut };
            text.extend_from_slice(&b"~~~~\n~~~~~~~~~~~"[..usize::from(ways[1])]);
            match form {
                0 => text.extend(STANDARD.encode(cut).bytes()),
                1 => text.extend(whole.iter().flat_map(|byte| [0, *byte])),
                2 => text.extend(whole.iter().flat_map(|byte| format!("{byte:02x}").into_bytes())),
                _ => text.extend(whole.iter().zip(&ways).flat_map(|(byte, way)| spelt(*byte, *way))),
            }
        }
        (value.clone(), text)
    })
}

proptest! {
    // The reference is slow on long texts.
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn what_leaves_and_when_does_not_depend_on_a_value_that_is_not_there(
        (value, other, text) in alike(),
        sizes in prop::collection::vec(1..300_usize, 1..4),
        repeated in 1..6_usize,
    ) {
        // Said often enough to go beyond what is held.
        let text = text.repeat(repeated);
        prop_assume!(masked(&value, &text) == text && masked(&other, &text) == text);
        let pieces = in_pieces(&text, &sizes);
        let left = pieces_of(&value, &pieces);
        prop_assert_eq!(&left, &pieces_of(&other, &pieces));
        prop_assert_eq!(left.concat(), text);
    }
}

proptest! {
    #[test]
    fn exactly_what_some_walk_reads_as_a_value_is_masked(
        (value, text) in prop_oneof![narrow_value(), any_value()].prop_flat_map(near),
        sizes in prop::collection::vec(1..9_usize, 1..4),
    ) {
        let pieces = in_pieces(&text, &sizes);
        let out = scrubbed(&[&value], &pieces.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let (out, expected) = (String::from_utf8_lossy(&out), masked(&value, &text));
        prop_assert_eq!(out, String::from_utf8_lossy(&expected), "{:?}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn no_reader_finds_a_value(
        value in any_value(),
        ways in prop::collection::vec(0..9_u8, 40),
        before in prop::collection::vec(any::<u8>(), 0..20),
        after in prop::collection::vec(any::<u8>(), 0..20),
        sizes in prop::collection::vec(1..30_usize, 1..4),
    ) {
        let mixture: Vec<u8> = value.iter().zip(&ways).flat_map(|(byte, way)| spelt(*byte, *way)).collect();
        let base64 = STANDARD.encode([&before, &value, &after].map(Vec::as_slice).concat()).into_bytes();
        let text = [&before[..], &mixture, b" ", &after, b" ", &base64, b" "].concat();
        let pieces = in_pieces(&text, &sizes);
        let out = scrubbed(&[&value], &pieces.iter().map(Vec::as_slice).collect::<Vec<_>>());
        prop_assert_eq!(out.len(), text.len());
        prop_assert!(!Looked::at(&out).shows(&value), "{:?}", String::from_utf8_lossy(&out));
    }

    #[test]
    fn other_text_passes_unchanged(
        value in any_value(),
        text in "([a-z0-9+/\\\\]|%[0-9a-f]{2}|&[a-z]{2,4};|\\\\u00[0-9a-f]{2}| |\n|\\PC){0,300}",
        size in 1..100_usize,
    ) {
        let pieces = in_pieces(text.as_bytes(), &[size]);
        let out = scrubbed(&[&value], &pieces.iter().map(Vec::as_slice).collect::<Vec<_>>());
        prop_assert_eq!(out, text.into_bytes());
    }
}
