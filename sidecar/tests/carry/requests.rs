//! The codec's tables of requests, sent to the whole sidecar: what is hostile reaches nobody, what is odd but legal
//! reaches the origin as it was meant.

use keylend_sidecar::http1::{FieldError, HeadError, LineError};

use crate::{
    app::App,
    origin::{At, Origin},
    tables::{HOSTILE, ODD_BUT_LEGAL},
    whole::{HOST, Whole, ok},
};

/// Where the tables name the host they are for.
const MEANT: [&str; 8] = [
    "Host: x\r",
    "Host:x\r",
    "Host: \t x\t",
    "hOsT: x\r",
    "http://x/",
    "http://x?",
    "http://x ",
    "HTTP://x/",
];

/// The requests of a row, for the listener at `own`.
fn meant_for(own: &str, row: &[u8]) -> Vec<u8> {
    let text: String = row.iter().map(|byte| char::from(*byte)).collect();
    let text = MEANT.iter().fold(text, |text, spelt| text.replace(spelt, &spelt.replace('x', own)));
    text.chars().map(|letter| u8::try_from(letter).unwrap()).collect()
}

/// Sends what is refused for this reason.
async fn refused(whole: &Whole, row: &[u8], reason: &str) -> App {
    let mut app = whole.app().await;
    app.send(meant_for(&whole.address.to_string(), row)).await;
    let reply = app.reply().await;
    let shown = row.escape_ascii();
    assert_eq!((reply.status, reply.refusal()), (400, Some("request_malformed")), "{shown}");
    assert!(reply.body.contains(reason), "{shown}: {}", reply.body);
    app
}

#[tokio::test]
async fn of_a_hostile_request_no_byte_reaches_the_origin_and_nobody_is_asked() {
    let origin = Origin::start(HOST, At::Request, |_| ok("")).await;
    let whole = Whole::before(&origin).await;
    let long = format!("GET /r/ HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(33_000));
    let many = format!("GET /r/ HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(101));
    let more = [(long.as_bytes(), LineError::TooLong.into()), (many.as_bytes(), FieldError::TooMany.into())];
    for (row, refusal) in HOSTILE.iter().map(|(_, row, refusal)| (*row, *refusal)).chain(more) {
        let rest = refused(&whole, row, &HeadError::to_string(&refusal)).await.rest().await;
        assert_eq!(rest, "", "after {}", row.escape_ascii());
    }
    assert_eq!((origin.seen().len(), whole.asks().len()), (0, 0));
    assert_eq!((whole.app().await.get().await.status, origin.take().len()), (200, 1));
}

#[tokio::test]
async fn odd_but_legal_requests_reach_the_origin_in_the_same_number_with_the_same_bodies() {
    let origin = Origin::start(HOST, At::Request, |_| ok("")).await;
    let whole = Whole::before(&origin).await;
    let own = whole.address.to_string();
    let mut carried = 0;
    for (_, what, row, count, bodies) in ODD_BUT_LEGAL {
        let bytes = meant_for(&own, row);
        let shown = String::from_utf8_lossy(&bytes);
        if !shown.contains(&own) {
            refused(&whole, row, "Host is not").await;
            continue;
        }
        if shown.contains(&format!("://{own}")) {
            refused(&whole, row, "not in origin-form").await;
            continue;
        }
        // Without connections of earlier rows, the origin's connections are in the order of their requests.
        whole.change(|world| world.granted.permits[0].generation += 1);
        let mut app = whole.app().await;
        app.send(&bytes).await;
        for _ in 0..*count {
            let reply = app.reply().await;
            let reply = if reply.status == 100 { app.reply().await } else { reply };
            assert_eq!(reply.status, 200, "{what}: {reply:?}");
        }
        let received = origin.take();
        assert_eq!(received.len(), *count, "{what}");
        let line = shown.trim_start().lines().next().unwrap().replacen(" /r", " ", 1);
        assert_eq!(received[0].head.lines().next(), Some(line.as_str()), "{what}");
        let together: Vec<u8> = received.into_iter().flat_map(|request| request.body).collect();
        assert_eq!(together, *bodies, "{what}");
        carried += count;
    }
    assert_eq!((origin.take().len(), whole.asks().len()), (0, carried));
    assert!(carried >= HOSTILE.len());
}
