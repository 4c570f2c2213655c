//! The controller of secrets against an API server: values come in, move, stay and go.

use keylend_api_server::ApiServer;
use keylend_contract::{
    blob::{Blob, Scope},
    plaintext::Plaintext,
    sealing_key::SealingKeys,
};
use keylend_crds::Reason;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::*;
use crate::{
    audit::{AuditLog, tests::Scratch},
    controllers::tell::tests::events,
    keys::local::LocalKeys,
    sealing::{PUBLISHED_KEY, SealingKeyring},
};

const PATH: &str = "/apis/keylend.dev/v1alpha1/namespaces/payments/keylendsecrets/stripe-api-key";
const SYSTEM: &str = "/api/v1/namespaces/keylend-system";

/// One replica, and what it has put on record.
struct Replica {
    context: Context,
    scratch: Scratch,
}

impl std::ops::Deref for Replica {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}

async fn replica(api: &ApiServer) -> Replica {
    let scratch = Scratch::new();
    with(api, scratch.open(), scratch).await
}

async fn with(api: &ApiServer, audit: AuditLog, scratch: Scratch) -> Replica {
    let client = api.client();
    let keys = Arc::new(LocalKeys::load_or_create(&client, &client).await.unwrap());
    let sealing = SealingKeyring::load_or_create(&client, keys.clone(), "cluster").await.unwrap();
    let storage = Arc::new(Storage::new(&client, &client, keys.clone()));
    let intake = Intake::new(sealing, storage.clone(), "cluster".to_owned(), audit.clone());
    let teller = Teller::new(&client, audit, "keylend-operator-0");
    let keys = Arc::new(WorkingKeys::of(keys));
    Replica { context: Context { client, intake, storage, keys, teller }, scratch }
}

/// Lets time pass by which a key is read again.
async fn later(replica: &Replica) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(1001)).await;
    tokio::time::resume();
    replica.keys.look().await;
}

/// A blob of `value`, sealed `ago` milliseconds before now.
fn sealed(api: &ApiServer, environment: &str, value: &str, ago: i64) -> Blob {
    let map = api.object(&format!("{SYSTEM}/configmaps/keylend-sealing-keys")).unwrap();
    let keys: SealingKeys = serde_json::from_str(map["data"][PUBLISHED_KEY].as_str().unwrap()).unwrap();
    let scope = Scope {
        namespace: "payments",
        name: "stripe-api-key",
        secret_type: "String",
        environment,
        field: "value",
    };
    let value = Plaintext::parse(Zeroizing::new(value.as_bytes().to_vec())).unwrap();
    let stamp = u64::try_from(Timestamp::now().as_millisecond() - ago).unwrap();
    keys.primary().unwrap().seal(&scope, &value, stamp).unwrap()
}

/// Applies a manifest: the environments, each with its blob if it has one.
fn apply(api: &ApiServer, environments: &[(&str, Option<&Blob>)]) {
    let entry = |(name, blob): &(&str, Option<&Blob>)| match blob {
        Some(blob) => json!({ "name": name, "sealed": { "value": blob.to_string() } }),
        None => json!({ "name": name }),
    };
    let mut object = api.object(PATH).unwrap_or_else(|| {
        json!({
            "apiVersion": "keylend.dev/v1alpha1",
            "kind": "Secret",
            "metadata": { "name": "stripe-api-key", "namespace": "payments", "generation": 0 },
        })
    });
    let environments: Vec<Value> = environments.iter().map(entry).collect();
    object["spec"] = json!({ "type": "String", "environments": environments });
    object["metadata"]["generation"] = json!(object["metadata"]["generation"].as_i64().unwrap() + 1);
    api.set(PATH, object);
}

fn read(api: &ApiServer) -> Secret {
    serde_json::from_value(api.object(PATH).unwrap()).unwrap()
}

/// Looks until looking changes nothing.
async fn settle(api: &ApiServer, replica: &Context) {
    for _ in 0..4 {
        look_at(&read(api), replica, Timestamp::now()).await.unwrap();
    }
}

async fn live_value(api: &ApiServer, replica: &Context, environment: &str) -> Option<(i64, String)> {
    let secret = read(api);
    let field = secret.resting(environment)?;
    let binding = replica.intake.binding(&secret, environment, field.version, field.wrap_generation);
    let value = replica.storage.open(&binding).await.unwrap();
    Some((field.version, value.expose(|bytes| String::from_utf8(bytes.to_vec()).unwrap())))
}

fn reason(api: &ApiServer, type_: &str) -> (String, i64) {
    let status = &api.object(PATH).unwrap()["status"];
    let conditions = status["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|condition| condition["type"] == type_).unwrap();
    (found["reason"].as_str().unwrap().to_owned(), found["observedGeneration"].as_i64().unwrap())
}

/// Waits until nothing rests any more, and not for ever.
async fn cleared(replica: &Context) {
    for _ in 0..500 {
        if resting(replica).await == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn resting(replica: &Context) -> usize {
    replica.storage.resting().await.unwrap().len()
}

#[tokio::test]
async fn an_applied_blob_becomes_live_and_its_digest_says_so() {
    let api = ApiServer::begin();
    let replica = replica(&api).await;
    let blob = sealed(&api, "production", "kl-test-first", 0);
    apply(&api, &[("production", Some(&blob))]);
    settle(&api, &replica).await;
    assert_eq!(live_value(&api, &replica, "production").await, Some((1, "kl-test-first".to_owned())));
    let status = read(&api).status.unwrap();
    assert_eq!(status.environments[0].fields[0].digests, [blob.digest()]);
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!(reason(&api, "Ready"), ("Live".to_owned(), 1));
    assert_eq!(read(&api).finalizers(), [ENVELOPE_FINALIZER]);
    assert_eq!(events(&api, 1).await, ["Normal Live"]);
    let requests = api.log().len();
    settle(&api, &replica).await;
    assert_eq!(api.log().len(), requests, "a secret that is as it should be costs no request");
}

#[tokio::test]
async fn a_value_is_on_record_before_it_is_live_and_neither_row_nor_event_holds_it() {
    let api = ApiServer::begin();
    let replica = replica(&api).await;
    apply(&api, &[]);
    settle(&api, &replica).await;
    apply(&api, &[("production", Some(&sealed(&api, "production", "kl-test-first", 0)))]);
    api.fail("PATCH", 500);
    assert!(look_at(&read(&api), &replica, Timestamp::now()).await.is_err());
    let text = replica.scratch.text();
    for part in ["value_taken_in", "stripe-api-key", "production", "\"version\":1"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    api.heal();
    settle(&api, &replica).await;
    events(&api, 1).await;
    let told = format!("{}{:?}", replica.scratch.text(), api.list("/apis/events.k8s.io/v1/events"));
    assert!(told.contains("a new value is live: production"), "{told}");
    assert!(!told.contains("kl-test") && !told.contains("kl1."), "{told}");
}

#[tokio::test]
async fn a_value_without_a_row_is_not_acknowledged_and_is_taken_in_once_there_is_room() {
    let api = ApiServer::begin();
    let scratch = Scratch::new();
    let full = scratch.open();
    let without_room = with(&api, full.clone(), scratch).await;
    full.close().await;
    apply(&api, &[("production", Some(&sealed(&api, "production", "kl-test-first", 0)))]);
    settle(&api, &without_room).await;
    assert_eq!(reason(&api, "Ready"), ("StorageFailed".to_owned(), 1));
    assert_eq!(live_value(&api, &without_room, "production").await, None);
    assert_eq!(events(&api, 1).await, ["Warning StorageFailed"]);
    let with_room = replica(&api).await;
    settle(&api, &with_room).await;
    assert_eq!(live_value(&api, &with_room, "production").await, Some((1, "kl-test-first".to_owned())));
    assert_eq!(resting(&with_room).await, 1, "the envelope that rested already is the one");
}

#[tokio::test]
async fn a_new_value_moves_the_pointer_and_the_old_envelope_goes_after_a_grace() {
    let api = ApiServer::begin();
    let replica = replica(&api).await;
    apply(&api, &[("production", Some(&sealed(&api, "production", "kl-test-first", 1000)))]);
    settle(&api, &replica).await;
    apply(&api, &[("production", Some(&sealed(&api, "production", "kl-test-second", 0)))]);
    settle(&api, &replica).await;
    assert_eq!(live_value(&api, &replica, "production").await, Some((2, "kl-test-second".to_owned())));
    assert_eq!(resting(&replica).await, 2);
    tokio::time::pause();
    tokio::time::sleep(GRACE + Duration::from_secs(1)).await;
    tokio::time::resume();
    assert_eq!(resting(&replica).await, 1);
    assert_eq!(live_value(&api, &replica, "production").await, Some((2, "kl-test-second".to_owned())));
}

#[tokio::test]
async fn a_manifest_applied_again_rolls_nothing_back_with_or_without_its_blob() {
    let api = ApiServer::begin();
    let replica = replica(&api).await;
    let first = sealed(&api, "production", "kl-test-first", 1000);
    apply(&api, &[("production", Some(&first))]);
    settle(&api, &replica).await;
    apply(&api, &[("production", Some(&sealed(&api, "production", "kl-test-second", 0)))]);
    settle(&api, &replica).await;
    let older = sealed(&api, "production", "kl-test-older", 500);
    for (blob, expected) in
        [(Some(&first), "OlderThanLive"), (Some(&older), "OlderThanLive"), (None, "InSync")]
    {
        apply(&api, &[("production", blob)]);
        settle(&api, &replica).await;
        assert_eq!(reason(&api, "SourceStale").0, expected);
        assert_eq!(live_value(&api, &replica, "production").await, Some((2, "kl-test-second".to_owned())));
    }
}

#[tokio::test]
async fn two_replicas_that_look_at_once_agree_on_one_version_and_one_envelope() {
    let api = ApiServer::begin();
    let (one, other) = (replica(&api).await, replica(&api).await);
    apply(&api, &[]);
    settle(&api, &one).await;
    let (first, second) =
        (sealed(&api, "production", "kl-test-first", 0), sealed(&api, "staging", "kl-test-second", 0));
    apply(&api, &[("production", Some(&first)), ("staging", Some(&second))]);
    let seen = read(&api);
    let now = Timestamp::now();
    let (a, b) = tokio::join!(look_at(&seen, &one, now), look_at(&seen, &other, now));
    assert!(a.is_ok() && b.is_ok());
    settle(&api, &other).await;
    assert_eq!(live_value(&api, &one, "production").await, Some((1, "kl-test-first".to_owned())));
    assert_eq!(live_value(&api, &one, "staging").await, Some((2, "kl-test-second".to_owned())));
    assert_eq!(resting(&one).await, 2);
}

#[tokio::test]
async fn a_replica_that_saw_an_older_secret_changes_nothing() {
    let api = ApiServer::begin();
    let (one, late) = (replica(&api).await, replica(&api).await);
    apply(&api, &[]);
    settle(&api, &one).await;
    apply(&api, &[("production", Some(&sealed(&api, "production", "kl-test-first", 1000)))]);
    let seen_late = read(&api);
    apply(&api, &[("production", Some(&sealed(&api, "production", "kl-test-second", 0)))]);
    settle(&api, &one).await;
    look_at(&seen_late, &late, Timestamp::now()).await.unwrap();
    assert_eq!(live_value(&api, &one, "production").await, Some((1, "kl-test-second".to_owned())));
}

#[tokio::test]
async fn a_value_that_rested_when_the_process_ended_becomes_live_under_the_same_version() {
    let api = ApiServer::begin();
    let replica = replica(&api).await;
    apply(&api, &[]);
    settle(&api, &replica).await;
    apply(&api, &[("production", Some(&sealed(&api, "production", "kl-test-first", 0)))]);
    api.fail("PATCH", 500);
    assert!(look_at(&read(&api), &replica, Timestamp::now()).await.is_err());
    assert_eq!((resting(&replica).await, live_value(&api, &replica, "production").await), (1, None));
    api.heal();
    settle(&api, &replica).await;
    assert_eq!(live_value(&api, &replica, "production").await, Some((1, "kl-test-first".to_owned())));
    assert_eq!(resting(&replica).await, 1);
}

#[tokio::test]
async fn an_environment_taken_out_of_the_specification_loses_its_value() {
    let api = ApiServer::begin();
    let replica = replica(&api).await;
    let blob = sealed(&api, "production", "kl-test-first", 0);
    apply(&api, &[("production", Some(&blob)), ("staging", None)]);
    settle(&api, &replica).await;
    apply(&api, &[("staging", None)]);
    settle(&api, &replica).await;
    cleared(&replica).await;
    assert_eq!((resting(&replica).await, live_value(&api, &replica, "production").await), (0, None));
    assert_eq!(reason(&api, "Ready").0, "NoValue");
    apply(&api, &[("production", Some(&blob))]);
    settle(&api, &replica).await;
    assert_eq!(live_value(&api, &replica, "production").await, Some((2, "kl-test-first".to_owned())));
}

#[tokio::test]
async fn a_blob_for_another_place_is_refused_by_the_field_s_name_and_the_live_value_stays() {
    let api = ApiServer::begin();
    let replica = replica(&api).await;
    apply(&api, &[("production", Some(&sealed(&api, "production", "kl-test-first", 1000)))]);
    settle(&api, &replica).await;
    apply(&api, &[("production", Some(&sealed(&api, "staging", "kl-test-second", 0)))]);
    settle(&api, &replica).await;
    assert_eq!(reason(&api, "Ready"), ("BlobRefused".to_owned(), 2));
    assert!(events(&api, 2).await.contains(&"Warning BlobRefused".to_owned()));
    let status = read(&api).status.unwrap();
    let message = &status.conditions[0].message;
    assert!(message.starts_with("spec.environments[production].sealed.value: "), "{message}");
    assert!(message.contains("seal it again"), "{message}");
    assert_eq!(live_value(&api, &replica, "production").await, Some((1, "kl-test-first".to_owned())));
}

#[tokio::test]
async fn without_its_kms_key_nothing_comes_in_and_with_it_again_it_does() {
    let api = ApiServer::begin();
    let replica = replica(&api).await;
    apply(&api, &[("production", Some(&sealed(&api, "production", "kl-test-first", 0)))]);
    let kek = format!("{SYSTEM}/secrets/keylend-local-kek");
    let key = api.unset(&kek).unwrap();
    later(&replica).await;
    settle(&api, &replica).await;
    assert_eq!(reason(&api, "Ready").0, "KeySealed");
    api.set(&kek, key);
    later(&replica).await;
    settle(&api, &replica).await;
    assert_eq!(live_value(&api, &replica, "production").await, Some((1, "kl-test-first".to_owned())));
}

#[tokio::test]
async fn that_a_live_value_s_key_is_gone_is_told_and_that_it_is_back_as_well() {
    let api = ApiServer::begin();
    let replica = replica(&api).await;
    apply(&api, &[("production", Some(&sealed(&api, "production", "kl-test-first", 0)))]);
    settle(&api, &replica).await;
    let marked = || read(&api).live("production").unwrap().key_sealed;
    assert_eq!((reason(&api, "Ready").0.as_str(), marked()), ("Live", false));
    let kek = format!("{SYSTEM}/secrets/keylend-local-kek");
    let key = api.unset(&kek).unwrap();
    later(&replica).await;
    settle(&api, &replica).await;
    assert_eq!((reason(&api, "Ready").0.as_str(), marked()), ("KeySealed", true));
    assert!(events(&api, 2).await.contains(&"Warning KeySealed".to_owned()));
    api.fail("GET", 503);
    later(&replica).await;
    api.heal();
    settle(&api, &replica).await;
    assert!(marked(), "what cannot be known stays as it was told");
    api.set(&kek, key);
    later(&replica).await;
    settle(&api, &replica).await;
    assert_eq!((reason(&api, "Ready").0.as_str(), marked()), ("Live", false));
}

#[tokio::test]
async fn a_replica_that_looked_at_the_keys_earlier_looks_again_before_it_contradicts() {
    let api = ApiServer::begin();
    let (one, late) = (replica(&api).await, replica(&api).await);
    apply(&api, &[("production", Some(&sealed(&api, "production", "kl-test-first", 0)))]);
    settle(&api, &one).await;
    late.keys.look().await;
    let kek = format!("{SYSTEM}/secrets/keylend-local-kek");
    let key = api.unset(&kek).unwrap();
    for told in ["KeySealed", "Live"] {
        if told == "Live" {
            api.set(&kek, key.clone());
        }
        later(&one).await;
        settle(&api, &one).await;
        let written = read(&api);
        settle(&api, &late).await;
        assert_eq!((read(&api), reason(&api, "Ready").0.as_str()), (written, told));
    }
}

#[tokio::test]
async fn a_deleted_secret_goes_after_its_envelopes_and_not_before() {
    let api = ApiServer::begin();
    let replica = replica(&api).await;
    apply(&api, &[("production", Some(&sealed(&api, "production", "kl-test-first", 0)))]);
    settle(&api, &replica).await;
    let mut going = api.object(PATH).unwrap();
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    api.set(PATH, going);
    api.fail("DELETE", 500);
    assert!(look_at(&read(&api), &replica, Timestamp::now()).await.is_err());
    assert!(api.object(PATH).is_some());
    api.heal();
    look_at(&read(&api), &replica, Timestamp::now()).await.unwrap();
    assert_eq!((resting(&replica).await, api.object(PATH)), (0, None));
}

#[tokio::test]
async fn a_sweep_removes_the_envelopes_of_a_secret_that_is_gone_and_no_live_one() {
    let api = ApiServer::begin();
    let replica = replica(&api).await;
    apply(&api, &[("production", Some(&sealed(&api, "production", "kl-test-first", 0)))]);
    settle(&api, &replica).await;
    let nothing_known = kube::runtime::reflector::store::<Secret>().0;
    sweep::sweep(&replica.client, &nothing_known, &replica.storage).await.unwrap();
    assert_eq!(resting(&replica).await, 1);
    api.unset(PATH);
    sweep::sweep(&replica.client, &nothing_known, &replica.storage).await.unwrap();
    assert_eq!(resting(&replica).await, 0);
}

#[tokio::test]
async fn a_linked_secret_reads_its_share_and_pins_it() {
    let api = ApiServer::begin();
    let replica = replica(&api).await;
    let share = "/apis/keylend.dev/v1alpha1/namespaces/owner/secretshares/partner";
    api.set(
        share,
        json!({
            "apiVersion": "keylend.dev/v1alpha1",
            "kind": "SecretShare",
            "metadata": { "name": "partner", "namespace": "owner", "uid": "share-1" },
            "spec": {
                "secretRef": { "name": "stripe-api-key" },
                "environment": "production",
                "recipient": { "namespace": { "name": "payments" } },
                "use": { "domains": ["api.stripe.com"], "inject": { "headers": ["Authorization"] } },
            },
        }),
    );
    let link =
        json!({ "environment": "production", "shareRef": { "namespace": "owner", "name": "partner" } });
    api.set(
        PATH,
        json!({
            "apiVersion": "keylend.dev/v1alpha1",
            "kind": "Secret",
            "metadata": { "name": "stripe-api-key", "namespace": "payments", "generation": 1 },
            "spec": { "type": "Linked", "link": { "shares": [link] } },
        }),
    );
    settle(&api, &replica).await;
    let status = read(&api).status.unwrap();
    assert_eq!(status.shares[0].uid, "share-1");
    assert_eq!(status.conditions[0].reason, Reason::Linked);
    assert!(read(&api).finalizers().is_empty());
    api.unset(share);
    settle(&api, &replica).await;
    assert_eq!(read(&api).status.unwrap().conditions[0].reason, Reason::ShareMissing);
}
