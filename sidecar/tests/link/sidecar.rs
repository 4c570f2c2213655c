//! The link as the sidecar runs it, and what both sides say in these tests.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use keylend_contract::{
    address::Networks,
    domain_lock::DomainLock,
    material::{HeaderMaterial, Part},
    plaintext::Plaintext,
    refusal::Refusal,
    upstream::Ports,
    wire::{
        Anchors, Answer, Ask, CallId, ENROL_PATH, Granted, HeadersDigest, OPERATOR_SERVER_NAME, Permit,
        Target, Trace, WIRE_VERSION,
    },
};
use keylend_sidecar::{
    config::Config,
    fault::Failure,
    identity::{Identity, enrolment::Enrolment},
    lease::{Leases, Permission},
    operator::Operator,
};
use tokio::{
    select,
    task::JoinSet,
    time::{sleep, timeout},
};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::scripted_operator::{Authority, Heard, ScriptedOperator, Step, encoded};

pub const HOUR: Duration = Duration::from_hours(1);

/// A token as the kubelet projects it; removed when dropped.
pub struct Token(pub PathBuf);

impl Token {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("keylend-token-{}", Uuid::new_v4()));
        std::fs::write(&path, "kl-test-token").unwrap();
        Self(path)
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What a sidecar is told: the operator at `port` of `host` must prove itself by `authority`.
pub fn config(authority: &Authority, host: &str, port: u16, token: &Token) -> Config {
    Config {
        listener: SocketAddr::from(([127, 0, 0, 1], 0)),
        operator_host: host.into(),
        operator_port: port,
        operator_roots: authority.roots(),
        token: token.0.clone(),
    }
}

/// The running link. It ends when dropped.
pub struct Link {
    pub identity: Arc<Identity>,
    pub operator: Operator,
    pub leases: Leases,
    pub token: Token,
    _tasks: JoinSet<()>,
}

impl Link {
    /// Starts a link to the operator at `port` of `host`, which must prove itself by `authority`.
    pub fn start(authority: &Authority, host: &str, port: u16) -> Self {
        let token = Token::new();
        let config = config(authority, host, port, &token);
        let identity = Arc::new(Identity::generate().unwrap());
        let enrolment = Enrolment::new(&config, identity.clone()).unwrap();
        let operator = Operator::new(&config, identity.clone()).unwrap();
        let leases = Leases::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { enrolment.keep().await });
        let (line, renewing, renewed) = (operator.clone(), operator.clone(), leases.clone());
        tasks.spawn(async move { line.keep_connected().await });
        tasks.spawn(async move { renewing.keep_renewing(&renewed).await });
        Self { identity, operator, leases, token, _tasks: tasks }
    }

    pub async fn enrolled(self) -> Self {
        until(|| self.identity.enrolled().is_ok()).await;
        self
    }

    /// The refusal an ask meets.
    pub async fn refusal(&self, number: u128) -> Refusal {
        match self.operator.ask(&ask(number)).await {
            Err(Failure::Refused(refusal)) => refusal,
            Err(Failure::Broke(fault)) => panic!("{fault}: {:?}", std::error::Error::source(&fault)),
            Ok(_) => panic!("granted"),
        }
    }

    pub async fn permission(&self, number: u128) -> Permission {
        match self.operator.ask(&ask(number)).await {
            Ok(permission) => permission,
            Err(failure) => panic!("{failure}: {:?}", std::error::Error::source(&failure)),
        }
    }
}

/// An operator that enrols everybody and does `script` with everything else, and a link to it.
pub async fn linked(script: impl Fn(&Heard) -> Step + Send + Sync + 'static) -> (ScriptedOperator, Link) {
    let authority = Authority::new();
    let operator = replica(&authority, SocketAddr::from(([127, 0, 0, 1], 0)), script).await;
    let link = Link::start(&authority, "127.0.0.1", operator.address.port()).enrolled().await;
    (operator, link)
}

/// A replica that enrols everybody and does `script` with everything else.
pub async fn replica(
    authority: &Authority,
    address: SocketAddr,
    script: impl Fn(&Heard) -> Step + Send + Sync + 'static,
) -> ScriptedOperator {
    let enrolling = Authority::clone(authority);
    ScriptedOperator::start(authority, OPERATOR_SERVER_NAME, address, move |heard| {
        if heard.path == ENROL_PATH {
            Step::Answer(enrolling.enrolled(&heard.enrol(), HOUR))
        } else {
            script(heard)
        }
    })
    .await
}

/// Waits until `done`, but not for ever.
pub async fn until(done: impl Fn() -> bool) {
    eventually(async || done()).await;
}

/// Waits until what takes a while itself is `done`, but not for ever.
pub async fn eventually(done: impl AsyncFn() -> bool) {
    let wait = async {
        while !done().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(30), wait).await.unwrap();
}

/// What `done` gives, if it does within `limit`, a multiple of 50 ms. That is counted in short waits on the runtime that
/// everything here runs on, so that a machine which has no time for any of it takes nothing of it away; nor does a
/// product that blocks the runtime.
pub async fn within<T>(limit: Duration, done: impl Future<Output = T>) -> Option<T> {
    const WAIT: Duration = Duration::from_millis(50);
    let waits = async {
        for _ in 0..limit.as_millis() / WAIT.as_millis() {
            sleep(WAIT).await;
        }
    };
    select! {
        biased;
        done = done => Some(done),
        () = waits => None,
    }
}

/// A loopback address of one's own, where a port that was left stays free.
pub fn own_address() -> IpAddr {
    let [a, b, c, ..] = *Uuid::new_v4().as_bytes();
    IpAddr::from([127, a | 1, b, c | 1])
}

pub fn ask(number: u128) -> Ask {
    Ask {
        version: WIRE_VERSION,
        call: CallId(Uuid::from_u128(number)),
        trace: Trace { trace_id: "1".repeat(32), span_id: "1".repeat(16) },
        target: Target::Route("stripe".into()),
        method: "POST".into(),
        path: "/v1/charges".into(),
    }
}

pub fn granted() -> Granted {
    let permit = Permit {
        share: "share-uid".into(),
        generation: 1,
        lock: DomainLock::parse(&["api.example.com"]).unwrap(),
        ports: Ports::try_from(vec![443]).unwrap(),
        networks: Networks::parse::<&str>(&[]).unwrap(),
        anchors: Anchors::Public,
    };
    let parts = vec![Part::Literal("Bearer ".into()), Part::Value(0)];
    let written = ("authorization".parse().unwrap(), "Bearer {{secret:stripe}}".parse().unwrap());
    Granted {
        begin_within_ms: 2_000,
        destination: "https://api.example.com".parse().unwrap(),
        permits: vec![permit],
        headers: vec![HeaderMaterial { name: "authorization".parse().unwrap(), parts }],
        headers_digest: HeadersDigest::of(&[written]),
    }
}

/// A yes, with a value.
pub fn yes() -> Step {
    Step::Answer(granting())
}

/// A grant as it is on the wire, with a value.
pub fn granting() -> Vec<u8> {
    let value = Plaintext::parse(Zeroizing::new(b"kl-test-value".to_vec())).unwrap();
    encoded(&Answer::Granted(Box::new(granted())), &[value])
}

pub fn no(refusal: Refusal) -> Step {
    Step::Answer(encoded(&Answer::Refused(refusal), &[]))
}
