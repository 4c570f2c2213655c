//! Bodies in and out, and heads out: what is refused, what passes, and what is written.

use keylend_sidecar::http1::{
    BodyDecoder, BodyEncoder, BodyError as B, Buffer, ChunkError as C, EncodeError, Field, FieldError as F,
    Framing, Full, HEAD_LIMIT, HeadWriter, LineError as L, Persistence, Step, WriteError,
};

use crate::properties::{Arrival, Ending, Message, chunks_have_one_reading, read_chunks};

/// (rule, chunks, refusal)
const HOSTILE_CHUNKS: &[(&str, &[u8], C)] = &[
    ("9112 section 7.1", b"\r\n", C::Size),
    ("9112 section 7.1", b"g\r\n", C::Size),
    ("9112 section 7.1", b"0x5\r\nhello\r\n", C::Size),
    ("9112 section 7.1", b"+5\r\nhello\r\n", C::Size),
    ("9112 section 7.1", b" 5\r\nhello\r\n", C::Size),
    ("9112 section 7.1", b"5 \r\nhello\r\n", C::Size),
    ("9112 section 7.1", b"5\nhello\r\n", C::Size),
    ("9112 section 7.1", b"5\rhello\r\n", C::Size),
    ("9112 section 7.1", b"5\0\r\nhello\r\n", C::Size),
    ("9112 section 7.1", b";a\r\n", C::Size),
    ("9112 section 7.1", b"10000000000000000\r\n", C::SizeOverflow),
    ("9112 section 7.1", b"00000000000000005\r\nhello\r\n", C::SizeOverflow),
    ("9112 section 7.1", b"5\r\nhelloX\r\n0\r\n\r\n", C::AfterData),
    ("9112 section 7.1", b"5\r\nhello\n0\r\n\r\n", C::AfterData),
    ("9112 section 7.1", b"5\r\nhello\rX", C::AfterData),
    ("9112 section 7.1", b"3\r\nhello\r\n0\r\n\r\n", C::AfterData),
    ("9112 section 7.1", b"5\r\nhello\r\n\r\n0\r\n\r\n", C::Size),
    ("9112 section 7.1.1", b"5;a\nhello\r\n", C::Extension),
    ("9112 section 7.1.1", b"5;a=\"\n\"\r\nhello\r\n", C::Extension),
    ("9112 section 7.1", b"5;a\rb\r\nhello\r\n", C::Size),
    ("9112 section 7.1.1", b"5;\xFF\r\nhello\r\n", C::Extension),
    ("9112 section 2.2", b"0\r\n\n", C::TrailerLines(L::BareLf)),
    ("9112 section 2.2", b"0\r\nT: 1\n\r\n", C::TrailerLines(L::BareLf)),
    ("9112 section 2.2", b"0\r\n\rX", C::TrailerLines(L::BareCr)),
    ("9112 section 2.2", b"0\r\n T: 1\r\n\r\n", C::TrailerLines(L::LeadingSpace)),
    ("9112 section 5.2", b"0\r\nT: 1\r\n 2\r\n\r\n", C::TrailerLines(L::ObsFold)),
    ("9110 section 5.1", b"0\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", C::TrailerField(F::Name)),
    ("9112 section 5.1", b"0\r\nT : 1\r\n\r\n", C::TrailerField(F::SpaceBeforeColon)),
    ("9110 section 5.5", b"0\r\nT: \0\r\n\r\n", C::TrailerField(F::Control)),
];

/// (rule, what is odd, chunks, body)
const ODD_BUT_LEGAL_CHUNKS: &[(&str, &str, &[u8], &[u8])] = &[
    ("9112 section 7.1", "none but the last", b"0\r\n\r\n", b""),
    ("9112 section 7.1", "many zeros", b"0000000000000000\r\n\r\n", b""),
    ("9112 section 7.1", "leading zeros", b"0000000000000005\r\nhello\r\n0\r\n\r\n", b"hello"),
    ("9112 section 7.1", "capitals", b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    ("9112 section 7.1", "small letters", b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    ("9112 section 7.1", "one byte each", b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n", b"ab"),
    ("9112 section 7.1", "line endings as data", b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n"),
    ("9112 section 7.1", "what looks like the end, as data", b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n"),
    ("9112 section 7.1.1", "an extension", b"5;a=b\r\nhello\r\n0\r\n\r\n", b"hello"),
    ("9110 section 5.6.4", "a quoted extension", b"5;a=\"b;c\\\"\"\r\nhello\r\n0;d\r\n\r\n", b"hello"),
    ("9112 section 7.1.1", "whitespace around an extension", b"5 \t; a = b\r\nhello\r\n0\r\n\r\n", b"hello"),
    (
        "9112 section 7.1.1",
        "what S3 clients send",
        b"2;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9\r\nhi\r\n0\r\n\r\n",
        b"hi",
    ),
    ("9112 section 7.1.2", "a trailer", b"0\r\nT: 1\r\n\r\n", b""),
    ("9110 section 5.5", "an empty trailer", b"0\r\nT:\r\n\r\n", b""),
    ("9110 section 5.5", "a trailer beyond ASCII", b"0\r\nT: \xE9\r\n\r\n", b""),
    (
        "9112 section 7.1",
        "a size that is another number in decimal",
        b"10\r\n0123456789abcdef\r\n0\r\n\r\n",
        b"0123456789abcdef",
    ),
    ("9112 section 7.1", "half a line ending as data", b"1\r\n\r\r\n0\r\n\r\n", b"\r"),
    ("9112 section 7.1", "the other half as data", b"1\r\n\n\r\n0\r\n\r\n", b"\n"),
    ("9112 section 7.1", "a line ending that two chunks share", b"1\r\n\r\r\n1\r\n\n\r\n0\r\n\r\n", b"\r\n"),
    ("9112 section 7.1", "data that is no text", b"3\r\n\0\xFF\x1B\r\n0\r\n\r\n", b"\0\xFF\x1B"),
    (
        "9112 section 7.1",
        "what looks like a request, as data",
        b"12\r\nGET / HTTP/1.1\r\n\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ),
    ("9112 section 7.1.1", "an extension without a value", b"5;a\r\nhello\r\n0\r\n\r\n", b"hello"),
    ("9112 section 7.1.1", "several extensions", b"5;a;b=c;d=\"e\";a\r\nhello\r\n0\r\n\r\n", b"hello"),
    ("9112 section 7.1.1", "an extension that looks like a size", b"5;5=0\r\nhello\r\n0\r\n\r\n", b"hello"),
    ("9112 section 7.1.1", "an extension of the last chunk", b"5\r\nhello\r\n00;a=b\r\n\r\n", b"hello"),
    ("9110 section 5.6.4", "an extension of an empty string", b"5;a=\"\"\r\nhello\r\n0\r\n\r\n", b"hello"),
    ("9110 section 5.3", "a trailer twice", b"0\r\nT: 1\r\nt: 2\r\n\r\n", b""),
    ("9110 section 5.1", "a trailer that looks like a chunk", b"0\r\n5: hello\r\n0:\r\n\r\n", b""),
    ("9112 section 5.1", "whitespace around a trailer's value", b"0\r\nT:\t 1 \r\n\r\n", b""),
    ("9110 section 5.5", "a tab in a trailer", b"0\r\nT: 1\t2\r\n\r\n", b""),
    ("9110 section 5.6.1.2", "a trailer of empty members", b"0\r\nT: , \"a,b\" ,\r\n\r\n", b""),
];

fn read(bytes: &[u8]) -> (Message<()>, Ending) {
    let whole = read_chunks(bytes, Arrival::Whole);
    for arrival in (0..bytes.len()).map(Arrival::Cut).chain([Arrival::Bytewise]) {
        assert_eq!(read_chunks(bytes, arrival), whole, "{arrival:?} of {}", bytes.escape_ascii());
    }
    whole
}

const _: () =
    assert!(ODD_BUT_LEGAL_CHUNKS.len() >= HOSTILE_CHUNKS.len(), "who refuses everything would pass too");

#[test]
fn hostile_chunks_are_refused_by_the_rule_they_break() {
    for (rule, bytes, refusal) in HOSTILE_CHUNKS {
        let (_, ending) = read(bytes);
        assert_eq!(ending, Ending::BodyRefused(B::Chunks(*refusal)), "{}", bytes.escape_ascii());
        assert!(refusal.to_string().ends_with(&format!("(RFC {rule})")), "{refusal} is not {rule}");
    }
}

#[test]
fn odd_but_legal_chunks_pass() {
    for (_, what, bytes, body) in ODD_BUT_LEGAL_CHUNKS {
        let (message, ending) = read(bytes);
        assert_eq!((ending, message.body.as_slice()), (Ending::Orderly, *body), "{what}");
        chunks_have_one_reading(bytes);
    }
}

#[test]
fn an_extension_of_256_bytes_passes_and_one_more_does_not() {
    let chunks = |length: usize| format!("1;{}\r\na\r\n0\r\n\r\n", "e".repeat(length - 1)).into_bytes();
    assert_eq!(read(&chunks(256)).1, Ending::Orderly);
    assert_eq!(read(&chunks(257)).1, Ending::BodyRefused(B::Chunks(C::ExtensionTooLong)));
    let spaces = format!("1{};a\r\n", " ".repeat(256)).into_bytes();
    assert_eq!(read(&spaces).1, Ending::BodyRefused(B::Chunks(C::ExtensionTooLong)));
}

#[test]
fn trailers_are_read_and_bounded() {
    let (message, _) = read(b"0\r\nT: 1\r\nt:2 \r\n\r\n");
    assert_eq!(message.trailers, [("T".to_owned(), b"1".to_vec()), ("t".to_owned(), b"2".to_vec())]);
    let long = format!("0\r\nT: {}\r\n\r\n", "t".repeat(8 * 1024)).into_bytes();
    let refused = Ending::BodyRefused(B::Chunks(C::TrailerLines(L::TooLong)));
    assert_eq!(read_chunks(&long, Arrival::Whole).1, refused);
    let many = format!("0\r\n{}\r\n", "T: 1\r\n".repeat(101)).into_bytes();
    let refused = Ending::BodyRefused(B::Chunks(C::TrailerField(F::TooMany)));
    assert_eq!(read_chunks(&many, Arrival::Bytewise).1, refused);
}

#[test]
fn the_largest_size_is_counted_without_overflow() {
    let mut decoder = BodyDecoder::new(Framing::Chunked);
    assert_eq!(decoder.decode(b"ffffffffffffffff\r\nab"), Ok(Step::Data(18..20)));
    assert_eq!(decoder.decode(b"cd"), Ok(Step::Data(0..2)));
    let mut decoder = BodyDecoder::new(Framing::Length(u64::MAX));
    assert_eq!(decoder.decode(b"ab"), Ok(Step::Data(0..2)));
    assert!(!decoder.is_done());
}

#[test]
fn a_body_without_bytes_is_over_before_it_begins() {
    for framing in [Framing::None, Framing::Declared(9), Framing::Length(0)] {
        let mut decoder = BodyDecoder::new(framing);
        assert!(decoder.is_done());
        assert_eq!(decoder.decode(b"GET / HTTP/1.1\r\n"), Ok(Step::End { used: 0 }));
    }
}

#[test]
fn a_body_until_the_close_never_frees_its_connection() {
    let mut decoder = BodyDecoder::new(Framing::UntilClose);
    assert_eq!(decoder.decode(b"0\r\n\r\n"), Ok(Step::Data(0..5)));
    assert_eq!((decoder.closed(), decoder.is_done()), (Ok(()), false));
}

#[test]
fn an_empty_piece_of_data_does_not_look_like_the_last_chunk() {
    let frame = BodyEncoder::new(Framing::Chunked).frame(0).unwrap();
    assert_eq!((frame.before(), frame.after()), (b"".as_slice(), b"".as_slice()));
}

#[test]
fn chunk_sizes_are_written_in_plain_hexadecimal() {
    for (length, before) in [(1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (65_536, "10000\r\n")] {
        let frame = BodyEncoder::new(Framing::Chunked).frame(length).unwrap();
        assert_eq!((frame.before(), frame.after()), (before.as_bytes(), b"\r\n".as_slice()));
    }
    let frame = BodyEncoder::new(Framing::Chunked).frame(usize::MAX).unwrap();
    assert_eq!(frame.before(), b"ffffffffffffffff\r\n");
}

#[test]
fn a_stated_length_is_kept_exactly() {
    let mut out = Buffer::new();
    let mut encoder = BodyEncoder::new(Framing::Length(3));
    assert!(encoder.frame(2).is_ok());
    assert_eq!(encoder.frame(2).err(), Some(EncodeError::TooLong));
    assert!(encoder.frame(1).is_ok());
    assert_eq!(encoder.end([], &mut out), Ok(()));
    assert_eq!(BodyEncoder::new(Framing::Length(1)).end([], &mut out), Err(EncodeError::TooShort));
    assert_eq!(BodyEncoder::new(Framing::None).frame(1).err(), Some(EncodeError::TooLong));
    assert!(out.is_empty());
}

#[test]
fn trailers_end_chunks_and_nothing_else() {
    let trailer = Field { name: "T", value: b"1" };
    for (framing, end) in
        [(Framing::Chunked, "0\r\nT: 1\r\n\r\n"), (Framing::UntilClose, ""), (Framing::None, "")]
    {
        let mut out = Buffer::new();
        BodyEncoder::new(framing).end([trailer], &mut out).unwrap();
        assert_eq!(out.bytes(), end.as_bytes());
    }
    let mut out = Buffer::new();
    let split = Field { name: "T", value: b"1\r\n\r\nHTTP/1.1 200 OK" };
    let refused = Err(EncodeError::Trailers(WriteError::FieldValue));
    assert_eq!(BodyEncoder::new(Framing::Chunked).end([trailer, split], &mut out), refused);
    assert!(out.is_empty());
}

#[test]
fn heads_are_written_from_their_parts() {
    let mut out = Buffer::new();
    let mut head = HeadWriter::request(&mut out, "POST", "/a?b", "x:8443").unwrap();
    head.field("Authorization", b"Bearer kl-test-value").unwrap();
    head.finish(Framing::Length(0), Persistence::KeepAlive).unwrap();
    let request = "POST /a?b HTTP/1.1\r\nHost: x:8443\r\nAuthorization: Bearer kl-test-value\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(out.bytes(), request.as_bytes());
    // (framing, persistence, fields)
    for (framing, persistence, fields) in [
        (Framing::None, Persistence::KeepAlive, ""),
        (Framing::Declared(1234), Persistence::KeepAlive, "Content-Length: 1234\r\n"),
        (
            Framing::Length(u64::MAX),
            Persistence::Close,
            "Content-Length: 18446744073709551615\r\nConnection: close\r\n",
        ),
        (Framing::Chunked, Persistence::KeepAlive, "Transfer-Encoding: chunked\r\n"),
        (Framing::UntilClose, Persistence::KeepAlive, "Connection: close\r\n"),
    ] {
        let mut out = Buffer::new();
        HeadWriter::response(&mut out, 200, b"OK").unwrap().finish(framing, persistence).unwrap();
        assert_eq!(out.bytes(), format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes());
    }
}

#[test]
fn no_part_can_start_a_line_of_its_own() {
    // (method, target, host)
    for (method, target, host) in [
        ("GET ", "/", "x"),
        ("", "/", "x"),
        ("GET / HTTP/1.1\r\nA:", "/", "x"),
        ("GET", "/ HTTP/1.1\r\nA: b", "x"),
        ("GET", "/a b", "x"),
        ("GET", "http://y/", "x"),
        ("GET", "*", "x"),
        ("GET", "/#a", "x"),
        ("GET", "", "x"),
        ("GET", "/", "x\r\nA: b"),
        ("GET", "/", "user@x"),
        ("GET", "/", ""),
    ] {
        let mut out = Buffer::new();
        let refused = HeadWriter::request(&mut out, method, target, host).err();
        assert_eq!(refused, Some(WriteError::StartLine), "{method} {target} {host}");
    }
    for (status, reason) in [(100, "Continue"), (199, ""), (600, ""), (200, "OK\r\nA: b"), (200, "\0")] {
        let mut out = Buffer::new();
        let refused = HeadWriter::response(&mut out, status, reason.as_bytes()).err();
        assert_eq!(refused, Some(WriteError::StartLine), "{status} {reason}");
    }
    // (name, value, refusal)
    for (name, value, refusal) in [
        ("A", "b\r\nC: d", WriteError::FieldValue),
        ("A", "b\n", WriteError::FieldValue),
        ("A", "b\0c", WriteError::FieldValue),
        ("A", "\x7F", WriteError::FieldValue),
        ("A", " b", WriteError::FieldValue),
        ("A", "b\t", WriteError::FieldValue),
        ("A ", "b", WriteError::FieldName),
        ("", "b", WriteError::FieldName),
        ("A\r\nB", "c", WriteError::FieldName),
        ("A:", "b", WriteError::FieldName),
        ("Host", "y", WriteError::Reserved),
        ("CONTENT-LENGTH", "1", WriteError::Reserved),
        ("transfer-encoding", "chunked", WriteError::Reserved),
        ("Connection", "authorization", WriteError::Reserved),
    ] {
        let mut out = Buffer::new();
        let mut head = HeadWriter::request(&mut out, "GET", "/", "x").unwrap();
        assert_eq!(head.field(name, value.as_bytes()), Err(refusal), "{name}: {value}");
    }
}

#[test]
fn an_unfinished_head_leaves_nothing_behind() {
    let mut out = Buffer::new();
    out.push(b"before|").unwrap();
    let mut head = HeadWriter::request(&mut out, "GET", "/", "x").unwrap();
    head.field("Authorization", b"Bearer kl-test-value").unwrap();
    assert_eq!(head.field("A", &vec![b'a'; HEAD_LIMIT]), Err(WriteError::Full(Full)));
    drop(head);
    assert_eq!(out.bytes(), b"before|");
    let spare = out.space();
    assert!(spare.iter().all(|byte| *byte == 0));
}

#[test]
fn a_request_never_has_the_framing_of_a_response() {
    for framing in [Framing::UntilClose, Framing::Declared(1)] {
        let mut out = Buffer::new();
        let head = HeadWriter::request(&mut out, "GET", "/", "x").unwrap();
        assert_eq!(head.finish(framing, Persistence::KeepAlive), Err(WriteError::Framing));
        assert!(out.is_empty());
    }
}
