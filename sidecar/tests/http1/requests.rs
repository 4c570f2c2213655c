//! Requests: the tables, and what no table shows.

mod tables;

use keylend_sidecar::http1::{
    Buffer, Expectation, FieldError as F, Framing, HEAD_LIMIT, HeadError as H, LineError as L, Persistence,
    RequestReader,
};

use self::tables::{HOSTILE, ODD_BUT_LEGAL};
use crate::properties::{Arrival, Ending, SeenRequest, Transcript, read_requests, requests_have_one_reading};

/// Read whole, and split at every byte, and byte by byte: always the same.
fn read(bytes: &[u8]) -> Transcript<SeenRequest> {
    let whole = read_requests(bytes, Arrival::Whole);
    for arrival in (0..bytes.len()).map(Arrival::Cut).chain([Arrival::Bytewise]) {
        assert_eq!(read_requests(bytes, arrival), whole, "{arrival:?} of {}", bytes.escape_ascii());
    }
    whole
}

const _: () = assert!(ODD_BUT_LEGAL.len() >= HOSTILE.len(), "who refuses everything would pass too");

#[test]
fn hostile_requests_are_refused_by_the_rule_they_break() {
    for (rule, bytes, refusal) in HOSTILE {
        let seen = read(bytes);
        assert_eq!(seen.ending, Ending::HeadRefused(*refusal), "{}", bytes.escape_ascii());
        assert!(seen.messages.is_empty(), "{}", bytes.escape_ascii());
        assert!(refusal.to_string().ends_with(&format!("(RFC {rule})")), "{refusal} is not {rule}");
    }
}

#[test]
fn odd_but_legal_requests_pass() {
    for (_, what, bytes, count, bodies) in ODD_BUT_LEGAL {
        let seen = read(bytes);
        assert_eq!(seen.ending, Ending::Orderly, "{what}");
        assert_eq!(seen.messages.len(), *count, "{what}");
        let read: Vec<u8> = seen.messages.into_iter().flat_map(|message| message.body).collect();
        assert_eq!(read, *bodies, "{what}");
        requests_have_one_reading(bytes);
    }
}

#[test]
fn a_head_is_read_into_its_parts() {
    let bytes = b"pOsT http://x:80/a/%41?b=c HTTP/1.1\r\nHost: x:80\r\nX-A:  b, c \r\nx-a:\r\nExpect: 100-continue\r\n\
                  Connection: close\r\nContent-Length: 1\r\n\r\n!";
    let seen = read(bytes).messages.remove(0);
    let head = SeenRequest {
        method: "pOsT".into(),
        authority: Some("x:80".into()),
        target: "/a/%41?b=c".into(),
        host: "x:80".into(),
        fields: vec![
            ("X-A".into(), b"b, c".to_vec()),
            ("x-a".into(), vec![]),
            ("Expect".into(), b"100-continue".to_vec()),
        ],
        framing: Framing::Length(1),
        expectation: Expectation::Continue,
        persistence: Persistence::Close,
    };
    assert_eq!(seen.head, head);
}

#[test]
fn a_head_taken_out_leaves_nothing_but_what_follows_it() {
    let (mut input, bytes) = (Buffer::new(), b"GET / HTTP/1.1\r\nHost: x\r\nA: kl-test-value\r\n\r\n");
    input.push(bytes).unwrap();
    input.push(b"rest").unwrap();
    let head = RequestReader::new().head(&mut input).ok().flatten().unwrap();
    assert_eq!(head.raw(), bytes);
    assert_eq!(input.bytes(), b"rest");
}

fn with_fields(count: usize) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-A: b\r\n".repeat(count - 1)).into_bytes()
}

#[test]
fn a_hundred_fields_pass_and_one_more_does_not() {
    assert_eq!(read_requests(&with_fields(100), Arrival::Whole).messages[0].head.fields.len(), 99);
    let refused = Ending::HeadRefused(H::Fields(F::TooMany));
    assert_eq!(read_requests(&with_fields(101), Arrival::Bytewise).ending, refused);
}

#[test]
fn a_head_of_32_kib_passes_and_one_byte_more_does_not() {
    let head = |length: usize| {
        let around = "GET / HTTP/1.1\r\nHost: x\r\n\r\n".len();
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(length - around)).into_bytes()
    };
    for arrival in [Arrival::Whole, Arrival::Bytewise, Arrival::Cut(HEAD_LIMIT)] {
        let seen = read_requests(&head(HEAD_LIMIT), arrival);
        assert_eq!((seen.ending, seen.messages.len()), (Ending::Orderly, 1), "{arrival:?}");
        let refused = Ending::HeadRefused(H::Lines(L::TooLong));
        assert_eq!(read_requests(&head(HEAD_LIMIT + 1), arrival).ending, refused, "{arrival:?}");
    }
}

#[test]
fn more_connection_options_than_any_client_sends_are_refused() {
    let request =
        |count: usize| format!("GET / HTTP/1.1\r\nHost: x\r\nConnection: {}\r\n\r\n", "a,".repeat(count));
    assert_eq!(read_requests(request(32).as_bytes(), Arrival::Whole).ending, Ending::Orderly);
    let refused = Ending::HeadRefused(H::Connection);
    assert_eq!(read_requests(request(33).as_bytes(), Arrival::Whole).ending, refused);
}

#[test]
fn a_connection_that_ends_inside_a_request_is_told_from_one_that_ends_between() {
    let bytes = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi";
    for length in 1..bytes.len() {
        assert_eq!(read(&bytes[..length]).ending, Ending::Incomplete, "{length}");
    }
    assert_eq!(read(bytes).ending, Ending::Orderly);
    assert_eq!(read(b"").ending, Ending::Orderly);
}
