//! Masking, by examples: what is found in which spelling and at which edge, and what passes unchanged.

use std::fmt::Write as _;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};

use super::{reference::Looked, *};

/// Holds every character that one of the spellings treats in its own way.
const VALUE: &[u8] = b"kl-test-/+\"<x>&'\\ %41?~\xbf";

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
        let mixed = value.iter().enumerate().map(|(at, byte)| {
            let way = if byte.is_ascii() { (at * at + turn) % 4 } else { turn % 3 };
            ways[way](*byte)
        });
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
        let mut out = stream.push(b"start: ").to_vec();
        let begun = out.len();
        out.extend_from_slice(stream.push(text));
        if text.ends_with(b"\n") || text.ends_with(b" ") {
            assert_eq!(&out[begun..], text);
        }
        out.extend_from_slice(stream.end());
        assert_eq!(&out[begun..], text);
        assert_eq!(scrubber.hits(), 0);
    }
}

#[test]
fn only_what_might_begin_a_value_is_held() {
    let value = b"kl-test-value";
    let table = [
        ("xx kl-tes", 6),
        ("xx kl-tes ", 0),
        ("xx %6b", 3),
        ("xx %6", 2),
        ("xx %2", 2),
        ("xx k\\", 2),
        ("xx z\\", 1),
        ("xx %6b ", 0),
        ("xx &", 1),
        ("xx & ", 0),
        ("xx a2wtd", 5),
        ("xx kl-test-valu", 12),
        ("xx kl-test-value", 0),
    ];
    for (text, held) in table {
        let scrubber = scrubber(&[value]);
        let mut stream = scrubber.stream();
        assert_eq!(text.len() - stream.push(text.as_bytes()).len(), held, "{text}");
    }
}

#[test]
fn a_piece_of_a_value_at_an_edge_of_a_body_does_not_pass() {
    let value = b"kl-test-0123456789";
    let table = [
        ("23456789 and more", "******** and more"),
        ("3456789 and more", "3456789 and more"),
        ("%3456789 and %", "%3456789 and %"),
        ("more kl-test-", "more ********"),
        ("more kl-test", "more kl-test"),
        ("more kl-test- ", "more kl-test- "),
        ("more kl%2dtest%2", "more kl%2dtest%2"),
        ("more kl%2dtest%2d%3", "more **************"),
        ("-test-01", "********"),
        ("test-01", "test-01"),
        ("2d%74est-0123456789 and more", "******************* and more"),
        ("u002dtest-0123456789 and more", "******************** and more"),
        ("#45;test-0123456789 and more", "******************* and more"),
        ("aatest-0123456789 and", "aatest-0123456789 and"),
        ("2D303132333435363738 and", "2D303132333435363738 and"),
        ("D30313233343536373839 and", "********************* and"),
        ("and a2wtdGVzdC0wMTI", "and ***************"),
        ("dGVzdC0wMTIzNDU2Nzg5 and", "******************** and"),
        ("kl-test-01 kl-test-", "kl-test-01 ********"),
    ];
    for (body, masked) in table {
        for cut in 0..body.len() {
            let out = scrubbed(&[value], &[&body.as_bytes()[..cut], &body.as_bytes()[cut..]]);
            assert_eq!(String::from_utf8(out).unwrap(), masked, "cut at {cut}");
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
fn each_find_is_counted_once() {
    let scrubber = scrubber(&[b"kl-test-value"]);
    let mut stream = scrubber.stream();
    for piece in b"kl-test-value %6bl-test-value, a2wtdGVzdC12YWx1ZQ== kl-test-val".chunks(5) {
        stream.push(piece);
    }
    stream.end();
    assert_eq!(scrubber.hits(), 4);
}

#[test]
fn a_long_value_is_masked_before_it_ended() {
    let value: Vec<u8> =
        (0..64 * 1024_u32).map(|at| b'!' + u8::try_from(at * at % 8191 % 94).unwrap()).collect();
    for (name, spelt) in [("raw", value.clone()), ("percent", each(&value, |byte| format!("%{byte:02x}")))] {
        let text = [b"text: ".as_slice(), &spelt, b" more"].concat();
        let scrubber = scrubber(&[&value]);
        let mut stream = scrubber.stream();
        let mut out = Vec::new();
        for piece in text.chunks(1400) {
            out.extend_from_slice(stream.push(piece));
            assert!(stream.held.len() - stream.released < 4096, "{name}");
        }
        out.extend_from_slice(stream.end());
        assert!(out == [b"text: ".as_slice(), &b"*".repeat(spelt.len()), b" more"].concat(), "{name}");
        assert_eq!(scrubber.hits(), 1, "{name}");
    }
}

#[test]
fn a_value_that_repeats_itself_is_masked_in_bounded_time() {
    let mut value = b"a".repeat(60 * 1024);
    value.extend_from_slice(b"bcaaaa");
    let text = ["aaaaaaaa".repeat(16 * 1024).as_bytes(), b"bcaaaa, and more".as_slice()].concat();
    let out = scrubbed(&[&value], &[&text]);
    let from = text.len() - b", and more".len() - value.len();
    assert!(out[from..].starts_with(&b"*".repeat(value.len())));
    assert!(out.ends_with(b", and more"));
}

#[test]
fn a_body_that_ends_amid_a_repeating_value_is_masked() {
    let value = b"a".repeat(100);
    for count in 60..70 {
        let body = [b"zz ".as_slice(), &value[..count]].concat();
        assert_eq!(
            scrubbed(&[&value], &[&body]),
            [b"zz ".as_slice(), &b"*".repeat(count)].concat(),
            "{count}"
        );
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
fn values_under_eight_bytes_are_none() {
    assert_eq!(scrubbed(&[b"kl-test"], &[b"kl-test kl-test"]), b"kl-test kl-test");
}
