//! Where envelopes rest, against an API server: each way not to open has its own error.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use keylend_api_server::ApiServer;
use serde_json::json;

use super::*;
use crate::storage::envelope::tests::{binding, elsewhere};

const SECRETS: &str = "/api/v1/namespaces/keylend-system/secrets";

fn value(text: &str) -> Plaintext {
    Plaintext::parse(Zeroizing::new(text.as_bytes().to_vec())).unwrap()
}

fn path(binding: &Binding) -> String {
    format!("{SECRETS}/{}", binding.envelope_name())
}

async fn storage(api: &ApiServer) -> Storage {
    let keys = LocalKeys::load_or_create(&api.client(), &api.client()).await.unwrap();
    Storage::new(&api.client(), &api.client(), Arc::new(keys))
}

#[tokio::test]
async fn a_value_rests_sealed_in_an_immutable_core_secret_and_comes_back() {
    let api = ApiServer::begin();
    let storage = storage(&api).await;
    storage.put(&binding(), &value("kl-test-value")).await.unwrap();
    let resting = api.object(&path(&binding())).unwrap();
    assert_eq!(resting["type"], ENVELOPE_TYPE);
    assert_eq!(resting["immutable"], true);
    let bytes = BASE64_STANDARD.decode(resting["data"][ENVELOPE_KEY].as_str().unwrap()).unwrap();
    assert!(!bytes.windows(7).any(|window| window == b"kl-test"));
    assert!(storage.open(&binding()).await.unwrap().expose(|value| value == b"kl-test-value"));
}

#[tokio::test]
async fn an_envelope_created_anew_where_another_place_would_read_it_fails_as_an_integrity_fault() {
    let api = ApiServer::begin();
    let storage = storage(&api).await;
    storage.put(&binding(), &value("kl-test-value")).await.unwrap();
    let resting = api.object(&path(&binding())).unwrap();
    let mut places = elsewhere();
    places.push(Binding { version: 8, ..binding() });
    places.push(Binding { wrap_generation: 2, ..binding() });
    for place in places {
        let mut moved = resting.clone();
        moved["metadata"]["name"] = json!(place.envelope_name());
        api.set(&path(&place), moved);
        let opened = storage.open(&place).await.err();
        assert!(matches!(opened, Some(OpenError::Integrity)), "{place:?}: {opened:?}");
    }
}

#[tokio::test]
async fn a_core_secret_that_holds_no_envelope_is_an_integrity_fault() {
    let api = ApiServer::begin();
    let storage = storage(&api).await;
    for data in
        [json!({}), json!({ "value": "AAAA" }), json!({ "envelope": "" }), json!({ "envelope": "AQEA" })]
    {
        api.set(&path(&binding()), json!({ "metadata": {}, "data": data }));
        let opened = storage.open(&binding()).await.err();
        assert!(matches!(opened, Some(OpenError::Integrity)), "{data}: {opened:?}");
    }
}

#[tokio::test]
async fn what_another_implementation_sealed_by_the_description_opens() {
    const KEK_ID: &str = "fafa25071223821a";
    const ENVELOPE: &str = concat!(
        "0101006501fafa25071223821a0101010101010101010101010101010101010101010101010101010101010101",
        "0202020202020202020202022ab0105e983da34f859a67c528bcdd7f32d3edebbeccd1a4bab946bff4c00f37ea",
        "cdb26e3302ab50dcd53e6e289d64b50303030303030303030303034e928e773f5b2a6f0c212f298e82b53d217e",
        "63aca154d83e9c8037746c",
    );
    let digit = |c: &u8| u8::try_from(char::from(*c).to_digit(16).unwrap()).unwrap();
    let bytes: Vec<u8> =
        ENVELOPE.as_bytes().chunks(2).map(|two| digit(&two[0]) << 4 | digit(&two[1])).collect();
    let api = ApiServer::begin();
    let keys = json!({ "primary": BASE64_STANDARD.encode(KEK_ID), KEK_ID: BASE64_STANDARD.encode([9; 32]) });
    api.set(&format!("{SECRETS}/keylend-local-kek"), json!({ "metadata": {}, "data": keys }));
    let data = json!({ "envelope": BASE64_STANDARD.encode(bytes) });
    api.set(&path(&binding()), json!({ "metadata": {}, "data": data }));
    let opened = storage(&api).await.open(&binding()).await.unwrap();
    assert!(opened.expose(|value| value == b"kl-test-value"));
}

#[tokio::test(start_paused = true)]
async fn a_version_is_never_given_to_two_values_but_the_same_value_may_come_twice() {
    let api = ApiServer::begin();
    let storage = storage(&api).await;
    let key = storage.put(&binding(), &value("kl-test-value")).await.unwrap();
    assert_eq!(storage.keys.working().await.unwrap(), [key.clone()].into());
    let first = api.object(&path(&binding()));
    let kek = format!("{SECRETS}/keylend-local-kek");
    let mut keys = api.object(&kek).unwrap();
    let another = "fafa25071223821a";
    keys["data"][another] = json!(BASE64_STANDARD.encode([9; 32]));
    keys["data"]["primary"] = json!(BASE64_STANDARD.encode(another));
    api.set(&kek, keys);
    tokio::time::advance(std::time::Duration::from_millis(1001)).await;
    assert_eq!(storage.put(&binding(), &value("kl-test-value")).await.unwrap(), key);
    let next = Binding { version: 8, ..binding() };
    assert_eq!(storage.put(&next, &value("kl-test-value")).await.unwrap(), another);
    let other = storage.put(&binding(), &value("kl-test-other")).await.err();
    assert!(matches!(other, Some(PutError::Taken)), "{other:?}");
    assert_eq!(api.object(&path(&binding())), first);
    api.set(&path(&binding()), json!({ "metadata": {}, "data": {} }));
    let broken = storage.put(&binding(), &value("kl-test-value")).await.err();
    assert!(matches!(broken, Some(PutError::Taken)), "{broken:?}");
}

#[tokio::test(start_paused = true)]
async fn every_way_not_to_open_has_its_own_error() {
    let api = ApiServer::begin();
    let storage = storage(&api).await;
    assert!(matches!(storage.open(&binding()).await.err(), Some(OpenError::Missing)));
    storage.put(&binding(), &value("kl-test-value")).await.unwrap();
    api.fail("GET", 503);
    assert!(matches!(storage.open(&binding()).await.err(), Some(OpenError::Unreachable { .. })));
    api.heal();
    api.unset(&format!("{SECRETS}/keylend-local-kek"));
    tokio::time::advance(std::time::Duration::from_millis(1001)).await;
    assert!(matches!(storage.open(&binding()).await.err(), Some(OpenError::KeySealed { .. })));
    assert!(matches!(
        storage.put(&binding(), &value("kl-test-value")).await.err(),
        Some(PutError::KeySealed { .. })
    ));
}

#[tokio::test]
async fn a_secret_s_envelopes_go_with_it_and_no_others() {
    let api = ApiServer::begin();
    let storage = storage(&api).await;
    let others = Binding { uid: "other".to_owned(), ..binding() };
    for one in [binding(), Binding { version: 8, ..binding() }, others.clone()] {
        storage.put(&one, &value("kl-test-value")).await.unwrap();
    }
    storage.forget(&binding()).await.unwrap();
    storage.forget(&binding()).await.unwrap();
    assert_eq!(storage.resting().await.unwrap().len(), 2);
    storage.forget_all(&binding().uid).await.unwrap();
    let left = storage.resting().await.unwrap();
    assert_eq!(left.len(), 1);
    let expected = Resting {
        envelope: others.envelope_name(),
        namespace: "payments".to_owned(),
        name: "stripe-api-key".to_owned(),
        uid: "other".to_owned(),
        version: 7,
    };
    assert_eq!(left[0], expected);
}
