//! An operator that answers by script, for what a real one would not do: stalls, resets, nonsense, late answers.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use keylend_contract::{
    plaintext::Plaintext,
    veil::{EXPORTER_LABEL, KEY_BYTES, Veil},
    wire::{self, Ask, ENROL_PATH, Enrol, EnrolAnswer, Renew},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{RootCertStore, ServerConfig, crypto::aws_lc_rs, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Serialize;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_rustls::TlsAcceptor;

/// What the script does with one post.
pub enum Step {
    Answer(Vec<u8>),
    AnswerAfter(Duration, Vec<u8>),
    /// Once it is notified.
    AnswerOn(Arc<Notify>, Vec<u8>),
    /// Without the veil.
    Status(u16, Vec<u8>),
    Silence,
    /// The connection is reset.
    Reset,
    /// The connection stays open, and nothing more is read or written on it: a replica that was paused.
    Freeze,
}

/// One post that was heard.
#[derive(Clone)]
pub struct Heard {
    pub path: String,
    pub message: Vec<u8>,
    /// The client certificate of its connection.
    pub certificate: Option<CertificateDer<'static>>,
    /// Which connection, counted from 0.
    pub connection: usize,
    /// When, which is after it was sent.
    pub at: Instant,
}

impl Heard {
    pub fn ask(&self) -> Ask {
        wire::decode(&self.message).unwrap().0
    }

    pub fn enrol(&self) -> Enrol {
        wire::decode(&self.message).unwrap().0
    }

    pub fn renew(&self) -> Renew {
        wire::decode(&self.message).unwrap().0
    }
}

/// A certificate authority, as the operator has one.
#[derive(Clone)]
pub struct Authority {
    root: CertificateDer<'static>,
    issuer: Arc<Issuer<'static, KeyPair>>,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap().der().clone();
        Self { root, issuer: Arc::new(Issuer::new(params, key)) }
    }

    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        roots
    }

    /// The answer to an honest enrolment.
    pub fn enrolled(&self, enrol: &Enrol, valid_for: Duration) -> Vec<u8> {
        let public_key = wire::base64_bytes(&enrol.public_key).unwrap();
        let public_key = rcgen::SubjectPublicKeyInfo::from_der(&public_key).unwrap();
        let leaf = CertificateParams::default().signed_by(&public_key, &*self.issuer).unwrap();
        let chain = vec![wire::base64_text(leaf.der())];
        encoded(&EnrolAnswer::Enrolled { chain, valid_for_seconds: valid_for.as_secs() }, &[])
    }

    fn serving(&self, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &*self.issuer).unwrap();
        (vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }
}

pub fn encoded<M: Serialize>(message: &M, values: &[Plaintext]) -> Vec<u8> {
    wire::encode(message, values).unwrap().to_vec()
}

type Script = dyn Fn(&Heard) -> Step + Send + Sync;

/// One replica. It ends when dropped.
pub struct ScriptedOperator {
    pub address: SocketAddr,
    stage: Arc<Stage>,
    accepting: JoinHandle<()>,
}

struct Stage {
    script: Box<Script>,
    heard: Mutex<Vec<Heard>>,
    connections: Mutex<usize>,
    drain: watch::Sender<usize>,
}

struct Ends {
    veil: Veil,
    reset: Notify,
    freeze: Notify,
}

impl ScriptedOperator {
    /// Serves at `address` under `name` with a certificate of `authority`. Enrolment needs no certificate; all else does.
    pub async fn start(
        authority: &Authority,
        name: &str,
        address: SocketAddr,
        script: impl Fn(&Heard) -> Step + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stage = Arc::new(Stage {
            script: Box::new(script),
            heard: Mutex::default(),
            connections: Mutex::default(),
            drain: watch::Sender::new(0),
        });
        let tls = TlsAcceptor::from(Arc::new(server_config(authority, name)));
        let accepting = tokio::spawn(accept(listener, tls, stage.clone()));
        Self { address, stage, accepting }
    }

    pub fn heard(&self, path: &str) -> Vec<Heard> {
        self.stage.heard.lock().unwrap().iter().filter(|heard| heard.path == path).cloned().collect()
    }

    pub fn connections(&self) -> usize {
        *self.stage.connections.lock().unwrap()
    }

    /// Tells every connection to go away, as a replica does that ends.
    pub fn drain(&self) {
        self.stage.drain.send_modify(|drained| *drained += 1);
    }
}

impl Drop for ScriptedOperator {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn server_config(authority: &Authority, name: &str) -> ServerConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(authority.roots()), provider.clone())
        .allow_unauthenticated()
        .build()
        .unwrap();
    let (chain, key) = authority.serving(name);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, stage: Arc<Stage>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        connections.spawn(serve(tcp, tls.clone(), stage.clone()));
    }
}

async fn serve(tcp: TcpStream, tls: TlsAcceptor, stage: Arc<Stage>) {
    let Ok(stream) = tls.accept(tcp).await else { return };
    let tls = stream.get_ref().1;
    let certificate = tls.peer_certificates().map(|chain| chain[0].clone().into_owned());
    let veil = tls.export_keying_material([0; KEY_BYTES], EXPORTER_LABEL, None).unwrap();
    let veil = Veil::new(&veil).unwrap();
    let number = {
        let mut connections = stage.connections.lock().unwrap();
        *connections += 1;
        *connections - 1
    };
    let ends = Arc::new(Ends { veil, reset: Notify::new(), freeze: Notify::new() });
    let mut drained = stage.drain.subscribe();
    let service =
        service_fn(|request| answer(request, certificate.clone(), number, stage.clone(), ends.clone()));
    let connection =
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    loop {
        tokio::select! {
            _ = &mut connection => return,
            () = ends.reset.notified() => return,
            () = ends.freeze.notified() => std::future::pending().await,
            _ = drained.changed() => connection.as_mut().graceful_shutdown(),
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    certificate: Option<CertificateDer<'static>>,
    connection: usize,
    stage: Arc<Stage>,
    ends: Arc<Ends>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    assert_eq!(path == ENROL_PATH, certificate.is_none(), "only enrolment comes without a certificate");
    let message = request.into_body().collect().await.unwrap().to_bytes().to_vec();
    let heard = Heard { path, message, certificate, connection, at: Instant::now() };
    stage.heard.lock().unwrap().push(heard.clone());
    let respond = |status: u16, body: Vec<u8>| {
        Ok(Response::builder().status(status).body(Full::new(Bytes::from(body))).unwrap())
    };
    match (stage.script)(&heard) {
        Step::Answer(answer) => respond(200, ends.veil.cover(&answer).unwrap()),
        Step::AnswerAfter(wait, answer) => {
            sleep(wait).await;
            respond(200, ends.veil.cover(&answer).unwrap())
        }
        Step::AnswerOn(told, answer) => {
            told.notified().await;
            respond(200, ends.veil.cover(&answer).unwrap())
        }
        Step::Status(status, answer) => respond(status, answer),
        Step::Silence => std::future::pending().await,
        Step::Reset => {
            ends.reset.notify_one();
            std::future::pending().await
        }
        Step::Freeze => {
            ends.freeze.notify_one();
            std::future::pending().await
        }
    }
}
