//! An operator before a small API server in memory, with a real audit log; the hook acts between two of its answers.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use http::Request;
use keylend_contract::wire::{CallId, Trace, WIRE_VERSION};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::super::{
    scenario::{Scenario, caller, claims},
    *,
};
use crate::{
    audit::tests::open_in, fake_api::FakeApi, keys::local::LocalKeys, storage::envelope::Binding,
    world::tests::watched,
};

pub(super) const SHARE: &str = "/apis/keylend.dev/v1alpha1/namespaces/payments/secretshares/partner";
pub(super) const SECRET: &str = "/apis/keylend.dev/v1alpha1/namespaces/payments/keylendsecrets/stripe";
pub(super) const ENVELOPES: &str = "/api/v1/namespaces/keylend-system/secrets";

static NEXT: AtomicU32 = AtomicU32::new(0);

pub(super) type Hook = Box<dyn FnMut(&FakeApi, &str) + Send>;

/// A resolver, what it reads, and what it has put on record.
pub(super) struct Operator {
    pub(super) api: FakeApi,
    pub(super) resolver: Resolver,
    directory: PathBuf,
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Calls `hook` with each request's path after it was answered.
fn hooked(api: &FakeApi, hook: Hook) -> Client {
    let (api, hook) = (api.clone(), Arc::new(Mutex::new(hook)));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (api, hook) = (api.clone(), hook.clone());
        async move {
            let path = request.uri().path().to_owned();
            let answer = api.client().send(request).await;
            (hook.lock().unwrap())(&api, &path);
            answer
        }
    });
    Client::new(service, "default")
}

fn stored<K: serde::Serialize>(object: Option<&K>) -> Value {
    serde_json::to_value(object.unwrap()).unwrap()
}

impl Operator {
    /// The operator in `scenario`, whose share and secret the API server has as well, with a value at version 4. The
    /// resolver has the real clock, so the share has no end.
    pub(super) async fn of(scenario: &Scenario, hook: Hook) -> Self {
        let mut scenario = scenario.clone();
        scenario.share.as_mut().unwrap().spec.expires_at = None;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("keylend-resolve-{}-{number}", std::process::id()));
        let api = FakeApi::default();
        api.set(SHARE, stored(scenario.share.as_ref()));
        api.set(SECRET, stored(scenario.secret.as_ref()));
        let deciding = hooked(&api, hook);
        let world = watched(&scenario).synced().await.unwrap();
        let keys = Arc::new(LocalKeys::load_or_create(&api.client(), &api.client()).await.unwrap());
        let resolver = Resolver {
            reader: Reader::new(deciding.clone(), world.clone()),
            world,
            storage: Arc::new(Storage::new(&api.client(), &deciding, keys)),
            audit: open_in(&directory),
            cluster_uid: "uid-of-cluster".into(),
        };
        let operator = Self { api, resolver, directory };
        operator.put(4, "kl-test-value-4").await;
        operator
    }

    pub(super) async fn complete() -> Self {
        Self::of(&Scenario::complete(), Box::new(|_, _| {})).await
    }

    pub(super) async fn put(&self, version: u64, value: &str) {
        let value = Plaintext::parse(Zeroizing::new(value.as_bytes().to_vec())).unwrap();
        self.resolver.storage.put(&binding(version), &value).await.unwrap();
    }

    pub(super) async fn ask(&self) -> Result<String, Failure> {
        let (granted, values) = self.resolver.ask(&caller(&claims()), ask(), Instant::now()).await?;
        assert_eq!(granted.headers[0].parts.len(), 2);
        let [value] = &values[..] else { panic!("one value, not {}", values.len()) };
        Ok(value.expose(|bytes| String::from_utf8(bytes.to_vec()).unwrap()))
    }

    pub(super) async fn refused(&self) -> &'static str {
        match self.ask().await {
            Err(Failure::Refused(refusal)) => refusal.code(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn renew(&self, calls: Vec<OpenCall>) -> Vec<Verdict> {
        let renew = Renew { version: WIRE_VERSION, calls };
        self.resolver.renew(&caller(&claims()), renew).await.verdicts
    }

    pub(super) fn rows(&self) -> Vec<Value> {
        let mut files: Vec<_> =
            fs::read_dir(&self.directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|end| end == "jsonl"));
        files.sort();
        let text: String = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(super) fn kinds(&self) -> Vec<String> {
        let rows = self.rows();
        let kind = |row: &Value| {
            let of = row.get("kind").or_else(|| row["row"].get("kind"));
            of.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        rows.iter().map(kind).filter(|kind| kind != "segment_opened").collect()
    }

    /// What was asked of the API server since `before` requests.
    pub(super) fn reads(&self, before: usize) -> Vec<String> {
        self.api.log()[before..].iter().map(|line| line.replace("GET ", "")).collect()
    }
}

pub(super) fn binding(version: u64) -> Binding {
    Binding { version, ..Scenario::complete().decide().unwrap().holds()[0].binding().clone() }
}

pub(super) fn ask() -> Ask {
    Ask {
        version: WIRE_VERSION,
        call: CallId(Uuid::from_u128(7)),
        trace: Trace { trace_id: "a".repeat(32), span_id: "b".repeat(16) },
        target: Target::Route("stripe".into()),
        method: "POST".into(),
        path: "/v1/charges".into(),
    }
}

pub(super) fn open() -> OpenCall {
    granted_in(&Scenario::complete())
}

/// A call as it was granted in `scenario`.
pub(super) fn granted_in(scenario: &Scenario) -> OpenCall {
    OpenCall { ask: ask(), basis: scenario.decide().unwrap().answer().basis() }
}

/// Changes an object as the API server lets others do: an edit of the specification is a new generation.
pub(super) fn edit(api: &FakeApi, path: &str, change: impl FnOnce(&mut Value)) {
    let mut object = api.object(path).unwrap();
    let before = object["spec"].clone();
    change(&mut object);
    if object["spec"] != before {
        object["metadata"]["generation"] = json!(object["metadata"]["generation"].as_i64().unwrap() + 1);
    }
    api.set(path, object);
}

pub(super) fn revoke(api: &FakeApi) {
    edit(api, SHARE, |share| share["spec"]["revoked"] = json!(true));
}

pub(super) fn point_at(api: &FakeApi, version: u64) {
    edit(api, SECRET, |secret| {
        secret["status"]["environments"][0]["fields"][0]["version"] = json!(version);
    });
}

pub(super) fn envelope(version: u64) -> String {
    format!("{ENVELOPES}/{}", binding(version).envelope_name())
}
