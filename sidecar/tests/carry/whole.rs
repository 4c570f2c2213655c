//! The whole sidecar with everything around it, and the plain calls.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

use keylend_contract::{
    address::Networks,
    plaintext::Plaintext,
    refusal::Refusal,
    upstream::Ports,
    wire::{ASK_PATH, Anchors, Answer, Ask, Granted, OpenCall, RENEW_PATH, RenewAnswer, Verdict},
};
use keylend_sidecar::{listen::Listener, upstream::Resolver};
use tokio::{
    net::TcpListener,
    sync::{Notify, oneshot},
    task::JoinHandle,
};
use zeroize::Zeroizing;

use crate::{
    app::App,
    origin::{Act, At, Origin},
    scripted_operator::{Heard, ScriptedOperator, Step, encoded},
    sidecar::{self, Link},
};

pub const HOST: &str = "api.example.com";
pub const VALUE: &str = "kl-test-value-0123456789";

/// What a test may change while everything runs.
pub struct World {
    pub granted: Granted,
    /// The verdict on each renewal of what would be granted now, anything else being cut; none is no answer.
    pub verdict: Option<Verdict>,
    pub refusal: Option<Refusal>,
    /// What was granted, each noted before it was answered.
    pub rows: Vec<Ask>,
    /// What names resolve to, if they are asked for as absolute.
    pub names: HashMap<String, Vec<IpAddr>>,
    /// Whether a name resolves.
    pub resolving: Resolving,
}

/// How a resolver behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Resolving {
    AtOnce,
    /// Not before this changes.
    NotYet,
}

/// The running sidecar. It ends when dropped.
pub struct Whole {
    pub address: SocketAddr,
    pub operator: ScriptedOperator,
    pub world: Arc<Mutex<World>>,
    pub serving: JoinHandle<()>,
    pub stop: Option<oneshot::Sender<()>>,
    _link: Link,
}

/// A grant for the origin at `address`, by one share.
pub fn granted(address: SocketAddr, anchors: &str) -> Granted {
    let mut granted = sidecar::granted();
    granted.destination = format!("https://{HOST}:{}", address.port()).parse().unwrap();
    granted.permits[0].ports = Ports::try_from(vec![address.port()]).unwrap();
    granted.permits[0].networks = Networks::parse(&["127.0.0.0/8"]).unwrap();
    granted.permits[0].anchors = Anchors::Pem(anchors.to_owned());
    granted
}

impl Whole {
    /// A sidecar whose route `r` leads to `origin`.
    pub async fn before(origin: &Origin) -> Self {
        Self::start(granted(origin.address, &origin.anchors)).await
    }

    pub async fn start(granted: Granted) -> Self {
        let names = HashMap::from([(HOST.to_owned(), vec![IpAddr::from([127, 0, 0, 1])])]);
        let verdict = Some(Verdict::Held(2_000));
        let resolving = Resolving::AtOnce;
        let world = World { granted, verdict, refusal: None, rows: vec![], names, resolving };
        let world = Arc::new(Mutex::new(world));
        let script = world.clone();
        let (operator, link) = sidecar::linked(move |heard| answer(&mut script.lock().unwrap(), heard)).await;
        let resolving = world.clone();
        let resolver = Resolver::new(move |host, _| {
            let absolute = host.strip_suffix('.');
            let answers = absolute.and_then(|host| resolving.lock().unwrap().names.get(host).cloned());
            let resolving = resolving.clone();
            async move {
                while resolving.lock().unwrap().resolving == Resolving::NotYet {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
                answers.ok_or_else(|| std::io::ErrorKind::NotFound.into())
            }
        });
        let link_parts = (link.identity.clone(), link.operator.clone(), link.leases.clone());
        let listener =
            Listener::new(TcpListener::bind("127.0.0.1:0").await.unwrap(), link_parts, resolver).unwrap();
        let address = listener.address();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(listener.serve(async move {
            let _ = stopped.await;
        }));
        Self { address, operator, world, serving, stop: Some(stop), _link: link }
    }

    pub async fn app(&self) -> App {
        App::connect(self.address).await
    }

    pub fn change(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.world.lock().unwrap());
    }

    pub fn asks(&self) -> Vec<Heard> {
        self.operator.heard(ASK_PATH)
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn answer(world: &mut World, heard: &Heard) -> Step {
    let value = Plaintext::parse(Zeroizing::new(VALUE.as_bytes().to_vec())).unwrap();
    match (heard.path.as_str(), &world.refusal, &world.verdict) {
        (ASK_PATH, Some(refusal), _) => sidecar::no(refusal.clone()),
        (ASK_PATH, None, _) => {
            world.rows.push(heard.ask());
            Step::Answer(encoded(&Answer::Granted(Box::new(world.granted.clone())), &[value]))
        }
        (RENEW_PATH, _, Some(verdict)) => {
            let again = |call: &OpenCall| {
                let same = call.basis == world.granted.basis();
                if same { verdict.clone() } else { Verdict::Cut(Refusal::GrantLapsed) }
            };
            let verdicts = heard.renew().calls.iter().map(again).collect();
            Step::Answer(encoded(&RenewAnswer { verdicts }, &[]))
        }
        _ => Step::Silence,
    }
}

pub fn ok(body: &str) -> Vec<Act> {
    vec![Act::Send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes())]
}

#[tokio::test]
async fn the_origin_gets_the_credential_and_the_app_the_response() {
    let origin = Origin::start(HOST, At::Request, |_| ok("hello")).await;
    let whole = Whole::before(&origin).await;
    let fields = "Authorization: Bearer own\r\nauthorization: other\r\nX-App: yes\r\n";
    let reply = whole.app().await.call("GET /r/v1/charges?limit=3", fields, "").await;
    assert_eq!((reply.status, reply.body.as_str(), reply.refusal()), (200, "hello", None));
    let received = origin.seen()[0].text();
    assert!(received.starts_with("GET /v1/charges?limit=3 HTTP/1.1\r\nHost: api.example.com:"), "{received}");
    assert!(received.contains("\r\nX-App: yes\r\n"));
    assert_eq!(received.to_lowercase().matches("\r\nauthorization: ").count(), 1);
    assert!(received.contains(&format!("\r\nauthorization: Bearer {VALUE}\r\n")));
    let ask = whole.asks()[0].ask();
    assert_eq!((ask.method.as_str(), ask.path.as_str()), ("GET", "/v1/charges"));
    let span = format!("traceparent: 00-{}-{}-01", ask.trace.trace_id, ask.trace.span_id);
    assert!(received.contains(&span), "the upstream hit joins the row: {received}");
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let origin = Origin::start(HOST, At::Request, |_| ok("hello")).await;
    let whole = Whole::before(&origin).await;
    let mut app = whole.app().await;
    for _ in 0..20 {
        assert_eq!(app.get().await.status, 200);
    }
    assert_eq!((origin.seen().len(), origin.heads(), whole.asks().len()), (1, 20, 20));
}

#[tokio::test]
async fn a_connection_of_one_generation_is_never_used_by_another() {
    let origin = Origin::start(HOST, At::Request, |_| ok("hello")).await;
    let whole = Whole::before(&origin).await;
    let mut app = whole.app().await;
    for generation in [1, 2, 2, 1] {
        whole.change(|world| world.granted.permits[0].generation = generation);
        assert_eq!(app.get().await.status, 200);
    }
    assert_eq!(origin.seen().iter().map(crate::origin::Seen::heads).collect::<Vec<_>>(), [2, 2]);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let origin = Origin::start(HOST, At::Request, |request| ok(request.split(' ').nth(1).unwrap())).await;
    let whole = Whole::before(&origin).await;
    let mut app = whole.app().await;
    let requests = [
        app.request("GET /r/1", "", ""),
        app.request("POST /r/2", "Content-Length: 4\r\n", "body"),
        app.request("POST /r/3", "Transfer-Encoding: chunked\r\n", "4\r\nbody\r\n0\r\n\r\n"),
        app.request("GET /r/4", "", ""),
    ];
    app.send(requests.concat()).await;
    for path in ["/1", "/2", "/3", "/4"] {
        assert_eq!(app.reply().await.body, path);
    }
}

#[tokio::test]
async fn a_refusal_is_a_problem_and_the_connection_serves_on() {
    let origin = Origin::start(HOST, At::Request, |_| ok("hello")).await;
    let whole = Whole::before(&origin).await;
    let mut app = whole.app().await;
    let refusal = Refusal::ShareRevoked { secret: "stripe".into() };
    whole.change(|world| world.refusal = Some(refusal.clone()));
    for (line, fields, body) in [("GET /r/", "", ""), ("POST /r/", "Content-Length: 4\r\n", "body")] {
        let reply = app.call(line, fields, body).await;
        assert_eq!((reply.status, reply.refusal()), (403, Some("share_revoked")));
        assert_eq!(reply.body, refusal.problem());
        assert_eq!(reply.field("Content-Type"), Some("application/problem+json"));
        assert_eq!(reply.field("Cache-Control"), Some("no-store"));
    }
    assert_eq!(origin.seen().len(), 0);
    whole.change(|world| world.refusal = None);
    assert_eq!(app.get().await.status, 200);
    // The body of a refused request that waits to be invited never comes.
    whole.change(|world| world.refusal = Some(refusal));
    let reply = app.call("POST /r/", "Content-Length: 4\r\nExpect: 100-continue\r\n", "").await;
    assert_eq!((reply.status, reply.field("Connection")), (403, Some("close")));
    assert_eq!(app.rest().await, "");
}

#[tokio::test]
async fn probes_say_yes_and_nothing_more() {
    let origin = Origin::start(HOST, At::Request, |_| ok("hello")).await;
    let whole = Whole::before(&origin).await;
    let mut app = whole.app().await;
    for path in ["/.keylend/started", "/.keylend/ready"] {
        let reply = app.call(&format!("GET {path}"), "", "").await;
        assert_eq!((reply.status, reply.body.as_str()), (200, ""));
    }
    assert_eq!(app.call("GET /.keylend/other", "", "").await.refusal(), Some("request_malformed"));
}

#[tokio::test]
async fn a_stop_signal_lets_open_calls_end_and_takes_no_more() {
    let told = Arc::new(Notify::new());
    let telling = told.clone();
    let origin =
        Origin::start(HOST, At::Request, move |_| [vec![Act::Until(told.clone())], ok("hello")].concat())
            .await;
    let mut whole = Whole::before(&origin).await;
    let (mut idle, mut busy) = (whole.app().await, whole.app().await);
    telling.notify_one();
    assert_eq!(idle.get().await.status, 200);
    let request = busy.request("GET /r/", "", "");
    // Another one is there already, and is not begun.
    busy.send(request.repeat(2)).await;
    sidecar::until(|| origin.heads() == 2).await;
    whole.stop.take();
    assert_eq!(idle.rest().await, "");
    telling.notify_one();
    assert_eq!(busy.reply().await.body, "hello");
    assert_eq!(busy.rest().await, "");
    (&mut whole.serving).await.unwrap();
    assert!(tokio::net::TcpStream::connect(whole.address).await.is_err());
}
