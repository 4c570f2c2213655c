//! The local key provider: whom a key opens for, how long a reading serves, and when no key is made.

use std::time::Duration;

use keylend_api_server::ApiServer;
use serde_json::json;

use super::*;
use crate::storage::envelope::tests::binding;

const KEK_PATH: &str = "/api/v1/namespaces/keylend-system/secrets/keylend-local-kek";

async fn keys(api: &ApiServer) -> LocalKeys {
    LocalKeys::load_or_create(&api.client(), &api.client()).await.unwrap()
}

fn same(one: &DataKey, other: &DataKey) -> bool {
    one.expose(|one| other.expose(|other| one == other))
}

fn reads(api: &ApiServer) -> usize {
    api.log().iter().filter(|line| **line == format!("GET {KEK_PATH}")).count()
}

#[tokio::test]
async fn a_data_key_comes_back_for_its_own_binding_only() {
    let api = ApiServer::begin();
    let keys = keys(&api).await;
    let key = DataKey::generate().unwrap();
    let wrapped = keys.wrap(&key, &binding()).await.unwrap();
    assert!(same(&keys.unwrap(&wrapped, &binding()).await.unwrap(), &key));
    assert_eq!(LocalKeys::wrapped_under(&wrapped).map(|key| [key].into()), keys.working().await);
    for other in [
        Binding { wrap_generation: 2, ..binding() },
        Binding { version: 8, ..binding() },
        Binding { cluster_uid: "other".to_owned(), ..binding() },
        Binding { environment: "staging".to_owned(), ..binding() },
    ] {
        assert_eq!(keys.unwrap(&wrapped, &other).await.err(), Some(KeyError::Integrity), "{other:?}");
    }
}

#[tokio::test]
async fn a_wrapped_key_altered_at_any_byte_does_not_open() {
    let api = ApiServer::begin();
    let keys = keys(&api).await;
    let wrapped = keys.wrap(&DataKey::generate().unwrap(), &binding()).await.unwrap();
    assert_eq!(wrapped.len(), WRAPPED_BYTES);
    for at in 0..wrapped.len() {
        let mut altered = wrapped.clone();
        altered[at] ^= 1;
        let failed = keys.unwrap(&altered, &binding()).await.err();
        let named = matches!(failed, Some(KeyError::Sealed { .. })) && (1..=ID_BYTES).contains(&at);
        assert!(named || failed == Some(KeyError::Integrity), "{at}: {failed:?}");
    }
    for length in [0, 1, WRAPPED_BYTES - 1] {
        assert_eq!(keys.unwrap(&wrapped[..length], &binding()).await.err(), Some(KeyError::Integrity));
    }
}

#[tokio::test]
async fn two_starters_agree_on_one_key() {
    let api = ApiServer::begin();
    let (one, other) = (keys(&api).await, keys(&api).await);
    let key = DataKey::generate().unwrap();
    let wrapped = one.wrap(&key, &binding()).await.unwrap();
    assert!(same(&other.unwrap(&wrapped, &binding()).await.unwrap(), &key));
}

#[tokio::test]
async fn no_key_is_made_while_anything_is_sealed_under_a_lost_one() {
    let api = ApiServer::begin();
    let envelope = json!({ "metadata": { "name": "envelope-1" }, "type": ENVELOPE_TYPE });
    api.set("/api/v1/namespaces/keylend-system/secrets/envelope-1", envelope);
    let failed = LocalKeys::load_or_create(&api.client(), &api.client()).await.err();
    assert!(matches!(failed, Some(LocalKeysError::Lost)));
    assert_eq!(api.object(KEK_PATH), None);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_removed_is_refused_after_a_second_and_works_when_put_back() {
    let api = ApiServer::begin();
    let keys = keys(&api).await;
    let wrapped = keys.wrap(&DataKey::generate().unwrap(), &binding()).await.unwrap();
    let whole = api.unset(KEK_PATH).unwrap();
    let mut emptied = whole.clone();
    let id = hexadecimal(&wrapped[1..=ID_BYTES]);
    emptied["data"].as_object_mut().unwrap().remove(&id);
    for gone in [Some(emptied), None] {
        if let Some(gone) = gone {
            api.set(KEK_PATH, gone);
        } else {
            api.unset(KEK_PATH);
        }
        tokio::time::advance(Duration::from_millis(1001)).await;
        assert_eq!(keys.unwrap(&wrapped, &binding()).await.err(), Some(KeyError::Sealed { key: id.clone() }));
        assert_eq!(keys.working().await, Ok(BTreeSet::new()));
        api.set(KEK_PATH, whole.clone());
        tokio::time::advance(Duration::from_millis(1001)).await;
        assert!(keys.unwrap(&wrapped, &binding()).await.is_ok());
        assert_eq!(keys.working().await, Ok([id.clone()].into()));
    }
}

#[tokio::test]
async fn an_entry_under_a_name_that_is_not_its_own_is_no_key() {
    let api = ApiServer::begin();
    let keys = keys(&api).await;
    let mut altered = api.unset(KEK_PATH).unwrap();
    let data = altered["data"].as_object_mut().unwrap();
    for (name, value) in data.iter_mut().filter(|(name, _)| *name != PRIMARY) {
        assert_eq!(name.len(), 16);
        *value = json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    }
    api.set(KEK_PATH, altered);
    let failed = keys.wrap(&DataKey::generate().unwrap(), &binding()).await.err();
    assert!(matches!(failed, Some(KeyError::Sealed { .. })), "{failed:?}");
}

#[tokio::test(start_paused = true)]
async fn keys_are_read_once_a_second_while_in_use_and_not_at_all_otherwise() {
    let api = ApiServer::begin();
    let keys = keys(&api).await;
    let (key, place) = (DataKey::generate().unwrap(), binding());
    let before = reads(&api);
    for (after, reads_by_then) in [(0, 1), (999, 1), (1, 2), (600_000, 3)] {
        tokio::time::advance(Duration::from_millis(after)).await;
        let all = futures_util::future::join_all((0..20).map(|_| keys.wrap(&key, &place))).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(reads(&api) - before, reads_by_then, "{after}");
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_share_one_failure_and_the_next_asks_again() {
    let api = ApiServer::begin();
    let keys = keys(&api).await;
    let (key, place) = (DataKey::generate().unwrap(), binding());
    let before = reads(&api);
    api.fail("GET", 500);
    let all = futures_util::future::join_all((0..20).map(|_| keys.wrap(&key, &place))).await;
    assert!(all.iter().all(|wrapped| matches!(wrapped, Err(KeyError::Unreachable { .. }))));
    assert_eq!(reads(&api) - before, 1);
    api.heal();
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(keys.wrap(&key, &place).await.is_ok());
}
