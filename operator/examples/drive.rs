#![allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::expect_used
)]
use keylend_contract::{blob::*, plaintext::Plaintext};
use keylend_crds::Secret;
use keylend_operator::{
    controllers::secret,
    intake::*,
    keys::local::LocalKeys,
    sealing::*,
    storage::{self, *},
};
use kube::{Api, Client, api::*};
use std::sync::Arc;
async fn replica(client: &Client) -> Arc<secret::Context> {
    let uid = storage::cluster_uid(client).await.unwrap();
    let keys = Arc::new(LocalKeys::load_or_create(client, client).await.unwrap());
    let sealing = SealingKeyring::load_or_create(client, keys.clone(), &uid).await.unwrap();
    let storage = Arc::new(Storage::new(client, client, keys));
    Arc::new(secret::Context {
        client: client.clone(),
        intake: Intake::new(sealing, storage.clone(), uid),
        storage,
    })
}
async fn seal(client: &Client, ns: &str, name: &str, env: &str, value: &str) -> Blob {
    let maps: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::namespaced(client.clone(), "keylend-system");
    let map = maps.get("keylend-sealing-keys").await.unwrap();
    let keys: SealingKeys = serde_json::from_str(&map.data.unwrap()["keys.json"]).unwrap();
    let scope = Scope { namespace: ns, name, secret_type: "String", environment: env, field: "value" };
    let v = Plaintext::parse(zeroize::Zeroizing::new(value.as_bytes().to_vec())).unwrap();
    keys.primary().unwrap().seal(&scope, &v, jiff::Timestamp::now().as_millisecond() as u64).unwrap()
}
#[tokio::main]
async fn main() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    tracing_subscriber::fmt().with_env_filter("info,keylend_operator=debug").init();
    let client = Client::try_default().await.unwrap();
    let args: Vec<String> = std::env::args().collect();
    match args[1].as_str() {
        "run" => {
            let (a, b) = (replica(&client).await, replica(&client).await);
            let (ca, cb) = (secret::controller(&client), secret::controller(&client));
            tokio::join!(secret::run(ca, a), secret::run(cb, b));
        }
        "seal" => println!("{}", seal(&client, &args[2], &args[3], &args[4], &args[5]).await),
        "read" => {
            let ctx = replica(&client).await;
            let api: Api<Secret> = Api::namespaced(client.clone(), &args[2]);
            let s = api.get(&args[3]).await.unwrap();
            let f = live(&s, &args[4]).unwrap();
            let v = ctx.storage.open(&ctx.intake.binding(&s, &args[4], f.version, f.wrap_generation)).await;
            println!("{:?}", v.map(|v| v.expose(|b| String::from_utf8(b.to_vec()).unwrap())));
        }
        "puts" => {
            let api: Api<Secret> = Api::namespaced(client.clone(), &args[2]);
            let ctx = replica(&client).await;
            let mut times = vec![];
            for n in 0..args[5].parse::<u32>().unwrap() {
                let value = format!("kl-test-value-{n}");
                let blob = seal(&client, &args[2], &args[3], &args[4], &value).await;
                let start = std::time::Instant::now();
                let patch = serde_json::json!({"spec":{"environments":[{"name":args[4],"sealed":{"value":blob.to_string()}}]}});
                let g = api
                    .patch(&args[3], &PatchParams::default(), &Patch::Merge(patch))
                    .await
                    .unwrap()
                    .metadata
                    .generation;
                let s = loop {
                    let s = api.get(&args[3]).await.unwrap();
                    let st = s.status.clone().unwrap();
                    if st.observed_generation >= g {
                        assert_eq!(
                            live(&s, &args[4]).unwrap().digests[0],
                            blob.digest(),
                            "{:?}",
                            st.conditions
                        );
                        break s;
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                };
                times.push(start.elapsed());
                let f = live(&s, &args[4]).unwrap();
                let v = ctx
                    .storage
                    .open(&ctx.intake.binding(&s, &args[4], f.version, f.wrap_generation))
                    .await
                    .unwrap();
                assert!(v.expose(|b| b == value.as_bytes()));
            }
            times.sort();
            println!("puts p50 {:?} max {:?}", times[times.len() / 2], times.last());
        }
        _ => {}
    }
}
