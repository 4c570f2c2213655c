//! An HTTPS origin that does what a test says, and records what it received.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ALL_VERSIONS, HandshakeKind, ProtocolVersion, ServerConfig, SupportedProtocolVersion, crypto::aws_lc_rs,
};
use rustls_pki_types::PrivateKeyDer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
    time::sleep,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// One thing an origin does.
#[derive(Clone, Debug)]
pub enum Act {
    Send(Vec<u8>),
    Wait(Duration),
    /// Waits to be notified.
    Until(Arc<Notify>),
    /// Says goodbye, and closes.
    Close,
    Reset,
}

/// When an origin acts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// After each whole request.
    Request,
    /// After each head.
    Head,
    /// After so many bytes of a connection.
    Byte(usize),
}

/// How a connection ended, as the origin saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Open,
    /// In order, or at least not by a reset.
    Closed,
    Reset,
    /// By the origin itself.
    Ours,
}

/// One connection.
#[derive(Clone, Debug)]
pub struct Seen {
    pub received: Vec<u8>,
    pub end: End,
    /// Once its handshake was completed.
    pub spoken: Option<(ProtocolVersion, HandshakeKind)>,
    /// How many acts were done on it, not counting one that ended it.
    pub acts: usize,
}

impl Seen {
    pub fn text(&self) -> String {
        String::from_utf8(self.received.clone()).unwrap()
    }

    /// How many heads of requests it received.
    pub fn heads(&self) -> usize {
        self.text().matches(" HTTP/1.1\r\n").count()
    }
}

/// One request, as somebody reads it who knows of nothing odd.
pub struct Request {
    pub head: String,
    /// With chunks put together.
    pub body: Vec<u8>,
    length: usize,
}

type Script = dyn Fn(&str) -> Vec<Act> + Send + Sync;

pub struct Origin {
    pub address: SocketAddr,
    /// The authority that vouches for it.
    pub anchors: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    _accepting: JoinSet<()>,
}

impl Origin {
    /// Serves under `name`; does `script` with each request, given what its connection received of it so far.
    pub async fn start(
        name: &str,
        at: At,
        script: impl Fn(&str) -> Vec<Act> + Send + Sync + 'static,
    ) -> Self {
        Self::speaking(ALL_VERSIONS, name, at, script).await
    }

    /// The same, in these versions of TLS only.
    pub async fn speaking(
        versions: &[&'static SupportedProtocolVersion],
        name: &str,
        at: At,
        script: impl Fn(&str) -> Vec<Act> + Send + Sync + 'static,
    ) -> Self {
        let (config, anchors) = certified(name, versions);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(
            listener,
            TlsAcceptor::from(Arc::new(config)),
            (at, Arc::new(script)),
            seen.clone(),
        ));
        Self { address, anchors, seen, _accepting: accepting }
    }

    /// Every connection so far, whether its handshake was completed or not.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The requests that were received since this was last called; every byte must be of one.
    pub fn take(&self) -> Vec<Request> {
        let mut requests = Vec::new();
        for seen in self.seen.lock().unwrap().iter_mut() {
            while !seen.received.is_empty() {
                let request = request(&seen.received).expect("a whole request");
                seen.received.drain(..request.length);
                requests.push(request);
            }
        }
        requests
    }

    /// All requests' heads of all connections.
    pub fn heads(&self) -> usize {
        self.seen().iter().map(Seen::heads).sum()
    }
}

/// A certificate for `name`, its key, and the authority that vouches for it.
pub fn certificate(name: &str) -> (Certificate, KeyPair, String) {
    let authority = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let anchors = params.self_signed(&authority).unwrap().pem();
    let issuer = Issuer::new(params, authority);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    (leaf, key, anchors)
}

fn certified(name: &str, versions: &[&'static SupportedProtocolVersion]) -> (ServerConfig, String) {
    let (leaf, key, anchors) = certificate(name);
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    (config, anchors)
}

async fn accept(
    listener: TcpListener,
    tls: TlsAcceptor,
    (at, script): (At, Arc<Script>),
    seen: Arc<Mutex<Vec<Seen>>>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.push(Seen { received: vec![], end: End::Open, spoken: None, acts: 0 });
            seen.len() - 1
        };
        let (tls, script, seen) = (tls.clone(), script.clone(), seen.clone());
        connections.spawn(async move {
            let end = match tls.accept(tcp).await {
                Ok(stream) => {
                    let tls = stream.get_ref().1;
                    let spoken = tls.protocol_version().zip(tls.handshake_kind());
                    seen.lock().unwrap()[number].spoken = spoken;
                    serve(stream, at, script, |change| change(&mut seen.lock().unwrap()[number])).await
                }
                Err(error) => ended(&error),
            };
            seen.lock().unwrap()[number].end = end;
        });
    }
}

async fn serve(
    mut stream: TlsStream<TcpStream>,
    at: At,
    script: Arc<Script>,
    record: impl Fn(&dyn Fn(&mut Seen)),
) -> End {
    let (mut waiting, mut received, mut acted) = (Vec::new(), 0, false);
    loop {
        let mut bytes = vec![0; 16 * 1024];
        let most =
            if let At::Byte(count) = at { (count - received).clamp(1, bytes.len()) } else { bytes.len() };
        let count = match stream.read(&mut bytes[..most]).await {
            Ok(0) => return End::Closed,
            Ok(count) => count,
            Err(error) => return ended(&error),
        };
        record(&|seen| seen.received.extend(&bytes[..count]));
        received += count;
        waiting.extend_from_slice(&bytes[..count]);
        while let Some((due, used)) = due(at, &waiting, received, acted) {
            acted |= at != At::Request;
            let request = String::from_utf8_lossy(&waiting[..due]).into_owned();
            waiting.drain(..used);
            for act in script(&request) {
                if let Some(end) = perform(&mut stream, act).await {
                    return end;
                }
                record(&|seen| seen.acts += 1);
            }
        }
    }
}

/// How much of what was received is to be acted upon, and how much of it is done with then.
fn due(at: At, waiting: &[u8], received: usize, acted: bool) -> Option<(usize, usize)> {
    match at {
        At::Byte(count) => (received >= count && !acted).then_some((waiting.len(), 0)),
        At::Head => head(waiting).filter(|_| !acted).map(|length| (length, 0)),
        At::Request => request(waiting).map(|request| (request.length, request.length)),
    }
}

fn head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|start| start + 4)
}

/// The first whole request, if there is one.
fn request(bytes: &[u8]) -> Option<Request> {
    let (head, rest) = bytes.split_at(head(bytes)?);
    let head = String::from_utf8(head.to_vec()).unwrap();
    let (body, read) = if head.contains("\r\nTransfer-Encoding: chunked\r\n") {
        chunks(rest)?
    } else {
        let stated = head.split("\r\nContent-Length: ").nth(1);
        let length = stated.map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
        (rest.get(..length)?.to_vec(), length)
    };
    let length = head.len() + read;
    Some(Request { head, body, length })
}

/// The data of a chunked body without trailers, and how many bytes the body takes.
fn chunks(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut data, mut read) = (Vec::new(), 0);
    loop {
        let digits = bytes[read..].windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[read..read + digits]).unwrap();
        let start = read + digits + 2;
        let end = start + usize::from_str_radix(size, 16).unwrap();
        assert_eq!(bytes.get(end..end + 2)?, b"\r\n", "after a chunk of {size}");
        data.extend_from_slice(&bytes[start..end]);
        read = end + 2;
        if start == end {
            return Some((data, read));
        }
    }
}

async fn perform(stream: &mut TlsStream<TcpStream>, act: Act) -> Option<End> {
    match act {
        Act::Send(bytes) => match write(stream, &bytes).await {
            Ok(()) => None,
            Err(error) => Some(ended(&error)),
        },
        Act::Wait(time) => {
            sleep(time).await;
            None
        }
        Act::Until(told) => {
            told.notified().await;
            None
        }
        Act::Close => {
            let _ = stream.shutdown().await;
            Some(End::Ours)
        }
        Act::Reset => {
            socket2::SockRef::from(stream.get_ref().0).set_linger(Some(Duration::ZERO)).unwrap();
            Some(End::Ours)
        }
    }
}

async fn write(stream: &mut TlsStream<TcpStream>, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

fn ended(error: &io::Error) -> End {
    if error.kind() == io::ErrorKind::ConnectionReset { End::Reset } else { End::Closed }
}
