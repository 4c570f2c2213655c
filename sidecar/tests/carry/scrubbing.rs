//! What an upstream echoes of the credential comes back masked, at equal length, wherever it stands.

use std::{
    io,
    sync::{Arc, Mutex},
};

use keylend_contract::wire;

use crate::{
    origin::{Act, At, Origin},
    whole::{HOST, VALUE, Whole, ok},
};

#[tokio::test]
async fn an_echo_is_masked_in_reason_fields_and_trailers() {
    let answer = format!(
        "HTTP/1.1 404 no {VALUE} here\r\nX-Echo: Bearer {VALUE}\r\nX-{VALUE}: name\r\nLocation: /?k={VALUE}\r\n\
         Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Trailer: {VALUE}\r\n\r\n"
    );
    let origin =
        Origin::start(HOST, At::Request, move |_| vec![Act::Send(answer.clone().into_bytes())]).await;
    let whole = Whole::before(&origin).await;
    let reply = whole.app().await.get().await;
    assert_eq!((reply.status, reply.body.as_str()), (404, "hello"));
    assert!(origin.seen()[0].text().contains(VALUE), "the origin did receive it");
    assert!(!format!("{reply:?}").contains(&VALUE[..8]), "{reply:?}");
    assert_eq!(reply.field("X-Echo").unwrap().len(), 7 + VALUE.len());
    assert!(reply.trailers.contains("X-Trailer: *"));
}

/// What was logged, by all tests: a log of one thread alone would miss what another has found to interest nobody.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn an_echo_is_told_to_the_log_by_route_trace_and_number() {
    let origin = Origin::start(HOST, At::Request, |request| {
        if request.starts_with("GET /echo ") { ok(&format!("{VALUE} and {VALUE}")) } else { ok(&VALUE[1..]) }
    })
    .await;
    let (whole, log) = (Whole::before(&origin).await, Log::default());
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let mut app = whole.app().await;
    for path in ["GET /r/", "GET /r/echo", "GET /r/"] {
        assert_eq!(app.call(path, "", "").await.status, 200);
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let told = whole.asks().into_iter().map(|heard| {
        let trace = heard.ask().trace.trace_id;
        log.lines().filter(|line| line.contains(&trace)).collect::<Vec<_>>()
    });
    let told: Vec<_> = told.collect();
    assert_eq!(told.iter().map(Vec::len).collect::<Vec<_>>(), [0, 1, 0], "{log}");
    for part in ["WARN", "route=\"r\"", "echoes=2"] {
        assert!(told[1][0].contains(part), "{part}: {log}");
    }
    assert!(!log.contains(&VALUE[1..]));
}

#[tokio::test]
async fn an_echo_in_a_body_is_masked_wherever_it_is_split() {
    let body = format!("before {VALUE} after");
    for chunked in [true, false] {
        for split in 0..=body.len() {
            let (one, other) = body.split_at(split);
            let mut acts = vec![];
            if chunked {
                acts.push("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned());
                for part in [one, other].into_iter().filter(|part| !part.is_empty()) {
                    acts.push(format!("{:x}\r\n{part}\r\n", part.len()));
                }
                acts.push("0\r\n\r\n".to_owned());
            } else {
                acts.push(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{one}", body.len()));
                acts.push(other.to_owned());
            }
            let pause = Act::Wait(std::time::Duration::from_millis(2));
            let acts: Vec<_> =
                acts.into_iter().flat_map(|text| [Act::Send(text.into_bytes()), pause.clone()]).collect();
            let origin = Origin::start(HOST, At::Request, move |_| acts.clone()).await;
            let whole = Whole::before(&origin).await;
            let reply = whole.app().await.get().await;
            assert_eq!(reply.body, body.replace(VALUE, &"*".repeat(VALUE.len())), "{split}");
        }
    }
}

/// What is held back is not delivered, whether it is a part of the value or not; and lines before it were not held.
#[tokio::test]
async fn of_a_body_that_is_cut_nothing_comes_but_its_lines() {
    for rest in [&VALUE[..20], "some other tail here"] {
        for (framing, last) in [
            ("Content-Length: 100\r\n\r\nline\n", Act::Close),
            ("Content-Length: 100\r\n\r\nline\n", Act::Reset),
            ("Transfer-Encoding: chunked\r\n\r\n19\r\nline\n", Act::Send(b"nonsense".to_vec())),
        ] {
            let start = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{framing}{rest}");
            let pause = Act::Wait(std::time::Duration::from_millis(50));
            let acts = vec![Act::Send(start.into_bytes()), pause, last];
            let origin = Origin::start(HOST, At::Request, move |_| acts.clone()).await;
            let whole = Whole::before(&origin).await;
            let mut app = whole.app().await;
            let request = app.request("GET /r/", "", "");
            app.send(request).await;
            let answer = app.rest().await;
            let (_, body) = answer.split_once("\r\n\r\n").unwrap();
            assert_eq!(body.replace("5\r\nline\n\r\n", "line\n"), "line\n", "{framing}");
        }
    }
}

#[tokio::test]
async fn an_echo_is_masked_however_it_is_spelt() {
    let each = |spelt: fn(u8) -> String| VALUE.bytes().map(spelt).collect::<Vec<_>>().concat();
    let hexadecimal = each(|byte| format!("{byte:02x}"));
    let percent = each(|byte| format!("%{byte:02X}"));
    let json = each(|byte| format!("\\u{byte:04x}"));
    let base64 = |before: &str| wire::base64_text(format!("{before}{VALUE}").as_bytes());
    for spelling in [hexadecimal, percent, json, base64(""), base64("a"), base64("ab")] {
        let echo = spelling.clone();
        let origin = Origin::start(HOST, At::Request, move |_| ok(&echo)).await;
        let reply = Whole::before(&origin).await.app().await.get().await;
        assert_eq!(reply.body.len(), spelling.len());
        assert!(!reply.body.contains(&spelling[8..16]), "{spelling}: {}", reply.body);
    }
}

#[tokio::test]
async fn a_coding_that_could_hide_an_echo_is_refused_and_nothing_of_it_passed_on() {
    for coding in ["gzip", "br", "zstd", "deflate", "x-gzip", "identity, gzip", "unheard-of"] {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nX-Kept: no\r\nContent-Encoding: {coding}\r\nContent-Length: 5\r\n\r\nhello"
        );
        let origin =
            Origin::start(HOST, At::Request, move |_| vec![Act::Send(answer.clone().into_bytes())]).await;
        let whole = Whole::before(&origin).await;
        let reply = whole.app().await.get().await;
        assert_eq!((reply.status, reply.refusal()), (502, Some("response_coded")), "{coding}");
        assert!(reply.field("X-Kept").is_none() && !reply.body.contains("hello"));
    }
    let fine = b"HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello";
    let origin = Origin::start(HOST, At::Request, |_| vec![Act::Send(fine.to_vec())]).await;
    assert_eq!(Whole::before(&origin).await.app().await.get().await.body, "hello");
    assert!(origin.seen()[0].text().contains("\r\nAccept-Encoding: identity\r\n"));
}
