//! Responses that must be refused, each by the rule it breaks, and responses that look odd but must pass.

use keylend_sidecar::http1::{
    Asked, BodyError, Buffer, FieldError as F, Framing, FramingError as R, HeadError as H, LineError as L,
    Persistence, ResponseReader,
};

use crate::properties::{
    Arrival, Ending, SeenResponse, Transcript, read_response, responses_have_one_reading,
};

/// (rule, response, refusal)
const HOSTILE: &[(&str, &[u8], H)] = &[
    // Framing.
    (
        "9112 section 6.1",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        H::Framing(R::LengthAndCoding),
    ),
    (
        "9112 section 6.3",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
        H::Framing(R::LengthRepeated),
    ),
    ("9110 section 8.6", b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi", H::Framing(R::LengthInvalid)),
    ("9110 section 8.6", b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n", H::Framing(R::LengthInvalid)),
    (
        "9110 section 8.6",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        H::Framing(R::LengthOverflow),
    ),
    ("9112 section 6.1", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", CODING),
    ("9112 section 6.1", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n", CODING),
    (
        "9112 section 6.1",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
        H::Framing(R::CodingRepeated),
    ),
    ("9112 section 6.3", b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nhi", FORBIDDEN),
    (
        "9112 section 6.3",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        FORBIDDEN,
    ),
    ("9112 section 6.3", b"HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\nhi", FORBIDDEN),
    // Lines.
    ("9112 section 2.2", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", H::Lines(L::BareLf)),
    ("9112 section 2.2", b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", H::Lines(L::BareCr)),
    ("9112 section 2.2", b"\r\nHTTP/1.1 200 OK\r\n\r\n", H::Lines(L::EmptyStart)),
    ("9112 section 2.2", b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n", H::Lines(L::LeadingSpace)),
    ("9112 section 5.2", b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", H::Lines(L::ObsFold)),
    // The status line.
    ("9112 section 4", b"HTTP/1.1 20 OK\r\n\r\n", H::StatusLine),
    ("9112 section 4", b"HTTP/1.1 2000 OK\r\n\r\n", H::StatusLine),
    ("9112 section 4", b"HTTP/1.1 +20 OK\r\n\r\n", H::StatusLine),
    ("9112 section 4", b"HTTP/1.1  200 OK\r\n\r\n", H::StatusLine),
    ("9112 section 4", b"HTTP/1.1 200\tOK\r\n\r\n", H::StatusLine),
    ("9112 section 4", b"HTTP/1.1 200 O\0K\r\n\r\n", H::StatusLine),
    ("9112 section 2.3", b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", H::Version),
    ("9112 section 2.3", b"HTTP/2 200\r\n\r\n", H::Version),
    ("9112 section 2.3", b"http/1.1 200 OK\r\n\r\n", H::Version),
    ("9112 section 2.3", b"ICY 200 OK\r\n\r\n", H::Version),
    ("9112 section 2.3", b"<html>hello</html>\r\n\r\n", H::Version),
    ("9112 section 2.3", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", H::Version),
    ("9110 section 15", b"HTTP/1.1 099 Low\r\n\r\n", H::StatusCode),
    ("9110 section 15", b"HTTP/1.1 600 High\r\n\r\n", H::StatusCode),
    ("9110 section 15.2.2", b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n", H::SwitchingProtocols),
    // Fields.
    ("9110 section 5.1", b"HTTP/1.1 200 OK\r\n: b\r\n\r\n", H::Fields(F::Name)),
    ("9110 section 5.1", b"HTTP/1.1 200 OK\r\nnothing\r\n\r\n", H::Fields(F::Name)),
    ("9110 section 5.1", b"HTTP/1.1 200 OK\r\nA\xE9: c\r\n\r\n", H::Fields(F::Name)),
    ("9112 section 5.1", b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nhi", H::Fields(F::SpaceBeforeColon)),
    ("9110 section 5.5", b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n", H::Fields(F::Control)),
    ("9110 section 7.6.1", b"HTTP/1.1 200 OK\r\nConnection: a b\r\n\r\n", H::Connection),
];

const CODING: H = H::Framing(R::CodingUnknown);
const FORBIDDEN: H = H::Framing(R::BodyForbidden);

/// (rule, what is odd, response, framing, body)
type Odd = (&'static str, &'static str, &'static [u8], Framing, &'static [u8]);

const ODD_BUT_LEGAL: &[Odd] = &[
    ("9112 section 6.2", "a counted body", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", Framing::Length(2), b"hi"),
    ("9112 section 6.2", "an empty body", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Framing::Length(0), b""),
    ("9110 section 8.6", "leading zeros", b"HTTP/1.1 200 OK\r\nContent-Length: 002\r\n\r\nhi", Framing::Length(2), b"hi"),
    ("9112 section 7.1", "chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", Framing::Chunked, b"hi"),
    ("9112 section 7", "Chunked", b"HTTP/1.1 200 OK\r\ntransfer-encoding:Chunked\t\r\n\r\n0\r\n\r\n", Framing::Chunked, b""),
    ("9112 section 6.3", "until the close", b"HTTP/1.1 200 OK\r\n\r\nhi", Framing::UntilClose, b"hi"),
    ("9112 section 9.6", "until the close, saying so", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhi", Framing::UntilClose, b"hi"),
    ("9112 section 6.3", "until the close, empty", b"HTTP/1.1 200 OK\r\n\r\n", Framing::UntilClose, b""),
    ("9112 section 6.3", "until the close, keep-alive", b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n\r\n", Framing::UntilClose, b"\r\n"),
    ("9112 section 4", "no reason", b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", Framing::Length(0), b""),
    ("9112 section 4", "no reason and no space", b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", Framing::Length(0), b""),
    ("9112 section 4", "a long reason", b"HTTP/1.1 200 Quite\tall right, thanks\r\nContent-Length: 0\r\n\r\n", Framing::Length(0), b""),
    ("9112 section 4", "a reason beyond ASCII", b"HTTP/1.1 404 Nicht verf\xFCgbar\r\nContent-Length: 0\r\n\r\n", Framing::Length(0), b""),
    ("9112 section 4", "a reason of colons", b"HTTP/1.1 200 a: b\r\nContent-Length: 0\r\n\r\n", Framing::Length(0), b""),
    ("9110 section 5.5", "a value in UTF-8", b"HTTP/1.1 200 OK\r\nA: \xC3\xA9\r\nContent-Length: 0\r\n\r\n", Framing::Length(0), b""),
    ("9110 section 5.5", "a value in Latin-1", b"HTTP/1.1 200 OK\r\nA: \xE9\r\nContent-Length: 0\r\n\r\n", Framing::Length(0), b""),
    ("9110 section 5.5", "an empty value", b"HTTP/1.1 200 OK\r\nA:\r\nContent-Length: 0\r\n\r\n", Framing::Length(0), b""),
    ("9112 section 5.1", "whitespace around a value", b"HTTP/1.1 200 OK\r\nA:\t b \t\r\nContent-Length: 0\r\n\r\n", Framing::Length(0), b""),
    ("9110 section 5.3", "cookies", b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n", Framing::Length(0), b""),
    ("9110 section 15", "an unknown status", b"HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n", Framing::Length(0), b""),
    ("9110 section 15", "the highest status", b"HTTP/1.1 599 Odd\r\nContent-Length: 0\r\n\r\n", Framing::Length(0), b""),
    ("9110 section 15.3.5", "204", b"HTTP/1.1 204 No Content\r\n\r\n", Framing::None, b""),
    ("9110 section 8.6", "204 with a length of zero", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", Framing::None, b""),
    ("9110 section 15.4.5", "304", b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n", Framing::None, b""),
    ("9110 section 8.6", "304 with a length", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", Framing::Declared(9), b""),
    ("9112 section 6.1", "304 with chunks announced", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", Framing::None, b""),
    ("9110 section 15.3.6", "205", b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", Framing::Length(0), b""),
    ("9110 section 15.2.1", "an interim response", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Framing::Length(0), b""),
    (
        "8297 section 2",
        "hints",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
        Framing::Length(1),
        b"a",
    ),
    ("9110 section 15.5.22", "426", b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: h2\r\nContent-Length: 0\r\n\r\n", Framing::Length(0), b""),
    ("9110 section 15.4.3", "a redirect", b"HTTP/1.1 302 Found\r\nLocation: http://y/\r\nContent-Length: 0\r\n\r\n", Framing::Length(0), b""),
    (
        "9112 section 7.1.2",
        "trailers",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n1\r\na\r\n0\r\nT: 1\r\n\r\n",
        Framing::Chunked,
        b"a",
    ),
    (
        "9112 section 7.1",
        "an event stream",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\n0\r\n\r\n",
        Framing::Chunked,
        b"data: a\n\n",
    ),
    (
        "9110 section 7.6.1",
        "what nginx sends",
        b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Fri, 21 Nov 2025 09:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nhi",
        Framing::Length(2),
        b"hi",
    ),
    ("9112 section 4", "a reason of a space", b"HTTP/1.1 200  \r\nContent-Length: 0\r\n\r\n", Framing::Length(0), b""),
    ("9110 section 15.1", "an interim response of a kind unheard of", b"HTTP/1.1 199 Odd\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Framing::Length(0), b""),
    ("9112 section 7.1.1", "an extension of a chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=\"b\"\r\nhi\r\n0\r\n\r\n", Framing::Chunked, b"hi"),
    (
        "9112 section 6.3",
        "what looks like a response, in a body",
        b"HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        Framing::Length(19),
        b"HTTP/1.1 200 OK\r\n\r\n",
    ),
    ("9110 section 11.6.1", "two challenges in one field", b"HTTP/1.1 401 No\r\nWWW-Authenticate: A b=\"c\", d=e, F g=h\r\nContent-Length: 0\r\n\r\n", Framing::Length(0), b""),
    ("9110 section 5.6.7", "a date of asctime", b"HTTP/1.1 200 OK\r\nDate: Sun Nov  6 08:49:37 1994\r\nContent-Length: 0\r\n\r\n", Framing::Length(0), b""),
    ("9110 section 10.2.4", "comments in Server", b"HTTP/1.1 200 OK\r\nServer: a/1 (b (c)) d\r\nContent-Length: 0\r\n\r\n", Framing::Length(0), b""),
];

fn read(bytes: &[u8], asked: Asked) -> Transcript<SeenResponse> {
    let whole = read_response(bytes, asked, Arrival::Whole);
    for arrival in (0..bytes.len()).map(Arrival::Cut).chain([Arrival::Bytewise]) {
        assert_eq!(read_response(bytes, asked, arrival), whole, "{arrival:?} of {}", bytes.escape_ascii());
    }
    whole
}

const _: () = assert!(ODD_BUT_LEGAL.len() >= HOSTILE.len(), "who refuses everything would pass too");

#[test]
fn hostile_responses_are_refused_by_the_rule_they_break() {
    for (rule, bytes, refusal) in HOSTILE {
        let seen = read(bytes, Asked::Other);
        assert_eq!(seen.ending, Ending::HeadRefused(*refusal), "{}", bytes.escape_ascii());
        assert!(seen.messages.is_empty(), "{}", bytes.escape_ascii());
        assert!(refusal.to_string().ends_with(&format!("(RFC {rule})")), "{refusal} is not {rule}");
    }
}

#[test]
fn odd_but_legal_responses_pass() {
    for (_, what, bytes, framing, body) in ODD_BUT_LEGAL {
        let seen = read(bytes, Asked::Other);
        assert_eq!(seen.ending, Ending::Orderly, "{what}");
        assert_eq!(seen.messages[0].head.framing, *framing, "{what}");
        assert_eq!(seen.messages[0].body, *body, "{what}");
        responses_have_one_reading(bytes, Asked::Other);
        responses_have_one_reading(bytes, Asked::Head);
    }
}

#[test]
fn an_answer_to_head_has_no_body_whatever_it_states() {
    // (fields, framing)
    for (fields, framing) in [
        ("Content-Length: 9\r\n", Framing::Declared(9)),
        ("Transfer-Encoding: chunked\r\n", Framing::None),
        ("", Framing::None),
    ] {
        let seen = read(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes(), Asked::by("HEAD"));
        assert_eq!((seen.messages[0].head.framing, seen.ending), (framing, Ending::Orderly), "{fields}");
        assert_eq!(seen.messages[0].head.persistence, Persistence::KeepAlive, "{fields}");
    }
}

#[test]
fn only_the_method_head_is_head() {
    for method in ["GET", "head", "HEADER", ""] {
        assert_eq!(Asked::by(method), Asked::Other);
    }
}

#[test]
fn a_connection_is_not_used_again_after_close_or_a_body_without_end() {
    // (fields, persistence)
    for (fields, persistence) in [
        ("Content-Length: 0\r\n", Persistence::KeepAlive),
        ("Content-Length: 0\r\nConnection: x, ClOsE\r\n", Persistence::Close),
        ("Content-Length: 0\r\nConnection: closed\r\n", Persistence::KeepAlive),
        ("Connection: keep-alive\r\n", Persistence::Close),
    ] {
        let seen = read(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes(), Asked::Other);
        assert_eq!(seen.messages[0].head.persistence, persistence, "{fields}");
    }
}

#[test]
fn eight_interim_responses_pass_and_a_ninth_does_not() {
    let answer = |interim: usize| {
        let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(interim);
        format!("{interim}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").into_bytes()
    };
    assert_eq!(read(&answer(8), Asked::Other).ending, Ending::Orderly);
    assert_eq!(read(&answer(9), Asked::Other).ending, Ending::HeadRefused(H::TooManyInterim));
}

#[test]
fn a_response_that_ends_early_is_incomplete() {
    for bytes in [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".as_slice(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nT: 1\r\n\r\n",
    ] {
        for length in 0..bytes.len() {
            assert_eq!(read(&bytes[..length], Asked::Other).ending, Ending::Incomplete, "{length}");
        }
    }
    assert_eq!(
        BodyError::Incomplete.to_string(),
        "the connection closed before the body ended (RFC 9112 section 8)"
    );
}

#[test]
fn what_follows_a_response_stays_in_the_buffer() {
    let mut input = Buffer::new();
    input.push(b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 Unasked\r\n\r\n").unwrap();
    assert!(ResponseReader::new(Asked::Other).head(&mut input).ok().flatten().is_some());
    assert_eq!(input.bytes(), b"HTTP/1.1 200 Unasked\r\n\r\n");
}

#[test]
fn masking_reaches_reason_names_and_values() {
    let mut input = Buffer::new();
    input.push(b"HTTP/1.1 200 kl-test\r\nkl-test: a kl-test b\r\nkl-test:\r\n\r\n").unwrap();
    let mut head = ResponseReader::new(Asked::Other).head(&mut input).ok().flatten().unwrap();
    head.mask(|text| {
        while let Some(at) = text.windows(7).position(|window| window == b"kl-test") {
            text[at..at + 7].fill(b'*');
        }
    });
    assert_eq!(head.raw(), b"HTTP/1.1 200 *******\r\n*******: a ******* b\r\n*******:\r\n\r\n");
    assert_eq!(head.reason(), b"*******");
    assert_eq!(head.fields().all("*******").collect::<Vec<_>>(), [b"a ******* b".as_slice(), b""]);
}
