//! What the scrubber should do, said another way: by decoding texts, and by trying every walk through small ones.

use base64::{
    Engine as _,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// A text, and what a reader could make of it.
pub(super) struct Looked(Vec<Vec<u8>>);

impl Looked {
    pub(super) fn at(text: &[u8]) -> Self {
        let mut forms =
            vec![text.to_vec(), text.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect()];
        // A mixture is decoded one kind after the other, in any order.
        let kinds = [percent, json, html];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut form = text.to_vec();
            for kind in order {
                form = kinds[kind](&form);
                forms.push(form.clone());
            }
        }
        forms.push(at_once(text));
        let further: Vec<Vec<u8>> =
            forms.iter().flat_map(|form| [bases(form), hexes(form), halves(form)].concat()).collect();
        forms.extend(further);
        Self(forms)
    }

    pub(super) fn shows(&self, value: &[u8]) -> bool {
        self.0.iter().any(|form| form.windows(value.len()).any(|window| window == value))
    }
}

/// Replaces what `read` finds: a byte, and the text after it.
fn decode(mut text: &[u8], read: impl Fn(&[u8]) -> Option<(u8, &[u8])>) -> Vec<u8> {
    let mut out = Vec::new();
    while let [first, rest @ ..] = text {
        let (byte, after) = read(text).unwrap_or((*first, rest));
        out.push(byte);
        text = after;
    }
    out
}

fn at_once(text: &[u8]) -> Vec<u8> {
    decode(text, |text| one_percent(text).or_else(|| one_json(text)).or_else(|| one_html(text)))
}

fn percent(text: &[u8]) -> Vec<u8> {
    decode(text, one_percent)
}

fn json(text: &[u8]) -> Vec<u8> {
    decode(text, one_json)
}

fn html(text: &[u8]) -> Vec<u8> {
    decode(text, one_html)
}

fn radix16(digits: &[u8]) -> Option<u8> {
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

pub(super) fn one_percent(text: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, after) = text.strip_prefix(b"%")?.split_at_checked(2)?;
    Some((radix16(digits)?, after))
}

pub(super) fn one_json(text: &[u8]) -> Option<(u8, &[u8])> {
    for (introducer, count) in [(b"\\u", 4), (b"\\x", 2)] {
        if let Some((digits, after)) =
            text.strip_prefix(introducer).and_then(|rest| rest.split_at_checked(count))
        {
            return Some((radix16(digits)?, after));
        }
    }
    let (escaped, after) = text.strip_prefix(b"\\")?.split_first()?;
    match escaped {
        b't' => Some((b'\t', after)),
        b'n' => Some((b'\n', after)),
        b'r' => Some((b'\r', after)),
        mark => mark.is_ascii_punctuation().then_some((*mark, after)),
    }
}

pub(super) fn one_html(text: &[u8]) -> Option<(u8, &[u8])> {
    let rest = text.strip_prefix(b"&")?;
    let end = rest.iter().take(11).position(|byte| *byte == b';')?;
    let (name, after) = (str::from_utf8(&rest[..end]).ok()?, &rest[end + 1..]);
    let byte = match name.strip_prefix('#') {
        Some(number) => match number.strip_prefix(['x', 'X']) {
            Some(digits) => u8::from_str_radix(digits, 16).ok()?,
            None => number.parse().ok()?,
        },
        None => match name {
            "amp" => b'&',
            "lt" => b'<',
            "gt" => b'>',
            "quot" => b'"',
            "apos" => b'\'',
            "plus" => b'+',
            _ => return None,
        },
    };
    Some((byte, after))
}

/// Every run of characters of base64, decoded from each of its first four characters.
fn bases(text: &[u8]) -> Vec<Vec<u8>> {
    let lax = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let mut decoded = Vec::new();
    for (alphabet, marks) in [(STANDARD, b"+/"), (URL_SAFE, b"-_")] {
        let engine = GeneralPurpose::new(&alphabet, lax);
        for run in text.split(|byte| !byte.is_ascii_alphanumeric() && !marks.contains(byte)) {
            for start in 0..run.len().min(4) {
                let run = &run[start..];
                let run = if run.len() % 4 == 1 { &run[..run.len() - 1] } else { run };
                decoded.extend(engine.decode(run));
            }
        }
    }
    decoded
}

fn hexes(text: &[u8]) -> Vec<Vec<u8>> {
    let runs = text.split(|byte| !byte.is_ascii_hexdigit()).filter(|run| run.len() > 1);
    runs.flat_map(|run| [run, &run[1..]])
        .map(|run| run.chunks_exact(2).filter_map(radix16).collect())
        .collect()
}

fn halves(text: &[u8]) -> Vec<Vec<u8>> {
    (0..4)
        .map(|start| {
            let kept = (start % 2, 1 - start % 2);
            let text = text.get(start / 2..).unwrap_or_default();
            text.chunks_exact(2).filter(|pair| pair[kept.1] == 0).map(|pair| pair[kept.0]).collect()
        })
        .collect()
}
