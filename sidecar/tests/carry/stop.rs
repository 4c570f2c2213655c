//! A call ends the moment its hold is lost, on both sides, and nothing of it is left to leave later.

use std::time::Duration;

use keylend_contract::{
    refusal::Refusal,
    wire::{GRANT_TERM, Granted, HeadersDigest, RENEW_PATH, Verdict},
};
use tokio::time::{Instant, sleep};

use crate::{
    origin::{Act, At, End, Origin},
    sidecar::{until, within},
    whole::{HOST, Resolving, Whole, ok},
};

const STREAM: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello\n\r\n";

/// What a renewal has cut is cut so soon, and before its grant would have run out.
const RENEWAL: Duration = Duration::from_millis(1_500);

fn revoked() -> Verdict {
    Verdict::Cut(Refusal::ShareRevoked { secret: "stripe".into() })
}

#[tokio::test]
async fn a_renewed_stream_lives_and_a_stopped_one_is_cut_on_both_sides() {
    let origin = Origin::start(HOST, At::Request, |_| vec![Act::Send(STREAM.into())]).await;
    let whole = Whole::before(&origin).await;
    let mut app = whole.app().await;
    let request = app.request("GET /r/", "", "");
    app.send(request).await;
    app.until(b"hello\n\r\n").await;
    sleep(Duration::from_millis(2_500)).await;
    assert!(!app.is_closed().await, "it was renewed");
    whole.change(|world| world.verdict = Some(revoked()));
    let cut = async {
        assert_eq!(app.rest().await, "", "no end of the body: the app can tell");
        until(|| origin.seen()[0].end == End::Reset).await;
    };
    assert!(within(RENEWAL, cut).await.is_some());
}

/// What a renewal can find changed, though the call would be granted again.
fn edits() -> [fn(&mut Granted); 2] {
    [
        |granted| granted.permits[0].generation += 1,
        |granted| {
            let header = ("authorization".parse().unwrap(), "Basic {{secret:stripe}}".parse().unwrap());
            granted.headers_digest = HeadersDigest::of(&[header]);
        },
    ]
}

#[tokio::test]
async fn a_stream_is_cut_when_what_it_was_granted_by_was_edited() {
    for edit in edits() {
        let origin = Origin::start(HOST, At::Request, |_| vec![Act::Send(STREAM.into())]).await;
        let whole = Whole::before(&origin).await;
        let mut app = whole.app().await;
        let request = app.request("GET /r/", "", "");
        let asked = Instant::now();
        app.send(request).await;
        app.until(b"hello\n\r\n").await;
        whole.change(|world| edit(&mut world.granted));
        assert_eq!(app.rest().await, "");
        until(|| origin.seen()[0].end == End::Reset).await;
        assert!(asked.elapsed() < GRANT_TERM, "cut, and not only lapsed: {:?}", asked.elapsed());
    }
}

#[tokio::test]
async fn a_call_that_has_not_begun_does_not_begin_once_what_it_was_granted_by_was_edited() {
    for edit in edits() {
        let origin = Origin::start(HOST, At::Request, |_| ok("")).await;
        let whole = Whole::before(&origin).await;
        whole.change(|world| world.resolving = Resolving::NotYet);
        let mut app = whole.app().await;
        let request = app.request("GET /r/", "", "");
        app.send(request).await;
        until(|| !whole.asks().is_empty()).await;
        whole.change(|world| edit(&mut world.granted));
        let reply = within(RENEWAL, app.reply()).await.unwrap();
        assert_eq!(reply.refusal(), Some("grant_lapsed"));
        whole.change(|world| world.resolving = Resolving::AtOnce);
        assert_eq!(origin.heads(), 0);
        assert_eq!(app.get().await.status, 200, "the next call begins under the new policy");
    }
}

#[tokio::test]
async fn a_call_that_still_waits_for_its_response_is_refused_by_name() {
    let origin = Origin::start(HOST, At::Request, |_| vec![]).await;
    let whole = Whole::before(&origin).await;
    whole.change(|world| world.verdict = Some(revoked()));
    let reply = whole.app().await.get().await;
    assert_eq!((reply.status, reply.refusal()), (403, Some("share_revoked")));
    until(|| origin.seen()[0].end == End::Reset).await;
}

#[tokio::test]
async fn without_renewals_a_call_is_cut_two_seconds_after_its_ask() {
    let origin = Origin::start(HOST, At::Request, |_| vec![Act::Send(STREAM.into())]).await;
    let whole = Whole::before(&origin).await;
    whole.change(|world| world.verdict = None);
    let asked = Instant::now();
    let mut app = whole.app().await;
    let request = app.request("GET /r/", "", "");
    app.send(request).await;
    app.until(b"hello\n\r\n").await;
    let cut = async {
        assert_eq!(app.rest().await, "");
        until(|| origin.seen()[0].end == End::Reset).await;
    };
    assert!(within(GRANT_TERM + Duration::from_millis(300), cut).await.is_some());
    assert!(asked.elapsed() >= GRANT_TERM);
}

#[tokio::test]
async fn a_call_that_cannot_begin_in_time_does_not() {
    let origin = Origin::start(HOST, At::Request, |_| ok("")).await;
    let whole = Whole::before(&origin).await;
    whole.change(|world| {
        world.verdict = None;
        world.granted.begin_within_ms = 0;
    });
    assert_eq!(whole.app().await.get().await.refusal(), Some("grant_lapsed"));
    assert_eq!(origin.heads(), 0);
}

#[tokio::test]
async fn connections_that_waited_under_the_share_are_closed_with_it() {
    let origin = Origin::start(HOST, At::Request, |request| {
        if request.starts_with("GET /stream ") { vec![Act::Send(STREAM.into())] } else { ok("") }
    })
    .await;
    let whole = Whole::before(&origin).await;
    let (mut one, mut other) = (whole.app().await, whole.app().await);
    let request = one.request("GET /r/stream", "", "");
    one.send(request).await;
    one.until(b"hello\n\r\n").await;
    assert_eq!(other.get().await.status, 200);
    assert_eq!(origin.seen().len(), 2);
    whole.change(|world| world.verdict = Some(revoked()));
    until(|| origin.seen().iter().any(|seen| seen.end == End::Reset)).await;
    // Its own grant would have let it wait for a second longer.
    let all = until(|| origin.seen().iter().all(|seen| seen.end == End::Reset));
    assert!(within(Duration::from_millis(200), all).await.is_some());
    assert!(!whole.operator.heard(RENEW_PATH).is_empty());
}

#[tokio::test]
async fn a_connection_waits_as_long_as_its_last_grant_and_ends_without_a_word() {
    let origin = Origin::start(HOST, At::Request, |_| ok("")).await;
    let whole = Whole::before(&origin).await;
    let mut app = whole.app().await;
    let mut asked = Instant::now();
    for _ in 0..6 {
        sleep(GRANT_TERM / 4).await;
        asked = Instant::now();
        assert_eq!(app.get().await.status, 200);
    }
    assert_eq!((origin.seen().len(), origin.seen()[0].end), (1, End::Open), "a busy caller's is kept");
    // A goodbye would have been read as an end in order.
    let reset = until(|| origin.seen()[0].end == End::Reset);
    assert!(within(Duration::from_millis(2_150), reset).await.is_some());
    assert!(asked.elapsed() > Duration::from_millis(1_300), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_connection_that_is_used_no_more_ends_without_a_word() {
    let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let origin = Origin::start(HOST, At::Request, |_| vec![Act::Send(answer.to_vec())]).await;
    let whole = Whole::before(&origin).await;
    assert_eq!(whole.app().await.get().await.status, 200);
    until(|| origin.seen()[0].end == End::Reset).await;
}

#[tokio::test]
async fn a_refusal_cuts_what_waits_for_its_route_and_nothing_else() {
    let origin = Origin::start(HOST, At::Request, |_| ok("")).await;
    let whole = Whole::before(&origin).await;
    let mut app = whole.app().await;
    assert_eq!(app.call("GET /other/", "", "").await.status, 200);
    assert_eq!(app.get().await.status, 200);
    whole.change(|world| world.refusal = Some(Refusal::ShareRevoked { secret: "stripe".into() }));
    assert_eq!(app.get().await.status, 403);
    let reset = until(|| origin.seen()[1].end == End::Reset);
    assert!(within(Duration::from_millis(500), reset).await.is_some());
    whole.change(|world| world.refusal = None);
    assert_eq!(app.call("GET /other/", "", "").await.status, 200);
    assert_eq!((origin.seen().len(), origin.seen()[0].heads()), (2, 2));
}

/// The request's body fills every buffer on the way, since the origin reads none of it; none of that may leave later.
#[tokio::test]
async fn what_waits_in_buffers_is_discarded() {
    let origin = Origin::start(HOST, At::Head, |_| vec![Act::Wait(Duration::from_secs(4))]).await;
    let whole = Whole::before(&origin).await;
    whole.change(|world| world.verdict = None);
    let mut app = whole.app().await;
    let request = app.request("POST /r/", "Content-Length: 100000000\r\n", "");
    app.send(request).await;
    let piece = vec![b'x'; 64 * 1024];
    let writing = async {
        loop {
            app.send(&piece).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(1), writing).await.is_err(), "it must fill up");
    until(|| origin.seen()[0].end == End::Reset).await;
}
