//! An operator before an API server, with a real audit log.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use keylend_api_server::ApiServer;
use keylend_contract::wire::{CallId, Trace, WIRE_VERSION};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::super::{
    scenario::{Scenario, caller, claims},
    *,
};
use crate::{
    audit::tests::open_in, keys::local::LocalKeys, storage::envelope::Binding, world::tests::watched,
};

pub(super) const SHARE: &str = "/apis/keylend.dev/v1alpha1/namespaces/payments/secretshares/partner";
pub(super) const SECRET: &str = "/apis/keylend.dev/v1alpha1/namespaces/payments/keylendsecrets/stripe";
pub(super) const ENVELOPES: &str = "/api/v1/namespaces/keylend-system/secrets";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A resolver, what it reads, and what it has put on record.
pub(super) struct Operator {
    pub(super) api: ApiServer,
    pub(super) resolver: Resolver,
    directory: PathBuf,
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn stored<K: serde::Serialize>(object: Option<&K>) -> Value {
    serde_json::to_value(object.unwrap()).unwrap()
}

impl Operator {
    /// The operator in `scenario`, whose share and secret the API server has as well, with a value at version 4. The
    /// resolver has the real clock, so the share has no end.
    pub(super) async fn of(scenario: &Scenario) -> Self {
        let mut scenario = scenario.clone();
        scenario.share.as_mut().unwrap().spec.expires_at = None;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("keylend-resolve-{}-{number}", std::process::id()));
        let api = ApiServer::begin();
        api.set(SHARE, stored(scenario.share.as_ref()));
        api.set(SECRET, stored(scenario.secret.as_ref()));
        let world = watched(&scenario).synced().await.unwrap();
        let keys = Arc::new(LocalKeys::load_or_create(&api.client(), &api.client()).await.unwrap());
        let resolver = Resolver {
            reader: Reader::new(api.client(), world.clone()),
            world,
            storage: Arc::new(Storage::new(&api.client(), &api.client(), keys)),
            audit: open_in(&directory),
            turns: Arc::default(),
            cluster_uid: "uid-of-cluster".into(),
        };
        let operator = Self { api, resolver, directory };
        operator.put(4, "kl-test-value-4").await;
        operator
    }

    pub(super) async fn complete() -> Self {
        Self::of(&Scenario::complete()).await
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
pub(super) fn edit(api: &ApiServer, path: &str, change: impl FnOnce(&mut Value)) {
    let mut object = api.object(path).unwrap();
    let before = object["spec"].clone();
    change(&mut object);
    if object["spec"] != before {
        object["metadata"]["generation"] = json!(object["metadata"]["generation"].as_i64().unwrap() + 1);
    }
    api.set(path, object);
}

pub(super) fn revoke(api: &ApiServer) {
    edit(api, SHARE, |share| share["spec"]["revoked"] = json!(true));
}

pub(super) fn point_at(api: &ApiServer, version: u64) {
    edit(api, SECRET, |secret| {
        secret["status"]["environments"][0]["fields"][0]["version"] = json!(version);
    });
}

pub(super) fn envelope(version: u64) -> String {
    format!("{ENVELOPES}/{}", binding(version).envelope_name())
}

/// Lets a share have fields that we do not know, as a later version's definition would.
pub(super) async fn keep_unknown_fields(api: &ApiServer) {
    define(api, &json!([{"op": "add", "path": KEPT, "value": true}])).await;
}

/// Takes that back.
pub(super) async fn prune_unknown_fields(api: &ApiServer) {
    define(api, &json!([{"op": "remove", "path": KEPT}])).await;
}

const KEPT: &str =
    "/spec/versions/0/schema/openAPIV3Schema/properties/spec/x-kubernetes-preserve-unknown-fields";

async fn define(api: &ApiServer, change: &Value) {
    let change = Patch::Json::<()>(serde_json::from_value(change.clone()).unwrap());
    let definitions = Api::<CustomResourceDefinition>::all(api.client());
    definitions.patch("secretshares.keylend.dev", &PatchParams::default(), &change).await.unwrap();
}

/// Waits until `condition` holds, and not for ever.
pub(super) async fn until(condition: impl Fn() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("it never came to be");
}
