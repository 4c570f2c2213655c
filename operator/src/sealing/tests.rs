//! The sealing keys: every replica opens what was sealed to them, and nobody without their KMS key.

use keylend_api_server::ApiServer;

use super::*;

const SECRET_PATH: &str = "/api/v1/namespaces/keylend-system/secrets/keylend-sealing-keys";
const PUBLISHED_PATH: &str = "/api/v1/namespaces/keylend-system/configmaps/keylend-sealing-keys";
const KEK_PATH: &str = "/api/v1/namespaces/keylend-system/secrets/keylend-local-kek";
const SCOPE: Scope<'_> = Scope {
    namespace: "payments",
    name: "stripe-api-key",
    secret_type: "String",
    environment: "production",
    field: "value",
};

async fn keyring(api: &ApiServer, cluster_uid: &str) -> SealingKeyring {
    let keys = LocalKeys::load_or_create(&api.client(), &api.client()).await.unwrap();
    SealingKeyring::load_or_create(&api.client(), Arc::new(keys), cluster_uid).await.unwrap()
}

fn published(api: &ApiServer) -> SealingKeys {
    let map = api.object(PUBLISHED_PATH).unwrap();
    serde_json::from_str(map["data"][PUBLISHED_KEY].as_str().unwrap()).unwrap()
}

fn sealed(api: &ApiServer) -> Blob {
    let value = Plaintext::parse(Zeroizing::new(b"kl-test-value".to_vec())).unwrap();
    published(api).primary().unwrap().seal(&SCOPE, &value, 1).unwrap()
}

#[tokio::test]
async fn what_is_sealed_to_the_published_key_opens_on_every_replica() {
    let api = ApiServer::begin();
    let (one, other) = (keyring(&api, "cluster").await, keyring(&api, "cluster").await);
    let blob = sealed(&api);
    for replica in [one, other] {
        assert!(replica.open(&blob, &SCOPE).await.unwrap().expose(|value| value == b"kl-test-value"));
    }
    let elsewhere = Scope { environment: "staging", ..SCOPE };
    let refused = keyring(&api, "cluster").await.open(&blob, &elsewhere).await.err();
    assert!(matches!(refused, Some(UnsealError::Blob(BlobError::DoesNotOpen))), "{refused:?}");
}

#[tokio::test]
async fn a_blob_for_a_key_that_is_not_here_is_refused_by_the_key_s_name() {
    let blob = {
        let elsewhere = ApiServer::begin();
        keyring(&elsewhere, "cluster").await;
        sealed(&elsewhere)
    };
    let api = ApiServer::begin();
    let here = keyring(&api, "cluster").await;
    let refused = here.open(&blob, &SCOPE).await.err();
    assert!(matches!(refused, Some(UnsealError::KeyUnknown { key }) if key == blob.key().to_string()));
}

#[tokio::test(start_paused = true)]
async fn without_its_kms_key_no_blob_opens() {
    let api = ApiServer::begin();
    let keyring = keyring(&api, "cluster").await;
    let blob = sealed(&api);
    api.unset(KEK_PATH);
    tokio::time::advance(std::time::Duration::from_millis(1001)).await;
    assert!(matches!(keyring.open(&blob, &SCOPE).await.err(), Some(UnsealError::KeySealed { .. })));
}

#[tokio::test]
async fn a_private_half_taken_to_another_cluster_does_not_open_there() {
    let api = ApiServer::begin();
    let blob = {
        keyring(&api, "cluster").await;
        sealed(&api)
    };
    let refused = keyring(&api, "other cluster").await.open(&blob, &SCOPE).await.err();
    assert!(matches!(refused, Some(UnsealError::Failed { .. })), "{refused:?}");
}

#[tokio::test]
async fn the_published_keys_are_made_right_again_but_never_from_damaged_ones() {
    let api = ApiServer::begin();
    let keyring = keyring(&api, "cluster").await;
    let before = published(&api);
    api.set(PUBLISHED_PATH, json!({ "metadata": {}, "data": { PUBLISHED_KEY: "kl-test" } }));
    keyring.publish().await.unwrap();
    assert_eq!(published(&api), before);
    let mut damaged = api.object(SECRET_PATH).unwrap();
    damaged["data"][public_entry(&before.primary)] = json!("AAAA");
    api.set(SECRET_PATH, damaged);
    assert!(matches!(keyring.publish().await, Err(SealingError::Damaged)));
    api.unset(SECRET_PATH);
    assert!(matches!(keyring.publish().await, Err(SealingError::Damaged)));
}

#[tokio::test]
async fn no_local_key_is_made_anew_while_sealing_keys_are_sealed_under_a_lost_one() {
    let api = ApiServer::begin();
    keyring(&api, "cluster").await;
    api.unset(KEK_PATH);
    assert!(LocalKeys::load_or_create(&api.client(), &api.client()).await.is_err());
}
