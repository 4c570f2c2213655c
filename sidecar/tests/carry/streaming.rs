//! Both directions flow at once, as they come, in bounded memory.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use crate::{
    origin::{Act, At, Origin},
    sidecar::within,
    whole::{HOST, Whole, ok},
};

fn send(text: &str) -> Act {
    Act::Send(text.as_bytes().to_vec())
}

#[tokio::test]
async fn every_framing_of_a_response_arrives() {
    for (line, answer, body) in [
        ("GET /r/", "200 OK\r\nContent-Length: 5\r\n\r\nhello", Some("hello")),
        (
            "GET /r/",
            "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            Some("hello"),
        ),
        ("GET /r/", "200 OK\r\nContent-Length: 0\r\n\r\n", Some("")),
        ("GET /r/", "200 OK\r\n\r\nhello", Some("hello")),
        ("GET /r/", "204 No Content\r\n\r\n", None),
        ("GET /r/", "304 Not Modified\r\nContent-Length: 5\r\n\r\n", None),
        ("HEAD /r/", "200 OK\r\nContent-Length: 5\r\n\r\n", None),
        (
            "GET /r/",
            "100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            Some("hello"),
        ),
        (
            "GET /r/",
            "302 Found\r\nLocation: https://elsewhere.example.com/\r\nContent-Length: 0\r\n\r\n",
            Some(""),
        ),
    ] {
        let acts = vec![send("HTTP/1.1 "), send(answer), Act::Close];
        let origin = Origin::start(HOST, At::Request, move |_| acts.clone()).await;
        let whole = Whole::before(&origin).await;
        let mut app = whole.app().await;
        let reply = app.call(line, "", "").await;
        assert_eq!((reply.refusal(), reply.body.as_str()), (None, body.unwrap_or("")), "{answer}");
        let until_close = answer.ends_with("OK\r\n\r\nhello");
        assert_eq!(
            reply.field("Transfer-Encoding").is_some(),
            until_close || answer.contains("chunked"),
            "{answer}"
        );
        assert!(!app.is_closed().await, "{answer}");
    }
}

#[tokio::test]
async fn every_framing_of_a_request_arrives() {
    let origin = Origin::start(HOST, At::Request, |_| ok("")).await;
    let whole = Whole::before(&origin).await;
    let mut app = whole.app().await;
    for (fields, body, upstream) in [
        ("", "", "\r\n\r\n"),
        ("Content-Length: 0\r\n", "", "\r\nContent-Length: 0\r\n\r\n"),
        ("Content-Length: 5\r\n", "hello", "\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"),
        (
            "Transfer-Encoding: chunked\r\nTrailer: X-T\r\n",
            "2;ext=1\r\nhe\r\n3\r\nllo\r\n0\r\nX-T: dropped\r\n\r\n",
            "\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        ),
    ] {
        assert_eq!(app.call("POST /r/", fields, body).await.status, 200, "{fields}");
        let received = origin.seen().last().unwrap().text();
        assert!(received.ends_with(upstream), "{received}");
    }
}

#[tokio::test]
async fn an_app_that_waits_is_invited_once_it_was_granted() {
    let origin = Origin::start(HOST, At::Request, |_| ok("done")).await;
    let whole = Whole::before(&origin).await;
    let mut app = whole.app().await;
    let reply = app.call("POST /r/", "Content-Length: 5\r\nExpect: 100-continue\r\n", "").await;
    assert_eq!((reply.status, whole.asks().len()), (100, 1));
    app.send("hello").await;
    assert_eq!(app.reply().await.body, "done");
    assert!(!origin.seen()[0].text().contains("Expect"));
}

#[tokio::test]
async fn an_event_leaves_in_the_moment_it_comes() {
    let wanted = Arc::new(Notify::new());
    let wanting = wanted.clone();
    let origin = Origin::start(HOST, At::Request, move |_| {
        let head = send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        let event = |number| [Act::Until(wanting.clone()), send(&format!("data: {number}\n\n"))];
        [vec![head], (0..4).flat_map(event).collect(), vec![Act::Close]].concat()
    })
    .await;
    let whole = Whole::before(&origin).await;
    let mut app = whole.app().await;
    let request = app.request("GET /r/", "", "");
    app.send(request).await;
    app.until(b"\r\n\r\n").await;
    for number in 0..4 {
        wanted.notify_one();
        let event = format!("data: {number}\n\n");
        let came = within(Duration::from_millis(150), app.until(event.as_bytes())).await;
        assert!(came.is_some(), "{number}");
    }
}

#[tokio::test]
async fn a_response_may_come_before_the_request_is_over_and_ends_both_connections() {
    let origin = Origin::start(HOST, At::Head, |_| ok("enough")).await;
    let whole = Whole::before(&origin).await;
    let mut app = whole.app().await;
    let reply = app.call("POST /r/", "Content-Length: 1000000\r\n", "some").await;
    assert_eq!(
        (reply.status, reply.body.as_str(), reply.field("Connection")),
        (200, "enough", Some("close"))
    );
    assert_eq!(app.rest().await, "");
    assert_eq!(whole.app().await.get().await.status, 200);
    assert_eq!(origin.seen().len(), 2);
}

#[tokio::test]
async fn an_upstream_that_answers_and_closes_under_a_large_upload_is_heard() {
    let origin = Origin::start(HOST, At::Head, |_| [ok("too large"), vec![Act::Close]].concat()).await;
    let whole = Whole::before(&origin).await;
    let mut app = whole.app().await;
    let request = app.request("POST /r/", "Content-Length: 100000000\r\n", "");
    app.send(request).await;
    assert_eq!(app.reply().await.body, "too large");
}

#[tokio::test]
async fn large_bodies_pass_whole_in_both_directions() {
    let body = "some large body ".repeat(64 * 1024);
    let origin =
        Origin::start(HOST, At::Request, |request| ok(request.split_once("\r\n\r\n").unwrap().1)).await;
    let whole = Whole::before(&origin).await;
    let mut app = whole.app().await;
    for _ in 0..2 {
        let reply = app.call("POST /r/", &format!("Content-Length: {}\r\n", body.len()), &body).await;
        assert!(reply.body == body);
    }
}

#[tokio::test]
async fn an_app_that_reads_late_gets_everything() {
    let origin = Origin::start(HOST, At::Request, |_| {
        let head = send("HTTP/1.1 200 OK\r\nContent-Length: 4194304\r\n\r\n");
        [vec![head], vec![send(&"x".repeat(1 << 20)); 4]].concat()
    })
    .await;
    let whole = Whole::before(&origin).await;
    let mut app = whole.app().await;
    let request = app.request("GET /r/", "Connection: close\r\n", "");
    app.send(request).await;
    app.until(b"\r\n\r\n").await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(app.rest().await.len(), 4_194_304);
}

/// Nothing piles up in between: what the origin does not take, the app cannot get rid of.
#[tokio::test]
async fn an_origin_that_takes_nothing_holds_the_app_back() {
    let origin = Origin::start(HOST, At::Head, |_| vec![Act::Wait(Duration::from_secs(10))]).await;
    let whole = Whole::before(&origin).await;
    let mut app = whole.app().await;
    let request = app.request("POST /r/", "Content-Length: 1000000000\r\n", "");
    app.send(request).await;
    let (piece, mut pieces) = (vec![b'x'; 64 * 1024], 0);
    while timeout(Duration::from_millis(500), app.send(&piece)).await.is_ok() {
        pieces += 1;
        assert!(pieces < 1_000, "64 MB went somewhere");
    }
}
