//! The two small listeners: the API server's webhook calls over TLS, and probes and metrics in the clear.
//!
//! Neither says more than it must: a review's answer, alive or ready, and numbers.

use std::{
    convert::Infallible,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::{admission::Reviewer, audit::AuditLog, metrics::Metrics, places::Places};

/// Each listener has its own.
const MAX_CONNECTIONS: usize = 256;
const MAX_STREAMS: u32 = 16;
/// What waits unread in memory, in bytes, for each stream and each connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 128 * 1024;
const HANDSHAKE: Duration = Duration::from_secs(5);
const HEAD: Duration = Duration::from_secs(5);
/// A connection lasts this long at most, whatever goes on in it.
const CONNECTION: Duration = Duration::from_mins(5);

type Reply = Response<Full<Bytes>>;

/// Reviews pods.
pub async fn webhook(
    listener: Arc<TcpListener>,
    tls: TlsAcceptor,
    reviewer: Arc<Reviewer>,
    metrics: Arc<Metrics>,
) {
    let accept = move |stream| {
        let (tls, reviewer, metrics) = (tls.clone(), reviewer.clone(), metrics.clone());
        async move {
            let Ok(Ok(stream)) = timeout(HANDSHAKE, tls.accept(stream)).await else { return };
            serve(stream, move |request| {
                metrics.reviewed();
                let reviewer = reviewer.clone();
                async move { reviewer.answer(request).await }
            })
            .await;
        }
    };
    each_connection(&listener, accept).await;
}

/// Answers probes and Prometheus.
pub async fn metrics(
    listener: Arc<TcpListener>,
    metrics: Arc<Metrics>,
    audit: AuditLog,
    ready: Arc<AtomicBool>,
) {
    let accept = move |stream| {
        let (metrics, audit, ready) = (metrics.clone(), audit.clone(), ready.clone());
        serve(stream, move |request: Request<Incoming>| {
            let reply = match request.uri().path() {
                "/healthz" => said(StatusCode::OK, "alive"),
                "/readyz" if ready.load(Ordering::Relaxed) => said(StatusCode::OK, "ready"),
                "/readyz" => said(StatusCode::SERVICE_UNAVAILABLE, "not ready"),
                "/metrics" => match metrics.text(&audit) {
                    Ok(text) => Response::new(Full::new(Bytes::from(text))),
                    Err(_) => said(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written"),
                },
                _ => said(StatusCode::NOT_FOUND, "not found"),
            };
            std::future::ready(reply)
        })
    };
    each_connection(&listener, accept).await;
}

fn said(status: StatusCode, text: &'static str) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *reply.status_mut() = status;
    reply
}

async fn each_connection<A, C>(listener: &TcpListener, accept: A)
where
    A: Fn(tokio::net::TcpStream) -> C,
    C: Future<Output = ()> + Send + 'static,
{
    let mut places = Places::new(MAX_CONNECTIONS);
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            // Out of descriptors, most likely: a pause lets some close.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let connection = timeout(CONNECTION, accept(stream));
        places.admit(peer.ip(), async move {
            let _ = connection.await;
        });
    }
}

async fn serve<S, F, R>(stream: S, answer: F)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> R,
    R: Future<Output = Reply> + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let service = service_fn(|request| {
        let reply = answer(request);
        async move { Ok::<_, Infallible>(reply.await) }
    });
    // A caller that went away is no fault of ours.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpSocket, TcpStream},
    };

    use super::*;

    #[tokio::test]
    async fn a_probe_is_answered_while_strangers_hold_every_place() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let alive =
            |stream| serve(stream, |_: Request<Incoming>| std::future::ready(said(StatusCode::OK, "alive")));
        let serving = tokio::spawn(async move { each_connection(&listener, alive).await });
        let mut strangers = Vec::new();
        for number in 0..=MAX_CONNECTIONS {
            let stranger = TcpSocket::new_v4().unwrap();
            stranger.bind(([127, 0, 1, u8::try_from(number % 16).unwrap()], 0).into()).unwrap();
            strangers.push(stranger.connect(address).await.unwrap());
        }
        let mut probe = TcpStream::connect(address).await.unwrap();
        probe.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        timeout(Duration::from_secs(5), probe.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        serving.abort();
    }
}
