//! The plugin against a real API server: each verb does what it prints, and `status` names the link that refuses.

use std::time::{Duration, Instant};

use keylend_e2e::{Kubectl, Stage, condition, eventually};
use serde_json::{Value, json};

const FIRST: &str = "kl-test-0d9c51e7a2b8f463";
const SECOND: &str = "kl-test-b7e30a94c6d1f258";

const SECRET: &str = "stripe-api-key";
const LONGEST_STOP: Duration = Duration::from_secs(4);

/// One row of `status`.
#[derive(serde::Deserialize, Debug)]
struct Link {
    standing: String,
    object: String,
    message: String,
}

/// The exit code of `status`, and its rows; none if it wrote something else.
fn status(recipient: &Kubectl) -> (Option<i32>, Vec<Link>) {
    let run = recipient.run(&["keylend", "status", "stripe", "--output", "json"]);
    (run.code, serde_json::from_str(&run.stdout).unwrap_or_default())
}

/// Waits until `status` exits with 1 and the first link that refuses is `object`, for the reason `said`.
#[track_caller]
fn refuses(stage: &Stage, object: &str, said: &str) {
    eventually(|| {
        let (code, chain) = status(&stage.recipient);
        let first = chain.iter().find(|link| link.standing == "refuses");
        let named = first.is_some_and(|link| link.object == object && link.message.contains(said));
        if named && code == Some(1) { Ok(()) } else { Err(format!("{object}: {said}: {code:?} {chain:#?}")) }
    });
}

#[track_caller]
fn permits(stage: &Stage) {
    eventually(|| {
        let (code, chain) = status(&stage.recipient);
        let all = !chain.is_empty() && chain.iter().all(|link| link.standing == "permits");
        if all && code == Some(0) { Ok(()) } else { Err(format!("{code:?} {chain:#?}")) }
    });
}

fn owner_namespace(stage: &Stage) -> String {
    stage.recipient_namespace().replacen("partner", "payments", 1)
}

fn accept(stage: &Stage, share: &str) -> String {
    let share = format!("{}/{share}", owner_namespace(stage));
    let arguments = ["keylend", "accept", &share, "--name", SECRET, "--environment", "production"];
    stage.recipient.run(&arguments).expect_ok()
}

#[test]
fn a_value_is_put_sealed_and_never_printed() {
    let stage = Stage::without_app("cli-value", FIRST);
    let put = |arguments: &[&str], value: &str| {
        let arguments = [&["keylend", "put"], arguments].concat();
        stage.owner.run_with_input(&arguments, value)
    };
    let printed = put(&[SECRET], SECOND).expect_ok();
    assert_eq!(printed, format!("{SECRET} (production) is live as version 2\n"));
    put(&["another"], FIRST).expect_refused("or add --create");
    let printed = put(&["another", "--create", "--environment", "staging", "-o", "json"], FIRST).expect_ok();
    let expected = json!({"name": "another", "environment": "staging", "version": 1});
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), expected);
    put(&[SECRET], "kl-test").expect_refused("8 bytes or more");

    let arguments = ["keylend", "seal", SECRET, "--environment", "production"];
    let blob = stage.owner.run_with_input(&arguments, FIRST).expect_ok();
    let environments = json!([{"name": "production", "sealed": {"value": blob.trim_end()}}]);
    let manifest = json!({
        "apiVersion": "keylend.dev/v1alpha1", "kind": "Secret", "metadata": {"name": SECRET},
        "spec": {"type": "String", "baseEnvironment": "production", "environments": environments},
    });
    let arguments = ["apply", "--server-side", "--force-conflicts", "--filename", "-"];
    stage.owner.run_with_input(&arguments, &manifest.to_string()).expect_ok();
    eventually(|| {
        let status = &stage.owner.json("keylendsecret", SECRET)["status"];
        let version = &status["environments"][0]["fields"][0]["version"];
        if *version == 3 { Ok(()) } else { Err(status.to_string()) }
    });
}

#[test]
fn a_share_is_made_accepted_and_stopped() {
    let stage = Stage::without_app("cli-share", FIRST);
    stage.recipient.apply(&stage.manifest("recipient.yaml")).expect_ok();
    stage.recipient.run(&["delete", "keylendsecret", SECRET]).expect_ok();
    let recipient = stage.recipient_namespace();
    let create = ["keylend", "share", "create", "second", "--secret", SECRET, "--environment", "production"];
    let domain = ["--to-namespace", &recipient, "--domain", &stage.host, "--expires-in", "1h"];
    let arguments = [&create[..], &domain].concat();
    let dry = stage.owner.run(&[&arguments[..], &["--dry-run"]].concat()).expect_ok();
    assert_eq!(serde_json::from_str::<Value>(&dry).unwrap()["kind"], "SecretShare");
    stage.owner.run(&["get", "secretshare", "second"]).expect_refused("not found");
    let printed = stage.owner.run(&arguments).expect_ok();
    assert!(printed.contains("kubectl keylend accept"), "{printed}");
    let namespace = Kubectl::admin("default").json("namespace", &recipient);
    let share = stage.owner.json("secretshare", "second");
    assert_eq!(share["spec"]["recipient"]["namespace"]["uid"], namespace["metadata"]["uid"]);

    let printed = accept(&stage, "second");
    assert!(printed.contains(&format!("keylendsecret/{SECRET} links")), "{printed}");
    permits(&stage);
    let began = Instant::now();
    let printed = stage.owner.run(&["keylend", "share", "revoke", "second"]).expect_ok();
    assert!(began.elapsed() < LONGEST_STOP && printed.contains("nothing more can leave"), "{printed}");
    let conditions = stage.owner.json("secretshare", "second")["status"]["conditions"].clone();
    let revoked = conditions.as_array().unwrap().iter().find(|one| one["type"] == "Revoked").unwrap();
    assert_eq!((&revoked["status"], &revoked["reason"]), (&json!("True"), &json!("Stopped")));
    let complaint =
        stage.owner.run(&["keylend", "share", "revoke", "unheard-of"]).expect_refused("stopping the share");
    assert!(complaint.ends_with("secretshares.keylend.dev \"unheard-of\" not found\n"), "{complaint}");
}

#[test]
fn status_names_the_link_that_refuses() {
    let stage = Stage::without_app("cli-status", FIRST);
    stage.recipient.apply(&stage.manifest("recipient.yaml")).expect_ok();
    permits(&stage);
    let share = format!("share {}/partner", owner_namespace(&stage));
    let linked = format!("secret {SECRET}");
    let patch = |specification: &Value| {
        let patch = json!({"spec": specification}).to_string();
        stage
            .recipient
            .run(&["patch", "keylendroute", "stripe", "--type=merge", "--patch", &patch])
            .expect_ok();
    };

    patch(&json!({"upstream": "https://evil.example.com"}));
    refuses(&stage, &share, "host_not_approved: the host 'evil.example.com'");
    patch(&json!({"upstream": format!("https://{}", stage.host), "environment": "staging"}));
    refuses(&stage, "route stripe", "not configured for environment 'staging'");
    patch(&json!({"environment": "production"}));
    permits(&stage);

    stage.recipient.run(&["delete", "keylendsecret", SECRET]).expect_ok();
    refuses(&stage, "route stripe", "there is no linked Secret 'stripe_api_key'");
    accept(&stage, "unheard-of");
    refuses(&stage, &linked, "unheard-of");
    accept(&stage, "partner");
    permits(&stage);

    let accept_staging = ["--name", SECRET, "--environment", "staging"];
    let unheard = format!("{}/unheard-of", owner_namespace(&stage));
    let accept_staging = [&["keylend", "accept", &unheard][..], &accept_staging].concat();
    stage.recipient.run(&accept_staging).expect_ok();
    let missing = condition::ready_because(&stage.recipient, "keylendsecret", SECRET, "ShareMissing");
    assert!(missing.contains("spec.link.shares[staging]"), "{missing}");
    permits(&stage);
    patch(&json!({"environment": "staging"}));
    refuses(&stage, &linked, "ShareMissing: no share for this namespace: ");
    patch(&json!({"environment": "production"}));
    permits(&stage);

    stage.patch_share(&json!({"recipient": {"namespace": {"uid": "00000000-0000-0000-0000-000000000000"}}}));
    refuses(&stage, &linked, "RecipientChanged: the share is for another namespace of this name: ");
    stage.patch_share(&json!({"recipient": {"namespace": {"uid": null}}}));
    permits(&stage);

    let mut brief = stage.owner.json("secretshare", "partner");
    brief["metadata"] = json!({"name": "brief"});
    stage.owner.apply(&brief.to_string()).expect_ok();
    accept(&stage, "brief");
    permits(&stage);
    let past = json!({"spec": {"expiresAt": "2026-01-01T00:00:00Z"}}).to_string();
    stage.owner.run(&["patch", "secretshare", "brief", "--type=merge", "--patch", &past]).expect_ok();
    refuses(&stage, &linked, "Expired: the share has expired: ");
    accept(&stage, "partner");
    permits(&stage);

    stage.owner.run(&["keylend", "share", "revoke", "partner"]).expect_ok();
    refuses(&stage, &linked, "Stopped: the share was stopped: ");
    let unheard = stage.recipient.run(&["keylend", "status", "unheard-of"]);
    assert_eq!(unheard.code, Some(1));
    unheard.expect_refused("reading Route 'unheard-of'");
}

#[test]
fn objects_are_found_by_the_fields_that_can_be_selected() {
    let stage = Stage::without_app("cli-fields", FIRST);
    stage.recipient.apply(&stage.manifest("recipient.yaml")).expect_ok();
    let (namespace, upstream) = (stage.recipient_namespace(), format!("https://{}", stage.host));
    let mut selected = Vec::new();
    for (kubectl, kind, field, value, name) in [
        (&stage.recipient, "keylendroutes", ".spec.upstream", &*upstream, "stripe"),
        (&stage.recipient, "keylendroutes", ".spec.environment", "production", "stripe"),
        (&stage.recipient, "keylendsecrets", ".spec.type", "Linked", SECRET),
        (&stage.owner, "secretshares", ".spec.secretRef.name", SECRET, "partner"),
        (&stage.owner, "secretshares", ".spec.recipient.namespace.name", &*namespace, "partner"),
    ] {
        let found = |value: &str| {
            let selector = format!("--field-selector={}={value}", &field[1..]);
            kubectl.run(&["get", kind, &selector, "--output=name"]).expect_ok()
        };
        assert!(found(value).trim_end().ends_with(&format!("/{name}")), "{kind} {field}={value}");
        assert_eq!(found("another"), "", "{kind} {field}=another");
        selected.push((kind, field.to_owned()));
    }
    for kind in ["keylendroutes", "keylendsecrets", "secretshares"] {
        let definition = Kubectl::admin("default").json("crd", &format!("{kind}.keylend.dev"));
        for field in definition["spec"]["versions"][0]["selectableFields"].as_array().unwrap() {
            let field = field["jsonPath"].as_str().unwrap().to_owned();
            assert!(selected.contains(&(kind, field.clone())), "{kind}: {field} has a row");
        }
    }
}

#[test]
fn version_names_the_plugin_and_the_operator() {
    let printed = Kubectl::admin("default").run(&["keylend", "version", "--output", "json"]).expect_ok();
    let version: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&version["plugin"], &version["wireVersion"]), (&env!("CARGO_PKG_VERSION").into(), &json!(1)));
    assert!(version["operator"].is_string(), "{version}");
}
