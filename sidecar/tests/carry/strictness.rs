//! What is malformed or ambiguous is refused on both sides, and the connection it came on is not used again.

use std::time::{Duration, Instant};

use crate::{
    app::App,
    origin::{Act, At, End, Origin},
    sidecar::{until, within},
    whole::{HOST, Whole, ok},
};

#[tokio::test]
async fn a_request_for_somebody_else_is_refused_before_anybody_is_asked() {
    let origin = Origin::start(HOST, At::Request, |_| ok("")).await;
    let whole = Whole::before(&origin).await;
    let own = whole.address.to_string();
    let localhost = format!("localhost:{}", whole.address.port());
    for (target, host, served) in [
        ("/r/", own.as_str(), true),
        ("/r/", &localhost, true),
        ("/r/", HOST, false),
        ("/r/", "127.0.0.1", false),
        ("/r/", &format!("{HOST}:{}", whole.address.port()), false),
        (&format!("http://{own}/r/"), &own, false),
        (&format!("http://{HOST}/r/"), HOST, false),
    ] {
        let mut app = whole.app().await;
        app.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(app.reply().await.refusal().is_none(), served, "{target} {host}");
    }
    assert_eq!((origin.heads(), whole.asks().len()), (2, 2));
}

#[tokio::test]
async fn a_malformed_body_ends_the_request_upstream_too() {
    let origin = Origin::start(HOST, At::Request, |_| ok("")).await;
    let whole = Whole::before(&origin).await;
    let mut app = whole.app().await;
    let reply = app
        .call("POST /r/", "Transfer-Encoding: chunked\r\n", "4\r\nbody\r\nzz\r\nGET /r/x HTTP/1.1\r\n")
        .await;
    assert_eq!((reply.refusal(), reply.field("Connection")), (Some("request_malformed"), Some("close")));
    assert_eq!(app.rest().await, "");
    assert_eq!(whole.app().await.get().await.status, 200);
    assert_eq!(origin.seen().len(), 2);
}

#[tokio::test]
async fn an_upstream_that_is_malformed_is_refused_and_closed() {
    for answer in [
        "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
        "nonsense that is no response at all\r\n\r\n",
        "HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\n\r\nx",
    ] {
        let origin = Origin::start(HOST, At::Request, move |_| vec![Act::Send(answer.into())]).await;
        let whole = Whole::before(&origin).await;
        let mut app = whole.app().await;
        for calls in 1..=2 {
            let reply = app.get().await;
            assert_eq!((reply.status, reply.refusal()), (502, Some("response_malformed")), "{answer}");
            assert_eq!(origin.seen().len(), calls, "{answer}");
        }
    }
}

#[tokio::test]
async fn an_upstream_whose_body_is_malformed_or_short_is_refused_or_cut_short() {
    for body in [
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "Content-Length: 9\r\n\r\nhello",
    ] {
        for pause in [Duration::ZERO, Duration::from_millis(50)] {
            let (start, end) = body.split_at(body.find("hello").unwrap() + 2);
            let start = format!("HTTP/1.1 200 OK\r\n{start}");
            let acts = vec![Act::Send(start.into()), Act::Wait(pause), Act::Send(end.into()), Act::Close];
            let origin = Origin::start(HOST, At::Request, move |_| acts.clone()).await;
            let whole = Whole::before(&origin).await;
            let mut app = whole.app().await;
            let request = app.request("GET /r/", "Connection: close\r\n", "");
            app.send(request).await;
            let answered = app.rest().await;
            let refused = answered.contains("\r\nKeylend-Refusal: response_malformed\r\n");
            let cut = answered.starts_with("HTTP/1.1 200 ") && !answered.ends_with("0\r\n\r\n");
            assert!(refused || cut, "{answered}");
            assert!(cut || pause.is_zero(), "{answered}");
        }
    }
}

#[tokio::test]
async fn bytes_after_a_response_are_never_the_next_one() {
    let forged = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue{forged}");
    let origin = Origin::start(HOST, At::Request, move |_| vec![Act::Send(answer.clone().into())]).await;
    let whole = Whole::before(&origin).await;
    let mut app = whole.app().await;
    for calls in 1..=3 {
        assert_eq!((app.get().await.body.as_str(), origin.seen().len()), ("true", calls));
    }
}

#[tokio::test]
async fn fields_of_the_upstreams_connection_stay_there() {
    let answer = "HTTP/1.1 200 OK\r\nAlt-Svc: h3=\":443\"\r\nKeep-Alive: timeout=9\r\nKeylend-Refusal: forged\r\n\
        Connection: x-hop\r\nX-Hop: x\r\nX-End: y\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n";
    let origin = Origin::start(HOST, At::Request, move |_| vec![Act::Send(answer.into())]).await;
    let whole = Whole::before(&origin).await;
    let reply = whole.app().await.get().await;
    assert_eq!(reply.head, "HTTP/1.1 200 OK\r\nX-End: y\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n");
}

#[tokio::test]
async fn a_head_that_trickles_in_is_given_ten_seconds() {
    let origin = Origin::start(HOST, At::Request, |_| ok("")).await;
    let whole = Whole::before(&origin).await;
    let mut app = whole.app().await;
    let begun = Instant::now();
    let request = app.request("GET /r/", "", "");
    app.send(&request[..20]).await;
    let reply = within(Duration::from_secs(12), app.reply()).await.unwrap();
    assert_eq!(reply.refusal(), Some("request_malformed"));
    assert!(begun.elapsed() >= Duration::from_secs(9));
    assert_eq!(app.rest().await, "");
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_thirty_seconds() {
    let origin = Origin::start(HOST, At::Request, |_| ok("")).await;
    let whole = Whole::before(&origin).await;
    let mut app = whole.app().await;
    let begun = Instant::now();
    let request = app.request("POST /r/", "Content-Length: 10\r\n", "01234");
    app.send(&request).await;
    assert!(!app.is_closed().await);
    tokio::time::sleep(Duration::from_secs(15)).await;
    let reply = within(Duration::from_secs(17), app.reply()).await.unwrap();
    assert_eq!((reply.refusal(), reply.field("Connection")), (Some("request_malformed"), Some("close")));
    assert!(begun.elapsed() >= Duration::from_secs(29));
    assert_eq!((origin.heads(), origin.seen()[0].received.ends_with(b"01234")), (1, true));
}

#[tokio::test]
async fn one_call_too_many_is_told_so() {
    let origin = Origin::start(HOST, At::Request, |_| vec![]).await;
    let whole = Whole::before(&origin).await;
    let mut apps = Vec::new();
    for number in 1..=256 {
        let mut app = whole.app().await;
        let request = app.request("GET /r/", "", "");
        app.send(request).await;
        apps.push(app);
        // More handshakes at once would keep those that come last from their asks.
        if number % 16 == 0 {
            until(|| origin.heads() == number).await;
        }
    }
    let mut last = whole.app().await;
    let reply = last.get().await;
    assert_eq!((reply.status, reply.refusal()), (503, Some("overloaded")));
    apps.pop();
    until(|| origin.seen().iter().any(|seen| seen.end != End::Open)).await;
    let request = last.request("GET /r/", "", "");
    last.send(request).await;
    until(|| origin.heads() == 257).await;
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let origin = Origin::start(HOST, At::Request, |_| ok("")).await;
    let whole = Whole::before(&origin).await;
    let mut apps = Vec::new();
    for _ in 0..1024 {
        apps.push(App::connect(whole.address).await);
    }
    assert_eq!(apps[1023].get().await.status, 200);
    assert_eq!(whole.app().await.reply().await.refusal(), Some("overloaded"));
    apps.truncate(1000);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(whole.app().await.get().await.status, 200);
}
