//! Promises 6 and 7: nothing rests in plaintext, what rests opens in its own place only, and its key is the switch.
#![expect(clippy::unwrap_used, reason = "a test whose peers or cluster are gone cannot go on")]

use std::{fs, thread, time::Duration};

use keylend_e2e::{App, Call, Kubectl, Needle, Pod, Stage, Undo, condition, eventually, node, operator};
use serde_json::{Value, json};

const VALUE: &str = "kl-test-70be5c19d3f8a246";
const CANARY: &str = "kl-test-canary-2d91c7f06ab35e84";
/// Stands in the program of the peers' image.
const PEERS: &str = "keylend.dev/e2e/peers";
const KEK: &str = "keylend-local-kek";
/// How long the switch may take: a reading of the key is used for so long.
const SWITCH: Duration = Duration::from_secs(1);

#[test]
fn no_plaintext_is_in_etcd_or_on_disk() {
    let stage = Stage::set("rest", VALUE);
    stage.wait_until_injected(&stage.app());
    let planted = format!("--from-literal=canary={CANARY}");
    stage.owner.run(&["create", "secret", "generic", "canary", &planted]).expect_ok();
    let file = operator::volume(operator::REPLICAS[0]).join("canary");
    let _removed = Undo::by(|| drop(fs::remove_file(&file)));
    fs::write(&file, CANARY).unwrap();

    let (canary, value) = (Needle::new(CANARY), Needle::new(VALUE));
    let paths = node::paths();
    let etcd = node::etcd();
    assert!(!canary.in_bytes(&etcd).is_empty(), "a core Secret's value can be found in etcd");
    assert_eq!(Needle::in_pieces(VALUE).in_bytes(&etcd), Vec::<String>::new());
    assert!(!Needle::new(PEERS).under(&paths.containerd_root).is_empty(), "programs of images can be found");
    assert_eq!(value.under(&paths.containerd_root), Vec::<String>::new(), "what containers wrote");
    for folder in [paths.etcd_data, paths.volumes, paths.kubelet_root] {
        assert!(!canary.under(&folder).is_empty(), "what lies in {} can be found", folder.display());
        assert_eq!(value.under(&folder), Vec::<String>::new(), "{}", folder.display());
    }
}

#[test]
fn an_envelope_opens_under_its_own_name_only() {
    let stage = Stage::set("envelope", "kl-test-the-first-value");
    let app = stage.app();
    let first = envelope(&stage.owner, "stripe-api-key");
    stage.put(VALUE);
    let own = envelope(&stage.owner, "stripe-api-key");
    let put = ["keylend", "put", "other-key", "--create", "--environment", "production"];
    stage.owner.run_with_input(&put, "kl-test-the-other-value").expect_ok();
    let other = envelope(&stage.owner, "other-key");
    stage.wait_until_injected(&app);

    let _restored = Undo::by(|| drop(rest(&own, &own)));
    for (whose, stranger) in [("another secret's", &other), ("an earlier version's", &first)] {
        rest(&own, stranger).unwrap();
        faults(&stage, &app, whose);
        rest(&own, &own).unwrap();
        assert_eq!(app.call("/stripe/ok").status, 200, "its own, though re-created, opens");
    }
}

/// A call whose envelope is not what was sealed: no use, no word to the app, an alarm for people.
fn faults(stage: &Stage, app: &App, whose: &str) {
    let alarms = || {
        let rows = operator::audit_rows();
        let of_secret = |row: &&Value| row["object"]["namespace"] == stage.owner.namespace();
        rows.iter().filter(of_secret).filter(|row| row["code"] == "integrity_failed").count()
    };
    let before = (stage.upstream().hits().len(), alarms());
    let call = app.call("/stripe/ok");
    assert_eq!((call.status, call.refusal.as_str()), (500, "fault"), "{whose}: {call:?}");
    assert_eq!((stage.upstream().hits().len(), alarms()), (before.0, before.1 + 1), "{whose}");
}

/// The core Secret in which the newest value of `secret` rests.
fn envelope(owner: &Kubectl, secret: &str) -> Value {
    let secret = owner.json("keylendsecret", secret);
    let uid = secret["metadata"]["uid"].as_str().unwrap();
    let version = secret["status"]["environments"][0]["fields"][0]["version"].to_string();
    let labels = format!("keylend.dev/secret-uid={uid},keylend.dev/version={version}");
    let found = operator::kubectl().run(&["get", "secrets", "--selector", &labels, "--output", "json"]);
    let found: Value = serde_json::from_str(&found.expect_ok()).unwrap();
    found["items"][0].clone()
}

/// Makes the core Secret `place` anew, with the envelope of `content` in it.
fn rest(place: &Value, content: &Value) -> Result<(), String> {
    let mut secret = place.clone();
    secret["data"] = content["data"].clone();
    secret["metadata"] = json!({
        "name": place["metadata"]["name"],
        "labels": place["metadata"]["labels"],
        "annotations": place["metadata"]["annotations"],
    });
    let system = operator::kubectl();
    let name = place["metadata"]["name"].as_str().unwrap_or_default();
    let gone = system.run(&["delete", "secret", name]);
    let made = system.run_with_input(&["create", "--filename", "-"], &secret.to_string());
    if gone.ok && made.ok { Ok(()) } else { Err(gone.stderr + &made.stderr) }
}

#[test]
fn a_blob_opens_in_its_own_place_only() {
    let stage = Stage::without_app("blob", VALUE);
    let original = stage.owner.json("keylendsecret", "stripe-api-key");
    let blob = &original["spec"]["environments"][0]["sealed"]["value"];
    stage.owner.run(&["delete", "keylendsecret", "stripe-api-key"]).expect_ok();
    let own = (&stage.owner, "stripe-api-key", "production");
    for ((kubectl, name, environment), reason) in [
        (own, "Live"),
        ((&stage.upstream_namespace, own.1, own.2), "BlobRefused"),
        ((own.0, "other-key", own.2), "BlobRefused"),
    ] {
        let secret = json!({
            "apiVersion": "keylend.dev/v1alpha1", "kind": "Secret", "metadata": {"name": name},
            "spec": {"type": "String", "environments": [{"name": environment, "sealed": {"value": blob}}]},
        });
        kubectl.apply(&secret.to_string()).expect_ok();
        let message = condition::ready_because(kubectl, "keylendsecret", name, reason);
        if reason == "BlobRefused" {
            assert!(message.starts_with("spec.environments[production].sealed.value: "), "{message}");
            assert!(message.contains("was made for another namespace, name"), "{message}");
        }
    }
}

#[test]
fn without_its_key_nothing_is_lent_and_with_it_again_all_is() {
    let stage = Stage::set("kek", VALUE);
    // Each replica reads the key for itself.
    let apps: Vec<App> = stage.scale_over_both(2).iter().map(Pod::app).collect();
    let system = operator::kubectl();
    let kek = system.json("secret", KEK);
    let ids = kek["data"].as_object().unwrap().keys().filter(|key| *key != "primary");
    let ids: Vec<&String> = ids.collect();
    let patch =
        |data: Value| system.run(&["patch", "secret", KEK, "--patch", &json!({"data": data}).to_string()]);
    let all = |entry: fn(&Value) -> Value| -> Value {
        ids.iter()
            .map(|id| ((*id).clone(), entry(&kek["data"][*id])))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };

    let put_back = Undo::by(|| drop(patch(all(Value::clone))));
    patch(all(|_| Value::Null)).expect_ok();
    thread::sleep(SWITCH);
    let before = stage.upstream().hits().len();
    let wish = json!({"url": "/stripe/ok", "count": 20, "concurrency": 4});
    let sealed = |status, refusal: &str| status == 503 && refusal == "key_sealed";
    for calls in apps.iter().map(|app| app.run(&wish)) {
        assert!(calls.iter().all(|call| sealed(call.status, &call.refusal)), "{calls:?}");
    }
    assert_eq!(stage.upstream().hits().len(), before);
    let refuses = eventually(|| link_that_refuses(&stage));
    let secret = format!("secret {}/stripe-api-key ", stage.owner.namespace());
    assert!(refuses.contains(&secret) && refuses.contains("key_sealed: the key '"), "{refuses}");
    assert!(ids.iter().any(|id| refuses.contains(id.as_str())), "{refuses}");
    let put = ["keylend", "put", "stripe-api-key", "--environment", "production", "--timeout", "10"];
    stage
        .owner
        .run_with_input(&put, "kl-test-too-early-for-this")
        .expect_refused("is disabled or gone; enable it again");

    drop(put_back);
    thread::sleep(SWITCH);
    let calls: Vec<Call> = apps.iter().map(|app| app.call("/stripe/ok")).collect();
    assert!(calls.iter().all(|call| call.status == 200), "{calls:?}");
    operator::both_granted(&calls);
    eventually(|| {
        let status = stage.recipient.run(&["keylend", "status", "stripe"]);
        if status.code == Some(0) { Ok(()) } else { Err(status.stdout + &status.stderr) }
    });
}

/// The link that `status` says refuses, if one does.
fn link_that_refuses(stage: &Stage) -> Result<String, String> {
    let status = stage.recipient.run(&["keylend", "status", "stripe"]);
    let refuses = status.stdout.lines().find(|line| line.starts_with("refuses "));
    refuses.filter(|_| status.code == Some(1)).map(ToOwned::to_owned).ok_or(status.stdout.clone())
}
