//! A real API server for tests: etcd and kube-apiserver on loopback, as long as this process runs, with our resource
//! definitions. What is asked through [`ApiServer::client`] stands in a log and may be cut off.
//!
//! Objects that a test needs are put into etcd, so that they have the UIDs and times that it names. There is one server,
//! so tests that use it take turns. Each finds the objects of [`NAMESPACES`] and our own as new; what the server remembers is not:
//! definitions, and what it watches for its own use.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "it is a test that fails"
)]

mod place;
mod server;
mod turns;

use std::{
    convert::Infallible,
    sync::{Arc, LazyLock, Mutex, Weak},
    thread::spawn,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use self::{place::Place, server::Server, turns::Turn};

// Started on a thread of its own, since whoever comes first may be within a runtime.
static SERVER: LazyLock<Server> = LazyLock::new(|| spawn(Server::start).join().unwrap());

/// What exists when a test begins; it may use no others.
const NAMESPACES: [&str; 4] = ["keylend-system", "payments", "partner", "owner"];

/// The server, for one test; clones are the same server.
#[derive(Clone)]
pub struct ApiServer(Arc<Use>);

/// How one test uses it.
struct Use {
    server: &'static Server,
    log: Mutex<Vec<String>>,
    failing: Mutex<Option<(String, u16)>>,
    hook: Mutex<Option<Hook>>,
    _turn: Turn,
}

type Hook = Box<dyn FnMut(&ApiServer, &str) + Send>;

impl ApiServer {
    /// Starts the server unless it runs, waits for this test's turn, and removes what the last one left.
    pub fn begin() -> Self {
        let turn = Turn::take();
        let (log, failing, hook) = Default::default();
        let api = Self(Arc::new(Use { server: &SERVER, log, failing, hook, _turn: turn }));
        api.0.server.forget(&Place::ranges(&NAMESPACES));
        for name in NAMESPACES {
            let uid = format!("uid-of-{name}");
            api.set(&format!("/api/v1/namespaces/{name}"), json!({ "metadata": { "uid": uid } }));
        }
        api
    }

    /// A client whose requests are logged, and may be cut off. It does not keep the server for its test, and gets no end
    /// of a watch.
    pub fn client(&self) -> Client {
        let using = Arc::downgrade(&self.0);
        let service = tower::service_fn(move |request: Request<Body>| {
            let using = using.clone();
            // While a blocking task runs, a clock that stands still does not jump ahead.
            async move { Ok::<_, Infallible>(spawn_blocking(move || answer(&using, request)).await.unwrap()) }
        });
        Client::new(service, "default")
    }

    /// A kubeconfig by which an administrator acts as `user`, in the namespace `partner`.
    pub fn kubeconfig(&self, user: &str) -> Value {
        self.0.server.kubeconfig(user)
    }

    /// The object at `path`, as it is stored.
    pub fn object(&self, path: &str) -> Option<Value> {
        match self.0.server.request(Request::get(path), vec![]) {
            Ok(object) => Some(object),
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// What the server says that cannot give the object at `path`.
    pub fn refusal(&self, path: &str) -> String {
        match self.0.server.request(Request::get(path), vec![]) {
            Err(kube::Error::Api(status)) => status.message,
            answer => panic!("{path}: {answer:?}"),
        }
    }

    /// The objects of a list.
    pub fn list(&self, path: &str) -> Vec<Value> {
        let list = self.0.server.request(Request::get(path), vec![]).unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// What the server answers to `object`, posted to `path` by an administrator.
    pub fn post(&self, path: &str, object: &Value) -> Value {
        let request = Request::post(path).header("Content-Type", "application/json");
        self.0.server.request(request, object.to_string().into_bytes()).unwrap()
    }

    /// Stores `object` at `path`, whatever is there and whatever rules there are.
    pub fn set(&self, path: &str, mut object: Value) {
        let place = Place::of(path);
        object["apiVersion"] = json!(place.api_version);
        object["kind"] = json!(place.kind);
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.remove("resourceVersion");
        metadata.insert("name".into(), json!(place.name));
        if let Some(namespace) = place.namespace {
            metadata.insert("namespace".into(), json!(namespace));
        }
        metadata.entry("uid").or_insert_with(|| json!(Uuid::new_v4()));
        metadata.entry("creationTimestamp").or_insert(json!("2026-01-01T00:00:00Z"));
        self.0.server.store(&place.key, &object.to_string());
    }

    /// Stores what is no object at `path`, which the server cannot read any more.
    pub fn spoil(&self, path: &str) {
        self.0.server.store(&Place::of(path).key, "kl-test-no-object");
    }

    /// Removes the object at `path`, whatever protects it.
    pub fn unset(&self, path: &str) -> Option<Value> {
        let object = self.object(path);
        self.0.server.forget(&[Place::of(path).only()]);
        object
    }

    /// Answers `status` to every request whose log line begins with `prefix`, from now on.
    pub fn fail(&self, prefix: &str, status: u16) {
        *self.0.failing.lock().unwrap() = Some((prefix.to_owned(), status));
    }

    /// Lets every request pass again.
    pub fn heal(&self) {
        *self.0.failing.lock().unwrap() = None;
    }

    /// Calls `hook` with the path of each request once it was answered, before whoever asked learns of it.
    pub fn after_each(&self, hook: impl FnMut(&Self, &str) + Send + 'static) {
        *self.0.hook.lock().unwrap() = Some(Box::new(hook));
    }

    /// `METHOD path` of every request so far.
    pub fn log(&self) -> Vec<String> {
        self.0.log.lock().unwrap().clone()
    }
}

/// Lets a request pass, unless it is to fail or its test is over.
fn answer(using: &Weak<Use>, request: Request<Body>) -> Response<Full<Bytes>> {
    let Some(using) = using.upgrade() else { return failure(503) };
    let path = request.uri().path().to_owned();
    let line = format!("{} {path}", request.method());
    using.log.lock().unwrap().push(line.clone());
    let failing = using.failing.lock().unwrap().clone();
    let answer = match failing.filter(|(prefix, _)| line.starts_with(prefix)) {
        Some((_, status)) => failure(status),
        None => using.server.pass(request),
    };
    if let Some(hook) = using.hook.lock().unwrap().as_mut() {
        hook(&ApiServer(using.clone()), &path);
    }
    answer
}

fn failure(status: u16) -> Response<Full<Bytes>> {
    let body = json!({ "kind": "Status", "status": "Failure", "reason": "InternalError", "code": status });
    let body = Full::new(Bytes::from(body.to_string()));
    Response::builder().status(StatusCode::from_u16(status).unwrap()).body(body).unwrap()
}
