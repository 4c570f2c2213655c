//! Masking, by examples: what is found in which spelling and at which edge, and what passes unchanged.

use std::fmt::Write as _;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};

use super::{reference::Looked, search::CERTAIN, *};

/// Holds every character that one of the spellings treats in its own way.
const VALUE: &[u8] = b"kl-test-/+\"<x>&'\\ \t%41?~>";

/// What stands around values here; nothing in it is part of one.
const AROUND: &str = "zz\r\nzz; zz, \"zz\\n\" &amp; %7B";

pub(super) fn scrubbed(values: &[&[u8]], pieces: &[&[u8]]) -> Vec<u8> {
    let scrubber = scrubber(values);
    let mut stream = scrubber.stream();
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(stream.push(piece));
    }
    out.extend_from_slice(stream.end());
    out
}

/// What leaves with each piece, and at the end.
pub(super) fn pieces_of(value: &[u8], pieces: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let scrubber = scrubber(&[value]);
    let mut stream = scrubber.stream();
    let mut left: Vec<_> = pieces.iter().map(|piece| stream.push(piece).to_vec()).collect();
    left.push(stream.end().to_vec());
    left
}

fn scrubber(values: &[&[u8]]) -> Scrubber {
    Scrubber::of(values.iter().map(|value| Zeroizing::new(value.to_vec())))
}

fn each(value: &[u8], spell: impl Fn(u8) -> String) -> Vec<u8> {
    value.iter().map(|byte| spell(*byte)).collect::<String>().into_bytes()
}

fn entity(byte: u8) -> String {
    match byte {
        b'&' => "&amp;".into(),
        b'<' => "&lt;".into(),
        b'>' => "&gt;".into(),
        b'"' => "&quot;".into(),
        b'\'' => "&apos;".into(),
        b'+' => "&plus;".into(),
        _ => format!("&#{byte};"),
    }
}

fn base64(before: &[u8], value: &[u8], after: &[u8]) -> String {
    STANDARD.encode([before, value, after].concat())
}

/// `value` in every spelling on its own, and in some mixtures.
fn spellings(value: &[u8]) -> Vec<(String, Vec<u8>)> {
    let hex = value.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let json = |byte: u8| match byte {
        b'"' | b'\\' | b'/' => format!("\\{}", char::from(byte)),
        _ => format!("\\u{byte:04x}"),
    };
    let mut all = vec![
        ("raw".into(), value.to_vec()),
        ("percent, upper".into(), each(value, |byte| format!("%{byte:02X}"))),
        ("percent, lower".into(), each(value, |byte| format!("%{byte:02x}"))),
        ("JSON".into(), each(value, json)),
        ("JSON, upper".into(), each(value, |byte| format!("\\u{byte:04X}"))),
        ("\\x".into(), each(value, |byte| format!("\\x{byte:02x}"))),
        ("HTML, names".into(), each(value, entity)),
        ("HTML, decimal".into(), each(value, |byte| format!("&#{byte};"))),
        ("HTML, hex".into(), each(value, |byte| format!("&#x{byte:x};"))),
        ("HTML, hex, upper, zeros".into(), each(value, |byte| format!("&#X000{byte:X};"))),
        ("hex, lower".into(), hex.clone().into_bytes()),
        ("hex, upper".into(), hex.to_uppercase().into_bytes()),
        ("hex, percent".into(), each(hex.as_bytes(), |byte| format!("%{byte:02x}"))),
        ("UTF-16LE".into(), value.iter().flat_map(|byte| [*byte, 0]).collect()),
        ("UTF-16BE".into(), value.iter().flat_map(|byte| [0, *byte]).collect()),
    ];
    for before in 0..3 {
        for after in 0..3 {
            let (before, after) = (&b"\xff\x01"[..before], &b"\xfe\x02"[..after]);
            let name = format!("base64 behind {} and before {}", before.len(), after.len());
            let standard = base64(before, value, after);
            let url = URL_SAFE_NO_PAD.encode([before, value, after].concat());
            all.push((format!("{name}, JSON"), standard.replace('/', "\\/").into_bytes()));
            all.push((
                format!("{name}, percent"),
                standard.replace('+', "%2B").replace('/', "%2f").into_bytes(),
            ));
            all.push((name.clone(), standard.into_bytes()));
            all.push((format!("{name}, URL"), url.into_bytes()));
        }
    }
    let ways: [&dyn Fn(u8) -> String; 4] =
        [&|byte| format!("%{byte:02x}"), &json, &|byte| entity(byte), &|byte| char::from(byte).to_string()];
    for turn in 0..ways.len() {
        let mixed = value.iter().enumerate().map(|(at, byte)| ways[(at * at + turn) % 4](*byte));
        all.push((format!("mixture {turn}"), mixed.collect::<String>().into_bytes()));
    }
    all
}

#[test]
fn no_spelling_passes_wherever_the_body_is_cut() {
    for (name, spelt) in spellings(VALUE) {
        let text = [AROUND.as_bytes(), &spelt, AROUND.as_bytes()].concat();
        let whole = scrubbed(&[VALUE], &[&text]);
        let looked = Looked::at(&whole);
        assert!(Looked::at(&text).shows(VALUE), "{name}: nothing to find");
        assert!(!looked.shows(VALUE), "{name}: {}", String::from_utf8_lossy(&whole));
        assert_eq!(whole.len(), text.len(), "{name}");
        assert!(whole.starts_with(AROUND.as_bytes()) && whole.ends_with(AROUND.as_bytes()), "{name}");
        for cut in 0..text.len() {
            assert_eq!(scrubbed(&[VALUE], &[&text[..cut], &text[cut..]]), whole, "{name} cut at {cut}");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(scrubbed(&[VALUE], &bytes), whole, "{name} byte by byte");
    }
}

#[test]
fn each_spelling_is_masked_as_a_whole_in_a_field() {
    for (name, spelt) in spellings(VALUE) {
        let mut text = spelt.clone();
        let scrubber = scrubber(&[VALUE]);
        scrubber.whole(&mut text);
        if name.starts_with("base64") {
            assert!(!Looked::at(&text).shows(&VALUE[1..VALUE.len() - 1]), "{name}");
        } else {
            assert_eq!(text, b"*".repeat(spelt.len()), "{name}");
        }
        assert_eq!(scrubber.hits(), 1, "{name}");
    }
}

#[test]
fn base64_beside_a_value_is_masked_only_where_it_holds_its_bits() {
    let value = b"kl-test-value";
    let table = [
        ("", "", "******************=="),
        ("a", "", "Y******************="),
        ("ab", "", "YW******************"),
        ("abc", "d", "YWJj******************Q="),
        ("a", "bc", "Y******************iYw=="),
    ];
    for (before, after, masked) in table {
        let mut text = base64(before.as_bytes(), value, after.as_bytes()).into_bytes();
        let length = text.len();
        scrubber(&[value]).whole(&mut text);
        let text = String::from_utf8(text).unwrap();
        assert_eq!((text.len(), text.as_str()), (length, masked), "{before} {after}");
    }
}

#[test]
fn a_space_in_a_form_is_a_plus() {
    assert_eq!(scrubbed(&[b"kl test value"], &[b"q=kl+test+value&p=1"]), b"q=*************&p=1");
}

#[test]
fn text_without_a_value_passes_unchanged_and_at_once() {
    let table: [&[u8]; 8] = [
        b"",
        b"kl-test",
        b"data: {\"kl\":\"test\"}\n\n",
        b"100% of kl-test&nbsp;C:\\temp ",
        b"a2wtdGVzd ",
        b"kl-test-kl-test-kl-test-\n",
        b"%6B%6C%2D%74%65%73%74%2D\n",
        b"\x00k\x00l\x00-\x00t\n",
    ];
    for text in table {
        let scrubber = scrubber(&[VALUE]);
        let mut stream = scrubber.stream();
        let mut out = stream.push(b"start:\n").to_vec();
        let begun = out.len();
        out.extend_from_slice(stream.push(text));
        if text.ends_with(b"\n") {
            assert_eq!(&out[begun..], text);
        }
        out.extend_from_slice(stream.end());
        assert_eq!(&out[begun..], text);
        assert_eq!(scrubber.hits(), 0);
    }
}

fn of_length(length: usize) -> Vec<u8> {
    (0..length).map(|at| b'!' + u8::try_from(at * at % 8191 % 94).unwrap()).collect()
}

#[test]
fn what_is_held_is_known_from_the_length_of_a_value_and_the_line() {
    for (length, most) in
        [(8, 256), (20, 512), (40, 1024), (42, 1024), (43, 2048), (1000, 32 * 1024), (64 * 1024, 32 * 1024)]
    {
        let value = of_length(length);
        let scrubber = scrubber(&[&value]);
        for text in [b" ".repeat(most + 10), value[..length - 1].repeat(2 + most / (length - 1))] {
            let text = &text[..most + 10];
            let mut stream = scrubber.stream();
            assert_eq!(stream.push(&text[..most]).len(), 0, "{length}");
            assert_eq!(stream.push(&text[most..]).len(), 10, "{length}");
            assert_eq!(stream.push(b"-\n").len(), most + 2, "{length}");
            assert_eq!(stream.push(b"line\r\nli").len(), 6, "{length}");
            assert_eq!(stream.push("ö&".as_bytes()).len(), 4, "{length}");
            assert_eq!(stream.end(), b"&");
        }
    }
}

#[test]
fn a_part_of_a_value_passes_wherever_it_stands() {
    let value = b"kl-test-0123456789";
    for body in [
        "l-test-0123456789 and more",
        "more kl-test-012345678",
        "more kl-test-012345678\nkl-test-0123",
        "%6cl-test-012345678%3",
        "%6bl-test-012345678%",
        "kl-test-012345678&#57",
        "D30313233343536373839 and a2wtdGVzdC0wMTIzNDU2Nzg",
        "kl-test-\n0123456789",
        "kl-test-\u{fc}0123456789",
    ] {
        for cut in 0..body.len() {
            let out = scrubbed(&[value], &[&body.as_bytes()[..cut], &body.as_bytes()[cut..]]);
            assert_eq!(String::from_utf8(out).unwrap(), body, "cut at {cut}");
        }
    }
}

#[test]
fn several_values_are_found_side_by_side_and_inside_each_other() {
    let values: [&[u8]; 3] = [b"kl-test-one", b"test-one-more", b"kl-test-two"];
    let text = b"kl-test-one-more, kl-test-twokl-test-one; kl-test-three";
    let masked = b"****************, **********************; kl-test-three";
    assert_eq!(scrubbed(&values, &[text]), masked);
    assert_eq!(scrubbed(&values, &text.chunks(3).collect::<Vec<_>>()), masked);
}

#[test]
fn each_find_is_counted_once_and_a_part_is_none() {
    let scrubber = scrubber(&[b"kl-test-value"]);
    let mut stream = scrubber.stream();
    for piece in b"kl-test-value %6bl-test-value, a2wtdGVzdC12YWx1ZQ== kl-test-val".chunks(5) {
        stream.push(piece);
    }
    stream.end();
    assert_eq!(scrubber.hits(), 3);
}

#[test]
fn a_long_value_is_masked_by_its_first_characters_up_to_the_end_of_the_line() {
    let value = of_length(64 * 1024);
    for (name, spelt) in [("raw", value.clone()), ("percent", each(&value, |byte| format!("%{byte:02x}")))] {
        let text = [b"text: ".as_slice(), &spelt, b" more\nand more"].concat();
        let scrubber = scrubber(&[&value]);
        let mut stream = scrubber.stream();
        let mut out = Vec::new();
        for piece in text.chunks(1400) {
            out.extend_from_slice(stream.push(piece));
            assert!(stream.held.len() - stream.released <= 32 * 1024, "{name}");
        }
        out.extend_from_slice(stream.end());
        let masked = b"*".repeat(spelt.len() + " more".len());
        assert!(out == [b"text: ".as_slice(), &masked, b"\nand more"].concat(), "{name}");
        assert_eq!(scrubber.hits(), 1, "{name}");
    }
}

#[test]
fn what_follows_the_first_characters_of_a_long_value_does_not_show_whether_it_is_right() {
    let value = of_length(3 * CERTAIN);
    assert_eq!(scrubbed(&[&value], &[&value[..CERTAIN - 1]]), &value[..CERTAIN - 1]);
    for right in [CERTAIN, CERTAIN + 1, 2 * CERTAIN] {
        let text = [&value[..right], &b"\x7e".repeat(3 * CERTAIN - right)].concat();
        assert_eq!(
            scrubbed(&[&value], &text.chunks(999).collect::<Vec<_>>()),
            b"*".repeat(3 * CERTAIN),
            "{right}"
        );
    }
}

#[test]
fn a_value_that_repeats_itself_is_masked_in_bounded_time() {
    let mut value = b"a".repeat(60 * 1024);
    value.extend_from_slice(b"bcaaaa");
    let text = ["aaaaaaaa".repeat(16 * 1024).as_bytes(), b"bcaaaa,\nand more".as_slice()].concat();
    let out = scrubbed(&[&value], &[&text]);
    assert!(out == [b"*".repeat(128 * 1024 + "bcaaaa,".len()), b"\nand more".to_vec()].concat());
    let value = b"a".repeat(100);
    for cut in 0..100 {
        let out = scrubbed(&[&value], &[b"zz ", &value[..cut], &value[cut..]]);
        assert_eq!(out, [b"zz ".as_slice(), &b"*".repeat(100)].concat(), "{cut}");
    }
}

#[test]
fn readings_that_meet_again_are_one() {
    let value = b"\\".repeat(20);
    let body = [b"zz ".as_slice(), &value[..19], b" zz"].concat();
    assert_eq!(scrubbed(&[&value], &[&body]), body);
}

#[test]
fn an_escape_behind_bytes_that_look_like_a_beginning_is_not_passed_over() {
    for before in 0..20 {
        let body = ["z".repeat(before), "  %30    0 ".into()].concat();
        let masked = ["z".repeat(before), "********** ".into()].concat();
        assert_eq!(scrubbed(&[b"  0    0"], &[body.as_bytes()]), masked.as_bytes(), "{body}");
    }
}

#[test]
fn what_one_value_floods_tells_nothing_of_another() {
    let known = [b'A'; 200];
    for length in 8..100 {
        let text = vec![b'A'; length];
        let [begun, not] = [b"Axxxxxxx", b"Bxxxxxxx"].map(|other| scrubbed(&[other, &known], &[&text]));
        assert_eq!(begun, not, "{length}");
    }
}

#[test]
fn values_under_eight_bytes_are_none() {
    assert_eq!(scrubbed(&[b"kl-test"], &[b"kl-test kl-test"]), b"kl-test kl-test");
}
