//! The properties, for bytes that look enough like HTTP to get past the first line.

use keylend_sidecar::http1::Asked;
use proptest::{collection::vec, prelude::*, sample::select};

use crate::properties::{
    Arrival, Ending, chunks_have_one_reading, read_chunks, read_requests, read_response,
    requests_have_one_reading, responses_have_one_reading,
};

const REQUEST_PARTS: &[&[u8]] = &[
    b"GET ",
    b"POST ",
    b"/",
    b"/a?b",
    b"http://x/",
    b"*",
    b"#",
    b" HTTP/1.1\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n",
    b"POST /a?b HTTP/1.1\r\nHost: x:1\r\n",
    b"GET http://x HTTP/1.1\r\nHost: x\r\n",
    b"Host: x\r\n",
    b"X-A: ",
    b"b,c",
    b"Connection: close\r\n",
    b"Connection: x-a, keep-alive\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: CHUNKED\t\r\n",
    b"Expect: 100-continue\r\n",
    b"Upgrade: h2c\r\n",
    b"\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\r",
    b"\n",
    b" ",
    b"\t",
    b":",
    b"\0",
    b"\x80",
    b"abc",
    b"3\r\nabc\r\n0\r\n\r\n",
    b"0\r\nX-T: 1\r\n\r\n",
    b"3;x=y\r\n",
    b"HTTP/1.0",
];

const RESPONSE_PARTS: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 204\r\n",
    b"HTTP/1.1 304 \r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\n",
    b"HTTP/1.1 ",
    b"200",
    b"999",
    b" ",
    b"Reason \xFF",
    b"\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"X-A: \xE9\r\n",
    b"X-B:\r\n",
    b"abc",
    b"3\r\nabc\r\n0\r\n\r\n",
    b"0\r\nX-T: 1\r\n\r\n",
    b"\r",
    b"\n",
    b"\0",
];

const CHUNK_PARTS: &[&[u8]] = &[
    b"0\r\n",
    b"3\r\n",
    b"abc\r\n",
    b"3;x=y\r\nabc\r\n",
    b"3\r\nabc\r\n",
    b"0003\r\nabc\r\n",
    b"A\r\n0123456789\r\n",
    b"ffffffffffffffff\r\n",
    b"\r\n",
    b"\r\n",
    b"X-T: 1\r\n",
    b"X-U:2 \r\n",
    b";",
    b" ",
    b"\t",
    b"\r",
    b"\n",
    b"0",
    b"\0",
];

fn pieces(parts: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        9 => select(parts).prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 0..4),
    ];
    vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

/// What the fuzz target begins with.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/").to_owned() + target;
    let seeds: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|seed| std::fs::read(seed.unwrap().path()).unwrap()).collect();
    assert!(!seeds.is_empty(), "{target}");
    seeds
}

#[test]
fn the_seeds_of_the_fuzz_targets_are_read_alike_too_and_to_their_end() {
    for bytes in seeds("http1_request") {
        requests_have_one_reading(&bytes);
        assert_eq!(read_requests(&bytes, Arrival::Whole).ending, Ending::Orderly);
    }
    for bytes in seeds("http1_response") {
        responses_have_one_reading(&bytes, Asked::Other);
        assert_eq!(read_response(&bytes, Asked::Other, Arrival::Whole).ending, Ending::Orderly);
    }
    for bytes in seeds("http1_chunks") {
        chunks_have_one_reading(&bytes);
        assert_eq!(read_chunks(&bytes, Arrival::Whole).1, Ending::Orderly);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_a_request_with_one_reading_or_none(bytes in vec(any::<u8>(), 0..200)) {
        requests_have_one_reading(&bytes);
        responses_have_one_reading(&bytes, Asked::Other);
        chunks_have_one_reading(&bytes);
    }

    #[test]
    fn requests_are_read_alike_and_survive_rewriting(bytes in pieces(REQUEST_PARTS)) {
        requests_have_one_reading(&bytes);
    }

    #[test]
    fn responses_are_read_alike_and_survive_rewriting(bytes in pieces(RESPONSE_PARTS)) {
        responses_have_one_reading(&bytes, Asked::Other);
        responses_have_one_reading(&bytes, Asked::Head);
    }

    #[test]
    fn chunks_are_read_alike_and_survive_rewriting(bytes in pieces(CHUNK_PARTS)) {
        chunks_have_one_reading(&bytes);
    }
}
