//! The listener for sidecars: TLS 1.3, HTTP/2, three paths; bounded in size, time and number.
//!
//! Only enrolment is possible without a client certificate of ours. A connection's certificate is read once, when it
//! is opened; whether its pod still lives is asked again on every call.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use keylend_contract::{
    veil::{EXPORTER_LABEL, KEY_BYTES, Veil},
    wire::{self, ASK_PATH, Ask, ENROL_PATH, Enrol, MAX_MESSAGE_BYTES, RENEW_PATH, Renew},
};
use serde::de::DeserializeOwned;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use zeroize::Zeroizing;

use super::{
    Resolver,
    caller::Caller,
    respond::{self, Reply},
};
use crate::{
    enrol::{Enrolment, MAX_ENROL_BYTES},
    metrics::Metrics,
    places::Places,
};

const HANDSHAKE: Duration = Duration::from_secs(5);
const BODY: Duration = Duration::from_secs(2);
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const MAX_CONNECTIONS: u32 = 10_000;
const MAX_STREAMS: u32 = 256;
const MAX_BODY_BYTES: usize = MAX_MESSAGE_BYTES + 64;
/// Connections of nobody yet: during the handshake, and while they enrol.
const MAX_ANONYMOUS: usize = 1_024;
/// Enrolling takes one request.
const ANONYMOUS_STREAMS: u32 = 8;
/// How long a connection without a certificate lasts, whatever goes on in it.
const ANONYMOUS_LIFE: Duration = Duration::from_secs(10);

/// What answers sidecars.
pub struct Server {
    /// Answers asks and renewals.
    pub resolver: Resolver,
    /// Answers enrolments.
    pub enrolment: Arc<Enrolment>,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

/// Who is at the other end of one connection, and what their answers are covered with.
struct Peer {
    caller: Option<Caller>,
    veil: Veil,
}

impl Server {
    /// Serves `listener` until the sender of `drain` is dropped; then lets open requests finish.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        tls: TlsAcceptor,
        mut drain: watch::Receiver<()>,
    ) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS as usize));
        let mut anonymous = Places::new(MAX_ANONYMOUS);
        loop {
            let accepted = tokio::select! {
                _ = drain.changed() => break,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, peer)) = accepted else {
                // Out of descriptors, most likely: a pause lets some close.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            anonymous
                .admit(peer.ip(), self.clone().welcome(stream, tls.clone(), places.clone(), drain.clone()));
        }
        // Whoever comes now is told so, and tries another replica at once.
        drop(listener);
        // Each sidecar's connection holds a place until it is over.
        let _ = places.acquire_many(MAX_CONNECTIONS).await;
    }

    /// A sidecar that shows its certificate leaves the places of strangers for one of its own.
    async fn welcome(
        self: Arc<Self>,
        stream: TcpStream,
        tls: TlsAcceptor,
        places: Arc<Semaphore>,
        drain: watch::Receiver<()>,
    ) {
        let _ = stream.set_nodelay(true);
        let Ok(Ok(stream)) = timeout(HANDSHAKE, tls.accept(stream)).await else { return };
        let Some(caller) = caller(&stream) else {
            let _ = timeout(ANONYMOUS_LIFE, self.connection(stream, None, drain)).await;
            return;
        };
        let Ok(place) = places.try_acquire_owned() else { return };
        tokio::spawn(async move {
            self.connection(stream, Some(caller), drain).await;
            drop(place);
        });
    }

    async fn connection(
        self: Arc<Self>,
        stream: TlsStream<TcpStream>,
        caller: Option<Caller>,
        mut drain: watch::Receiver<()>,
    ) {
        let Some(veil) = veil(&stream) else { return };
        let streams = if caller.is_some() { MAX_STREAMS } else { ANONYMOUS_STREAMS };
        let peer = Arc::new(Peer { caller, veil });
        let service = service_fn(move |request| {
            let (server, peer) = (self.clone(), peer.clone());
            async move { Ok::<_, std::convert::Infallible>(server.answer(&peer, request).await) }
        });
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(streams)
            .initial_stream_window_size(64 * 1024)
            .initial_connection_window_size(256 * 1024)
            .max_frame_size(16 * 1024)
            .max_header_list_size(8 * 1024)
            .keep_alive_interval(KEEP_ALIVE)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = drain.changed() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }

    async fn answer(&self, peer: &Peer, request: Request<Incoming>) -> Reply {
        let arrived = Instant::now();
        let veil = &peer.veil;
        if request.method() != Method::POST {
            return respond::bare(StatusCode::METHOD_NOT_ALLOWED);
        }
        match (request.uri().path(), &peer.caller) {
            (ENROL_PATH, _) => match read::<Enrol>(request, MAX_ENROL_BYTES).await {
                Ok(enrol) => {
                    let outcome = self.enrolment.enrol(enrol).await;
                    self.metrics.enrolled(&outcome);
                    self.resolver.record_enrolment(&outcome).await;
                    respond::enrolment(outcome, veil)
                }
                Err(status) => respond::bare(status),
            },
            (ASK_PATH, Some(caller)) => match read::<Ask>(request, MAX_BODY_BYTES).await {
                Ok(ask) => {
                    let outcome = self.resolver.ask(caller, ask, arrived).await;
                    self.metrics.asked(&outcome, arrived.elapsed());
                    respond::answer(outcome, veil)
                }
                Err(status) => respond::bare(status),
            },
            (RENEW_PATH, Some(caller)) => match read::<Renew>(request, MAX_BODY_BYTES).await {
                Ok(renew) => {
                    let answer = self.resolver.renew(caller, renew).await;
                    self.metrics.renewed(&answer);
                    respond::renewal(&answer, veil)
                }
                Err(status) => respond::bare(status),
            },
            (ASK_PATH | RENEW_PATH, None) => respond::bare(StatusCode::UNAUTHORIZED),
            _ => respond::bare(StatusCode::NOT_FOUND),
        }
    }
}

fn veil(stream: &TlsStream<TcpStream>) -> Option<Veil> {
    let key = Zeroizing::new([0; KEY_BYTES]);
    let key = stream.get_ref().1.export_keying_material(key, EXPORTER_LABEL, None).ok()?;
    Veil::new(&key).ok()
}

fn caller(stream: &TlsStream<TcpStream>) -> Option<Caller> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    Caller::from_certificate(certificate).ok()
}

/// Reads one message; what is too long, too slow or not understood is the sender's fault.
async fn read<M: DeserializeOwned>(request: Request<Incoming>, most: usize) -> Result<M, StatusCode> {
    let body = Limited::new(request.into_body(), most).collect();
    let body: Bytes = match timeout(BODY, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return Err(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => return Err(StatusCode::REQUEST_TIMEOUT),
    };
    let (message, values) = wire::decode::<M>(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    if values.is_empty() { Ok(message) } else { Err(StatusCode::BAD_REQUEST) }
}
