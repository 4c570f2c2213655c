//! The programs, which the test cluster's tool runs for this process, and those who speak to them.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Request, Response, request};
use http_body_util::{BodyExt as _, Full};
use kube::{Client, Config, client::Body, config::AuthInfo};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::{Value, json};
use tokio::{
    runtime::Runtime,
    time::{sleep, timeout},
};

use super::place::Range;

// By a shell, which knows the environment.
const PROGRAM: &str = r#"exec "${KEYLEND_CACHE:-$HOME/.cache/keylend}/bin/keylend-cluster" api"#;
/// How long new resources may take to be served.
const PATIENCE: Duration = Duration::from_secs(30);
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// The running programs, and how to speak to them. They are spoken to on a runtime of their own, since a test's clock may stand still.
pub(super) struct Server {
    runtime: Runtime,
    api: Client,
    etcd: Client,
    facts: Value,
    /// They end with its standard input.
    _running: Child,
}

impl Server {
    pub(super) fn start() -> Self {
        let mut program = Command::new("sh");
        program.args(["-c", PROGRAM]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut running = program.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(running.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let facts: Value = serde_json::from_str(&line).expect("an API server; make cluster-tools builds it");
        let runtime = Runtime::new().unwrap();
        let (api, etcd) = {
            let _inside = runtime.enter();
            (client(&facts, "server"), client(&facts, "etcd"))
        };
        runtime.block_on(define(&api));
        Self { runtime, api, etcd, facts, _running: running }
    }

    /// Answers what a client under test asks.
    pub(super) fn pass(&'static self, request: Request<Body>) -> Response<Full<Bytes>> {
        self.wait(async {
            let (head, body) = self.api.send(request).await.unwrap().into_parts();
            Response::from_parts(head, Full::new(body.collect().await.unwrap().to_bytes()))
        })
    }

    /// Answers what a test itself asks.
    pub(super) fn request(
        &'static self,
        request: request::Builder,
        body: Vec<u8>,
    ) -> Result<Value, kube::Error> {
        self.wait(self.api.request(request.body(body).unwrap()))
    }

    /// Puts an object into etcd.
    pub(super) fn store(&'static self, key: &str, object: &str) {
        self.etcd("put", &json!({ "key": encoded(key), "value": encoded(object) }));
    }

    /// Removes objects from etcd.
    pub(super) fn forget(&'static self, ranges: &[Range]) {
        let range = |(first, end): &Range| json!({ "key": encoded(first), "range_end": encoded(end) });
        let ranges = ranges.iter().map(|each| json!({ "requestDeleteRange": range(each) }));
        self.etcd("txn", &json!({ "success": ranges.collect::<Vec<_>>() }));
    }

    pub(super) fn kubeconfig(&self, user: &str) -> Value {
        let facts = &self.facts;
        let authority = encoded(facts["ca"].as_str().unwrap());
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "a",
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a", "namespace": "partner"}}],
            "clusters": [{"name": "a", "cluster": {"server": facts["server"], "certificate-authority-data": authority}}],
            "users": [{"name": "a", "user": {"token": facts["token"], "as": user}}],
        })
    }

    fn etcd(&'static self, call: &str, body: &Value) {
        let request = Request::post(format!("/v3/kv/{call}")).body(body.to_string().into_bytes()).unwrap();
        self.wait(self.etcd.request::<Value>(request)).unwrap();
    }

    /// Waits for `future`, wherever this is called.
    fn wait<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        self.runtime.spawn(async move { tell.send(future.await) });
        told.recv().unwrap()
    }
}

/// For the named one of the programs. Etcd asks for no token.
fn client(facts: &Value, program: &str) -> Client {
    let fact = |name: &str| facts[name].as_str().unwrap().to_owned();
    let mut config = Config::new(fact(program).parse().unwrap());
    let authority = fact("ca");
    let authority = CertificateDer::pem_slice_iter(authority.as_bytes());
    config.root_cert = Some(authority.map(|one| one.unwrap().to_vec()).collect());
    config.auth_info = AuthInfo { token: Some(fact("token").into()), ..AuthInfo::default() };
    Client::try_from(config).unwrap()
}

/// Defines our resources, and waits until they are served.
async fn define(api: &Client) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crds");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    for file in files.filter(|file| file.extension().is_some_and(|end| end == "yaml")) {
        let request = Request::post(DEFINITIONS).header("Content-Type", "application/yaml");
        let made: Value = api.request(request.body(fs::read(&file).unwrap()).unwrap()).await.unwrap();
        let plural = made["spec"]["names"]["plural"].as_str().unwrap();
        let served = format!("/apis/keylend.dev/v1alpha1/{plural}");
        timeout(PATIENCE, until_served(api, &served)).await.expect("our resources are not served");
    }
}

async fn until_served(api: &Client, path: &str) {
    while api.request::<Value>(Request::get(path).body(vec![]).unwrap()).await.is_err() {
        sleep(Duration::from_millis(20)).await;
    }
}

fn encoded(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}
