//! Promise 1, never seen: the upstream gets the value, the app gets it back from nowhere.

use keylend_e2e::{App, Stage};

const VALUE: &str = "kl-test-4f1c9a7be2d05836";
const ENCODINGS: [&str; 4] =
    ["a2wtdGVzdC00ZjFj", "6b6c2d746573742d34663163", "kl%2dtest%2d4f1c", "4f1c9a7be2d05836"];

fn shows_the_value(text: &str) -> bool {
    let lower = text.to_lowercase();
    text.contains(VALUE)
        || ENCODINGS.iter().any(|spelling| text.contains(spelling) || lower.contains(spelling))
}

#[test]
fn the_upstream_receives_the_value_and_the_app_sees_it_nowhere() {
    let stage = Stage::set("use", VALUE);
    let app = stage.app();
    stage.wait_until_injected(&app);
    received_by_the_upstream(&stage);
    echoes_are_masked(&app);
    nothing_in_what_kubectl_shows(&stage);
}

/// The positive control: without it, seeing nothing would prove nothing.
fn received_by_the_upstream(stage: &Stage) {
    let expectation = serde_json::json!({"authorization": format!("Bearer {VALUE}")});
    keylend_e2e::app::post(&format!("{}/expect", stage.upstream().control()), &expectation);
    let authorized = stage.app().call("/stripe/v1/charges");
    assert_eq!(authorized.status, 200, "{authorized:?}");
    let hits = stage.upstream().hits();
    assert!(hits.iter().any(|hit| hit["authorization"]["expected"] == true), "{hits:?}");
}

fn echoes_are_masked(app: &App) {
    let echo = app.call("/stripe/echo");
    assert_eq!(echo.status, 200, "{echo:?}");
    assert!(echo.body.to_lowercase().contains("authorization"), "the upstream echoes: {}", echo.body);
    assert!(!shows_the_value(&echo.body), "{}", echo.body);
    for split in ["", "&split=1", "&split=7"] {
        let encoded = app.call(&format!("/stripe/echo-encoded?in=headers,body,trailers{split}"));
        assert_eq!(encoded.status, 200, "{encoded:?}");
        assert!(!shows_the_value(&encoded.body), "{split}: {}", encoded.body);
    }
}

fn nothing_in_what_kubectl_shows(stage: &Stage) {
    let everything =
        ["keylendsecrets,secretshares,keylendroutes,pods,events,secrets,configmaps", "--output", "yaml"];
    for kubectl in [&stage.owner, &stage.recipient] {
        let shown = kubectl.run(&[&["get"], &everything[..]].concat()).expect_ok();
        assert!(shown.contains("stripe-api-key"), "something is shown at all");
        assert!(!shows_the_value(&shown));
    }
    let operator = keylend_e2e::Kubectl::admin("keylend-system");
    let pods = ["logs", "--selector", "app.kubernetes.io/name=keylend", "--tail=-1", "--prefix"];
    let logs = operator.run(&pods).expect_ok();
    assert!(logs.contains("\"kind\":\"intent\""), "the audit rows are mirrored");
    assert!(!shows_the_value(&logs));
    let sidecar =
        stage.recipient.run(&["logs", "deployment/checkout", "--container", "keylend-sidecar"]).expect_ok();
    assert!(!shows_the_value(&sidecar));
}
