//! Whole calls on arbitrary bytes from both sides.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use keylend_contract::{
    refusal::Refusal,
    wire::{Ask, base64_text},
};
use keylend_sidecar::http1::{
    Asked, BodyDecoder, Buffer, HEAD_LIMIT, RequestHead, RequestReader, ResponseReader, Step, Target,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::{Builder, Runtime},
    time::{sleep, timeout},
};

use crate::{
    origin::{Act, At, Origin, Seen},
    whole::{HOST, VALUE, Whole},
};

/// Between the app's bytes and the upstream's.
const TURN: u8 = 0;
/// Stands for our Host in the app's bytes.
const NAME: u8 = 1;
/// At the end of the upstream's bytes: it closes then.
const CLOSE: u8 = 2;
/// At the beginning of the app's bytes: the operator refuses.
const REFUSED: u8 = 3;
/// Bytes that stand for the credential in the upstream's, each in another spelling.
const SPELT: [(u8, fn() -> Spelling); 8] = [
    (NAME, || each(|byte| char::from(byte).into())),
    (4, || base64(0)),
    (5, || base64(1)),
    (6, || base64(2)),
    (7, || each(|byte| format!("{byte:02x}"))),
    (8, || each(|byte| format!("%{byte:02X}"))),
    (11, || each(|byte| format!("\\u{byte:04x}"))),
    (12, || each(|byte| format!("&#{byte};"))),
];
/// Neither side has more to say.
const QUIET: Duration = Duration::from_millis(10);
/// Fewer than a codec's buffer holds, so that everything can be read back at once.
const MOST: usize = 8 * 1024;

/// After so many calls the records are long, and everything starts anew.
const CALLS: usize = 500;

/// One sidecar for many inputs: what one leaves behind meets the next.
struct Stage {
    runtime: Runtime,
    whole: Whole,
    origin: Origin,
    answer: Arc<Mutex<Vec<u8>>>,
}

static STAGE: LazyLock<Mutex<Stage>> = LazyLock::new(|| Mutex::new(Stage::new()));

/// Each request upstream is well-formed, is the one that the operator noted when it granted it, and carries the credential
/// exactly once; none follows a body on its connection; the app sees the credential in no spelling. Says in how many
/// replies it was masked.
pub fn calls_are_sent_once_and_show_nothing(bytes: &[u8]) -> usize {
    if bytes.len() > MOST {
        return 0;
    }
    let mut stage = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    // What failed once is no reason for the next to fail.
    if stage.whole.asks().len() > CALLS || STAGE.is_poisoned() {
        STAGE.clear_poison();
        *stage = Stage::new();
    }
    masked(&stage.play(bytes, QUIET, (0, 0)).1)
}

impl Stage {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let answer: Arc<Mutex<Vec<u8>>> = Arc::default();
        let said = answer.clone();
        let (origin, whole) = runtime.block_on(async move {
            let origin = Origin::start(HOST, At::Request, move |_| acts(&said.lock().unwrap())).await;
            let whole = Whole::before(&origin).await;
            (origin, whole)
        });
        Self { runtime, whole, origin, answer }
    }

    /// Lets both sides say their part of `bytes`, until they are `quiet` for so long, the origin has received so many
    /// requests in all, and so many replies are masked. Gives back how many requests it has, and the replies.
    fn play(&self, bytes: &[u8], quiet: Duration, (sent, shown): (usize, usize)) -> (usize, Vec<Vec<u8>>) {
        let turn = bytes.iter().position(|byte| *byte == TURN).unwrap_or(bytes.len());
        let (app, upstream) = (&bytes[..turn], bytes.get(turn + 1..).unwrap_or_default());
        let (refusal, app) = match app {
            [REFUSED, app @ ..] => (Some(Refusal::ShareRevoked { secret: "stripe".into() }), app),
            app => (None, app),
        };
        self.whole.change(|world| world.refusal = refusal);
        *self.answer.lock().unwrap() =
            spelt(upstream, &SPELT.map(|(byte, spelling)| (byte, spelling().text)));
        let app = spelt(app, &[(NAME, self.whole.address.to_string())]);
        let received = || self.origin.seen().iter().map(|seen| requests(&seen.received).len()).sum::<usize>();
        let done = |replied: &[u8]| received() >= sent && masked(&replies(replied)) >= shown;
        let replied = self.runtime.block_on(converse(&self.whole, &app, quiet, done));
        shows_nothing(&replied);
        let rows = self.whole.world.lock().unwrap().rows.clone();
        (are_on_rows_of_their_own(&self.origin.seen(), rows), replies(&replied))
    }
}

fn acts(answer: &[u8]) -> Vec<Act> {
    match answer {
        [answer @ .., CLOSE] => vec![Act::Send(answer.to_vec()), Act::Close],
        answer => vec![Act::Send(answer.to_vec())],
    }
}

fn spelt(bytes: &[u8], names: &[(u8, String)]) -> Vec<u8> {
    let name = |byte: &u8| names.iter().find(|(name, _)| name == byte).map(|(_, text)| text.as_bytes());
    bytes.iter().flat_map(|byte| name(byte).unwrap_or(std::slice::from_ref(byte)).to_vec()).collect()
}

/// The credential in a text, and the characters of it that hold nothing else.
struct Spelling {
    text: String,
    own: Range<usize>,
}

fn each(spelt: fn(u8) -> String) -> Spelling {
    let text = VALUE.bytes().map(spelt).collect::<Vec<_>>().concat();
    Spelling { own: 0..text.len(), text }
}

/// With `before` bytes before the credential in its group of three.
fn base64(before: usize) -> Spelling {
    let own = (8 * before).div_ceil(6)..8 * (before + VALUE.len()) / 6;
    Spelling { text: base64_text(&[&b"ab"[..before], VALUE.as_bytes()].concat()), own }
}

async fn converse(whole: &Whole, bytes: &[u8], quiet: Duration, done: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(whole.address).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut replied = Vec::new();
    let conversing = async {
        while matches!(timeout(quiet, stream.read_buf(&mut replied)).await, Ok(Ok(1..))) || !done(&replied) {
            // An end is no reason to look for `done` all the time.
            sleep(Duration::from_millis(1)).await;
        }
    };
    // Whoever waits in vain for what it expects is told by what there is.
    let _ = timeout(Duration::from_secs(20), conversing).await;
    replied
}

/// Neither on the wire nor in what an app reads from it.
fn shows_nothing(replied: &[u8]) {
    let unshown = |bytes: &[u8], place: &str| {
        for Spelling { text, own } in SPELT.map(|(_, spelling)| spelling()) {
            let own = text[own].as_bytes();
            let shown = bytes.windows(own.len()).any(|part| part.eq_ignore_ascii_case(own));
            assert!(!shown, "{text} {place}");
        }
    };
    unshown(replied, "on the wire");
    for reply in replies(replied) {
        unshown(&reply, "in a reply");
    }
}

/// The replies in what an app was sent, each with its reason, its fields and its body in a line; the last one perhaps
/// cut short.
fn replies(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut found, mut input) = (Vec::new(), Buffer::new());
    if input.push(bytes).is_err() {
        return found;
    }
    while let Ok(Some(head)) = ResponseReader::new(Asked::Other).head(&mut input) {
        let fields = head.fields().iter().map(|field| field.value);
        let mut reply = [head.reason()].into_iter().chain(fields).collect::<Vec<_>>().join(&b'\n');
        reply.push(b'\n');
        let whole = read(&mut input, BodyDecoder::new(head.framing()), &mut reply);
        found.push(reply);
        if whole.is_none() {
            break;
        }
    }
    found
}

/// How many of `replies` hold the credential masked.
fn masked(replies: &[Vec<u8>]) -> usize {
    let mask = [b'*'; VALUE.len()];
    replies.iter().filter(|reply| reply.windows(mask.len()).any(|part| part == mask)).count()
}

/// Takes one body out of `input`; none if it is not whole.
fn read(input: &mut Buffer, mut decoder: BodyDecoder, body: &mut Vec<u8>) -> Option<()> {
    loop {
        let step = decoder.decode(input.bytes()).ok()?;
        if let Step::Data(range) = &step {
            body.extend_from_slice(&input.bytes()[range.clone()]);
        }
        input.consume(step.used());
        match step {
            Step::Data(_) => {}
            Step::More { .. } => return None,
            Step::End { .. } => return Some(()),
        }
    }
}

/// Every request so far is the one that a row was noted for, and no other is.
fn are_on_rows_of_their_own(seen: &[Seen], rows: Vec<Ask>) -> usize {
    let noted = rows.len();
    let mut rows: HashMap<_, _> = rows.into_iter().map(|row| (row.trace.span_id.clone(), row)).collect();
    let calls: HashSet<_> = rows.values().map(|row| row.call.0).collect();
    assert_eq!((rows.len(), calls.len()), (noted, noted), "two rows of one name");
    let mut count = 0;
    let connections: Vec<_> = seen.iter().map(|seen| requests(&seen.received)).collect();
    let mut followed =
        connections.iter().filter_map(|heads| heads.split_last()).flat_map(|(_, before)| before);
    assert!(followed.all(|head| !head.has_body()), "a request came after a body");
    for head in connections.iter().flatten() {
        let credentials: Vec<_> = head.fields().all("authorization").collect();
        assert_eq!(credentials, [format!("Bearer {VALUE}").as_bytes()]);
        let trace = std::str::from_utf8(head.fields().all("traceparent").next().unwrap()).unwrap();
        let [_, trace, span, _] = trace.split('-').collect::<Vec<_>>()[..] else { panic!("{trace}") };
        let row = rows.remove(span).expect("a request upstream without a row of its own");
        let Target::Origin { path, .. } = head.target() else { panic!("no origin-form") };
        assert_eq!((row.trace.trace_id.as_str(), &*row.method, &*row.path), (trace, head.method(), path));
        count += 1;
    }
    count
}

/// The requests in what an origin received; all of it must be requests, the last one perhaps cut short.
fn requests(mut received: &[u8]) -> Vec<RequestHead> {
    let mut heads = Vec::new();
    while !received.is_empty() {
        let mut input = Buffer::new();
        let piece = received.len().min(HEAD_LIMIT);
        input.push(&received[..piece]).unwrap();
        let Some(head) = RequestReader::new().head(&mut input).unwrap() else { break };
        let decoder = BodyDecoder::new(head.framing());
        heads.push(head);
        if read(&mut input, decoder, &mut Vec::new()).is_none() {
            break;
        }
        received = &received[piece - input.bytes().len()..];
    }
    heads
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;
    use crate::origin::End;

    /// Nobody is slower than this.
    const PATIENCE: Duration = Duration::from_millis(300);

    /// Nothing but a part of the credential has so many bytes of it in a row.
    const PART: usize = 12;

    #[test]
    fn what_was_found_before_holds() {
        let (stage, mut expected) = (Stage::new(), 0);
        // (what both say, requests upstream, masked replies)
        for (bytes, sent, shown) in [
            (&b"GET /r/ HTTP/1.1\r\nHost: \x01\r\n\r\n\0HTTP/1.1 200 OK\r\nX: \x01\r\nContent-Length: 24\r\n\r\n\x01"[..], 1, 1),
            (b"GET /r/ HTTP/1.1\r\nHost: \x01\r\n\r\nGET /r/ HTTP/1.1\r\nHost: \x01\r\n\r\n\0HTTP/1.1 200 OK\r\n\r\n\x01\x02", 2, 2),
            (b"POST /r/ HTTP/1.1\r\nHost: \x01\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\0HTTP/1.1 200 \x01\r\nTransfer-Encoding: chunked\r\n\r\n18\r\n\x01\r\n0\r\nX: \x01\r\n\r\n", 1, 1),
            (b"POST /r/ HTTP/1.1\r\nHost: \x01\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc\0HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n\x01", 1, 0),
            (b"GET /r/ HTTP/1.1\r\nHost: \x01\r\n\r\n\0", 1, 0),
            (b"GET /r/ HTTP/1.1\r\nHost: \x01\r\nContent-Length: 4\r\n\r\nGET GET /r/ HTTP/1.1\r\nHost: \x01\r\n\r\n\0HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\x0b", 2, 0),
            (b"GET /r/ HTTP/1.1\r\nHost: \x01\r\n\r\n\0\x02", 1, 0),
            (b"\r\n\0\x01", 0, 0),
            (b"\x03GET /r/ HTTP/1.1\r\nHost: \x01\r\n\r\n\0HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n\x01", 0, 0),
            (b"GET /r/ HTTP/1.1\r\nHost: \x01\r\n\r\n\0HTTP/1.1 200 \x04\r\nX: \x05 \x06\r\nY: \x07\r\n\r\n\x08 \x06\x05\x02", 1, 1),
        ] {
            expected += sent;
            let (requests, replies) = stage.play(bytes, PATIENCE, (expected, shown));
            assert_eq!((requests, masked(&replies)), (expected, shown), "{}", bytes.escape_ascii());
            let part = |reply: &Vec<u8>| reply.windows(PART).any(|part| VALUE.as_bytes().windows(PART).any(|of| of == part));
            assert!(!replies.iter().any(part), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn the_seeds_of_the_fuzz_target_hold_too() {
        let (stage, folder) = (Stage::new(), concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/call/"));
        // (seed, masked replies)
        let table = [("chunked", 2), ("length", 1), ("refused", 0), ("spellings", 1)];
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), table.len());
        for (seed, shown) in table {
            let bytes = std::fs::read(folder.to_owned() + seed).unwrap();
            let (_, replies) = stage.play(&bytes, PATIENCE, (0, shown));
            assert_eq!(masked(&replies), shown, "{seed}");
        }
    }

    #[test]
    #[should_panic(expected = "on the wire")]
    fn a_credential_in_a_reply_is_found() {
        shows_nothing(VALUE.as_bytes());
    }

    #[test]
    #[should_panic(expected = "in a reply")]
    fn a_credential_in_two_chunks_is_found() {
        let (one, other) = VALUE.split_at(8);
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        shows_nothing(format!("{head}8\r\n{one}\r\n10\r\n{other}\r\n0\r\n\r\n").as_bytes());
    }

    #[test]
    #[should_panic(expected = "without a row of its own")]
    fn a_request_without_a_row_is_found() {
        let trace = format!("00-{}-{}-01", "a".repeat(32), "b".repeat(16));
        let head = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {VALUE}\r\n");
        let received = format!("{head}traceparent: {trace}\r\n\r\n").into_bytes();
        are_on_rows_of_their_own(&[Seen { received, end: End::Open, spoken: None, acts: 0 }], vec![]);
    }

    /// Often one of `whole` first, since pieces alone are hardly ever a request or an answer to one.
    fn pieces(
        whole: &'static [&'static str],
        pieces: &'static [&'static str],
    ) -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            9 => prop::sample::select(pieces).prop_map(|piece| piece.as_bytes().to_vec()),
            1 => prop::collection::vec(9_u8.., 0..4),
        ];
        let first = prop::option::of(prop::sample::select(whole));
        (first, prop::collection::vec(piece, 0..12))
            .prop_map(|(first, pieces)| [first.unwrap_or_default().as_bytes(), &pieces.concat()].concat())
    }

    const REQUESTS: &[&str] = &[
        "GET /r/ HTTP/1.1\r\nHost: \x01\r\n\r\n",
        "POST /r/a?b HTTP/1.1\r\nHost: \x01\r\nContent-Length: 3\r\n\r\nabc",
        "PUT /r/ HTTP/1.1\r\nHost: \x01\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ];
    const RESPONSES: &[&str] = &[
        "HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n\x01",
        "HTTP/1.1 200 \x01\r\nX: \x04\x05\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n18\r\n\x01\r\n0\r\nX: \x06\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n\x07,\x08",
    ];
    const APP: &[&str] = &[
        "\x03",
        "GET /r/ HTTP/1.1\r\nHost: \x01\r\n",
        "POST /r/a?b HTTP/1.1\r\nHost: \x01\r\n",
        "HEAD /r/ HTTP/1.1\r\nHost: \x01\r\n",
        "Content-Length: 3\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: 3\r\n",
        "Expect: 100-continue\r\n",
        "Connection: close\r\n",
        "Connection: authorization\r\n",
        "Authorization: own\r\n",
        "0\r\n\r\n",
        "abc",
        "\r\n",
    ];
    const UPSTREAM: &[&str] = &[
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 204 \x01\r\n",
        "HTTP/1.1 103 Hints\r\n\r\n",
        "Content-Length: 24\r\n\r\n\x01",
        "Content-Length: 3\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n",
        "18\r\n\x01\r\n",
        "3\r\nabc\r\n",
        "0\r\nX: \x01\r\n\r\n",
        "X: \x01\x04\x05\r\n",
        "Y: \x06\x07\x08\r\n",
        "\x01\x01",
        "\x04,\x05,\x06,\x07,\x08",
        "\r\n",
        "\x02",
    ];

    #[test]
    fn arbitrary_bytes_are_carried_once_and_shown_nothing() {
        let shown = Cell::new(0);
        proptest!(ProptestConfig::with_cases(200), |(app in pieces(REQUESTS, APP), upstream in pieces(RESPONSES, UPSTREAM))| {
            let bytes = [&app[..], &[TURN], &upstream].concat();
            shown.set(shown.get() + calls_are_sent_once_and_show_nothing(&bytes));
        });
        assert!(shown.get() > 0, "no reply held the credential");
    }
}
