//! Promise 5, no fallback: a missing environment is refused by its documented sentence, before any connection.

use keylend_e2e::{App, Stage, eventually};
use serde_json::{Value, json};

const VALUE: &str = "kl-test-9ab07c6d13e5f248";
const SENTENCE: &str = "Secret 'stripe_api_key' not configured for environment 'staging'";

#[test]
fn an_environment_that_link_or_secret_lacks_is_refused_before_any_connection() {
    let stage = Stage::set("env", VALUE);
    let app = stage.app();
    stage.wait_until_injected(&app);
    stage.add_route("staging", &format!("https://{}", stage.host), "staging");
    eventually(|| known(&app));

    refused(&stage, &app, "the link lacks it");
    share_staging(&stage);
    refused(&stage, &app, "the secret lacks it");
    let declared =
        json!({"spec": {"environments": [{"name": "production"}, {"name": "staging"}]}}).to_string();
    stage
        .owner
        .run(&["patch", "keylendsecret", "stripe-api-key", "--type=merge", "--patch", &declared])
        .expect_ok();
    refused(&stage, &app, "the secret has no value for it");

    let put = ["keylend", "put", "stripe-api-key", "--environment", "staging"];
    stage.owner.run_with_input(&put, VALUE).expect_ok();
    assert_eq!(app.call("/staging/ok").status, 200, "the same route, once there is a value");
}

/// A route is known once the operator's watch has seen it.
fn known(app: &App) -> Result<(), String> {
    let call = app.call("/staging/ok");
    if call.refusal == "route_unknown" { Err(format!("{call:?}")) } else { Ok(()) }
}

/// Lends `staging` through a share and a link of its own, though the secret has none.
fn share_staging(stage: &Stage) {
    let mut share = stage.owner.json("secretshare", "partner");
    share["metadata"] = json!({"name": "partner-staging"});
    share["spec"]["environment"] = json!("staging");
    stage.owner.apply(&share.to_string()).expect_ok();
    let linked = stage.recipient.json("keylendsecret", "stripe-api-key");
    let production = &linked["spec"]["link"]["shares"][0];
    let mut staging = production.clone();
    staging["environment"] = json!("staging");
    staging["shareRef"]["name"] = json!("partner-staging");
    let patch = json!({"spec": {"link": {"shares": [production, staging]}}}).to_string();
    stage
        .recipient
        .run(&["patch", "keylendsecret", "stripe-api-key", "--type=merge", "--patch", &patch])
        .expect_ok();
    stage.recipient.wait_for("keylendsecret/stripe-api-key", "Ready");
    eventually(|| {
        let linked = stage.recipient.json("keylendsecret", "stripe-api-key");
        let accepted = linked["status"]["shares"].as_array().map_or(0, Vec::len);
        let share = stage.owner.json("secretshare", "partner-staging");
        let held = share["metadata"]["finalizers"].is_array() && share["status"]["secretUid"].is_string();
        if accepted == 2 && held { Ok(()) } else { Err(format!("{linked} {share}")) }
    });
}

fn refused(stage: &Stage, app: &App, why: &str) {
    let upstream = stage.upstream();
    let before = (upstream.accepted(), upstream.hits().len());
    assert!(before.0 > 0, "production was called, and counted");
    let call = app
        .run(&json!({"url": "/staging/ok", "count": 1, "include_body": true, "include_headers": true}))
        .pop()
        .unwrap_or_default();
    assert_eq!((call.status, call.refusal.as_str()), (500, "environment_unset"), "{why}: {call:?}");
    assert_eq!(call.headers["Content-Type"][0], "application/problem+json", "{why}");
    let problem: Value = serde_json::from_str(&call.body).unwrap_or_default();
    assert_eq!(problem["error"], SENTENCE, "{why}");
    assert_eq!((upstream.accepted(), upstream.hits().len()), before, "{why}: it reached the upstream");
    assert_eq!(app.call("/stripe/ok").status, 200, "{why}: production goes on");
}
