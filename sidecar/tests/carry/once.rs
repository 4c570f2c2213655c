//! One call is sent upstream at most once, whatever the upstream does.

use std::time::Duration;

use crate::{
    origin::{Act, At, End, Origin},
    sidecar::until,
    whole::{HOST, VALUE, Whole, ok},
};

const POST: (&str, &str, &str) = ("POST /r/", "Content-Length: 10\r\n", "0123456789");

#[tokio::test]
async fn a_reset_at_any_byte_of_the_request_is_no_reason_to_send_it_again() {
    let counted = Origin::start(HOST, At::Request, |_| ok("")).await;
    let whole = Whole::before(&counted).await;
    assert_eq!(whole.app().await.call(POST.0, POST.1, POST.2).await.status, 200);
    let length = counted.seen()[0].received.len();
    for byte in (1..length).step_by(13).chain(length - 12..=length) {
        let origin = Origin::start(HOST, At::Byte(byte), |_| vec![Act::Reset]).await;
        let whole = Whole::before(&origin).await;
        let reply = whole.app().await.call(POST.0, POST.1, POST.2).await;
        assert_eq!((reply.status, reply.refusal()), (502, Some("upstream_unreachable")), "{byte}");
        assert_eq!((origin.seen().len(), whole.asks().len()), (1, 1), "{byte}");
    }
}

#[tokio::test]
async fn a_reset_at_any_byte_of_the_response_is_no_reason_to_send_it_again() {
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let head = response.len() - 5;
    for byte in 0..response.len() {
        let part = response.as_bytes()[..byte].to_vec();
        let origin =
            Origin::start(HOST, At::Request, move |_| vec![Act::Send(part.clone()), Act::Reset]).await;
        let whole = Whole::before(&origin).await;
        let mut app = whole.app().await;
        let request = app.request(POST.0, "Connection: close\r\nContent-Length: 10\r\n", POST.2);
        app.send(request).await;
        let answer = app.rest().await;
        assert!(answer.contains("Keylend-Refusal: ") || byte >= head, "{byte}: {answer}");
        assert!(!answer.ends_with("hello"));
        assert_eq!((origin.seen().len(), origin.heads()), (1, 1), "{byte}");
    }
}

/// A body that the upstream does not read could be read as its next request, with the next call's credential in it.
#[tokio::test]
async fn a_connection_that_carried_a_body_carries_no_other_call() {
    let smuggled = "POST /v1/refunds HTTP/1.1\r\nX-Swallow: y";
    let length = format!("Content-Length: {}\r\n", smuggled.len());
    let chunk = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    for method in ["GET", "POST", "DELETE"] {
        for (fields, body) in [(&*length, smuggled), ("Transfer-Encoding: chunked\r\n", &*chunk)] {
            let origin = Origin::start(HOST, At::Head, |_| ok("from the head alone")).await;
            let whole = Whole::before(&origin).await;
            let mut app = whole.app().await;
            let reply = app.call(&format!("{method} /r/"), fields, body).await;
            assert_eq!(reply.body, "from the head alone");
            assert_eq!(whole.app().await.get().await.status, 200);
            let seen = origin.seen();
            assert_eq!(seen.len(), 2, "{method} {fields}");
            assert!(seen[0].text().contains("\r\nConnection: close\r\n"), "{}", seen[0].text());
            let credentials = seen.iter().map(|seen| seen.text().matches(VALUE).count());
            assert!(credentials.eq([1, 1]), "{method} {fields}");
        }
    }
}

#[tokio::test]
async fn a_kept_connection_that_the_upstream_closed_is_not_written_to() {
    let unasked = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
    // At once, and when the connection waits already.
    for wait in [Duration::ZERO, Duration::from_millis(40)] {
        for last in [Act::Close, Act::Reset, Act::Send(unasked.clone())] {
            let acts = [ok("hello"), vec![Act::Wait(wait), last.clone()]].concat();
            let origin = Origin::start(HOST, At::Request, move |_| acts.clone()).await;
            let whole = Whole::before(&origin).await;
            let mut app = whole.app().await;
            for _ in 0..3 {
                assert_eq!(app.get().await.body, "hello", "{last:?}");
                until(|| origin.seen().iter().all(|seen| seen.acts == 3 || seen.end != End::Open)).await;
            }
            assert_eq!((origin.seen().len(), origin.heads()), (3, 3), "{last:?}");
        }
    }
}

#[tokio::test]
async fn a_kept_connection_that_dies_under_the_next_request_fails_it() {
    let origin = Origin::start(HOST, At::Request, |request| {
        if request.starts_with("GET /first ") { ok("hello") } else { vec![Act::Reset] }
    })
    .await;
    let whole = Whole::before(&origin).await;
    let mut app = whole.app().await;
    assert_eq!(app.call("GET /r/first", "", "").await.status, 200);
    assert_eq!(app.call("GET /r/second", "", "").await.refusal(), Some("upstream_unreachable"));
    assert_eq!((origin.seen().len(), origin.heads()), (1, 2));
}

#[tokio::test]
async fn only_what_may_be_sent_again_goes_to_a_connection_that_may_end_under_it() {
    // (method, connections)
    for (method, connections) in [
        ("GET", 1),
        ("HEAD", 1),
        ("OPTIONS", 1),
        ("PUT", 1),
        ("DELETE", 1),
        ("POST", 2),
        ("PATCH", 2),
        ("get", 2),
        ("PROPFIND", 2),
    ] {
        let origin = Origin::start(HOST, At::Request, |request| {
            if request.starts_with("HEAD ") {
                vec![Act::Send(b"HTTP/1.1 204 None\r\n\r\n".to_vec())]
            } else {
                ok("hello")
            }
        })
        .await;
        // Neither does it take the connection of the call before, nor does the call after take its own.
        for methods in [["GET", method], [method, "GET"]] {
            let whole = Whole::before(&origin).await;
            let mut app = whole.app().await;
            let before = (origin.seen().len(), origin.heads());
            for method in methods {
                let reply = app.call(&format!("{method} /r/"), "Content-Length: 0\r\n", "").await;
                assert_ne!(reply.status, 502);
            }
            let added = (origin.seen().len() - before.0, origin.heads() - before.1);
            assert_eq!(added, (connections, 2), "{methods:?}");
        }
    }
}

#[tokio::test]
async fn a_peer_that_states_its_patience_is_not_tried_beyond_it() {
    let answer = b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 0\r\n\r\n";
    let origin = Origin::start(HOST, At::Request, |_| vec![Act::Send(answer.to_vec())]).await;
    let whole = Whole::before(&origin).await;
    let mut app = whole.app().await;
    assert_eq!(app.get().await.status, 200);
    assert_eq!(app.get().await.status, 200);
    assert_eq!(origin.seen().len(), 2);
}

#[tokio::test]
async fn an_app_that_leaves_ends_its_call() {
    let origin = Origin::start(HOST, At::Request, |_| vec![]).await;
    let whole = Whole::before(&origin).await;
    let mut app = whole.app().await;
    let request = app.request("GET /r/", "", "");
    app.send(request).await;
    until(|| origin.heads() == 1).await;
    drop(app);
    until(|| origin.seen()[0].end == End::Reset).await;
}
