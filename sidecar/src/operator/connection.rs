//! One HTTP/2 connection to one replica of the operator.
//!
//! A post is written at most once; whether it may have been acted on is told apart, because only what was not may be sent
//! again.
//! A silent replica is noticed by pings while something is asked of it, and by TCP otherwise.

use std::{error::Error, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use keylend_contract::{
    plaintext::MAX_VALUE_BYTES,
    veil::{EXPORTER_LABEL, KEY_BYTES, VEIL_BYTES, Veil, VeilError},
    wire::{MAX_MESSAGE_BYTES, MAX_VALUES, OPERATOR_SERVER_NAME},
};
use rustix::net::sockopt;
use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, sync::watch};
use tokio_rustls::{TlsConnector, client::TlsStream};
use zeroize::Zeroizing;

use crate::fault::with_causes;

/// Pings go while an answer is awaited; both together bound how long a silent replica is waited for.
const PING_INTERVAL: Duration = Duration::from_millis(400);
const PING_TIMEOUT: Duration = Duration::from_millis(800);
/// What TCP does for an idle connection, without waking us.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEPALIVE_PROBES: u32 = 2;
const UNACKNOWLEDGED_MILLISECONDS: u32 = 1_500;

const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const MAX_ANSWER_BYTES: usize = 4 + MAX_MESSAGE_BYTES + 2 + MAX_VALUES * (4 + MAX_VALUE_BYTES) + VEIL_BYTES;

/// A connection. Clones share it; it ends with the last of them, once what was asked is answered.
#[derive(Clone)]
pub(crate) struct Connection {
    requests: http2::SendRequest<Full<Bytes>>,
    veil: Arc<Veil>,
    ended: watch::Receiver<()>,
    address: SocketAddr,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("connecting to the operator")]
    Connect(#[source] std::io::Error),
    #[error("agreeing on TLS with the operator")]
    Tls(#[source] std::io::Error),
    #[error("agreeing on a veil with the operator")]
    Veil(#[source] Box<dyn Error + Send + Sync>),
    #[error("agreeing on HTTP/2 with the operator")]
    Http(#[source] hyper::Error),
}

/// Why a post has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PostError {
    /// It was not written, or the operator has said that it will not act on it.
    #[error("the connection ended before the message was taken in")]
    Unprocessed,
    /// It may have been read.
    #[error("the connection ended before the answer was complete")]
    Lost(#[source] Box<dyn Error + Send + Sync>),
    #[error("the operator answered with status {0}")]
    Status(StatusCode),
    #[error("the operator's answer is too long")]
    TooLong,
    #[error("the operator's answer cannot be read")]
    Covered(#[from] VeilError),
}

impl Connection {
    /// Connects to `address`, which must prove to be the operator.
    pub(crate) async fn open(address: SocketAddr, tls: &TlsConnector) -> Result<Self, OpenError> {
        let tcp = TcpStream::connect(address).await.map_err(OpenError::Connect)?;
        watch_silence(&tcp).map_err(OpenError::Connect)?;
        let name = ServerName::try_from(OPERATOR_SERVER_NAME).map_err(std::io::Error::other);
        let stream = tls.connect(name.map_err(OpenError::Tls)?, tcp).await.map_err(OpenError::Tls)?;
        let veil = Arc::new(veil(&stream).map_err(OpenError::Veil)?);
        let (requests, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(OpenError::Http)?;
        let (alive, ended) = watch::channel(());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::info!(%address, cause = with_causes(&error), "the connection to the operator broke");
            }
            drop(alive);
        });
        Ok(Self { requests, veil, ended, address })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        self.ended.same_channel(&other.ended)
    }

    /// Resolves when the connection has ended.
    pub(crate) async fn ended(&self) {
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }

    /// Posts `message` to `path` and collects the answer.
    pub(crate) async fn post(
        &self,
        path: &'static str,
        message: Bytes,
    ) -> Result<Zeroizing<Vec<u8>>, PostError> {
        let lost = |error: hyper::Error| PostError::Lost(error.into());
        let request = Request::post(format!("https://{OPERATOR_SERVER_NAME}{path}"))
            .body(Full::new(message))
            .map_err(|error| PostError::Lost(error.into()))?;
        let response = match self.requests.clone().try_send_request(request).await {
            Ok(response) => response,
            Err(error) if error.message().is_some() || is_unprocessed(error.error()) => {
                return Err(PostError::Unprocessed);
            }
            Err(error) => return Err(lost(error.into_error())),
        };
        if response.status() != StatusCode::OK {
            return Err(PostError::Status(response.status()));
        }
        Ok(self.veil.lift(collect(response.into_body()).await?)?)
    }
}

/// Whether HTTP/2 guarantees that the stream was not acted on and never will be (RFC 9113, 6.8 and 8.7).
fn is_unprocessed(error: &hyper::Error) -> bool {
    let error = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    error.is_some_and(|error| {
        error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

/// Collects an answer into one buffer of its exact length, in which it is then uncovered.
async fn collect(body: Incoming) -> Result<Zeroizing<Vec<u8>>, PostError> {
    let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() { PostError::TooLong } else { PostError::Lost(error) }
    })?;
    let mut parts = body.aggregate();
    let mut answer = Zeroizing::new(vec![0; bytes::Buf::remaining(&parts)]);
    bytes::Buf::copy_to_slice(&mut parts, &mut answer);
    Ok(answer)
}

fn veil(stream: &TlsStream<TcpStream>) -> Result<Veil, Box<dyn Error + Send + Sync>> {
    let key = Zeroizing::new([0; KEY_BYTES]);
    let key = stream.get_ref().1.export_keying_material(key, EXPORTER_LABEL, None)?;
    Ok(Veil::new(&key)?)
}

fn watch_silence(tcp: &TcpStream) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(tcp, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(tcp, KEEPALIVE_PROBES)?;
    Ok(sockopt::set_tcp_user_timeout(tcp, UNACKNOWLEDGED_MILLISECONDS)?)
}
