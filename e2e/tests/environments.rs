//! Promise 5, no fallback: a missing environment is refused by its documented sentence, before any connection.

use keylend_e2e::{Stage, within};
use serde_json::{Value, json};
use std::time::Duration;

const VALUE: &str = "kl-test-9ab07c6d13e5f248";

#[test]
fn a_route_in_an_environment_that_the_link_lacks_is_refused() {
    let stage = Stage::set("env", VALUE);
    let app = stage.app();
    stage.wait_until_injected(&app);
    let before = stage.upstream().hits().len();
    let staging = json!({"spec": {"environment": "staging"}}).to_string();
    stage
        .recipient
        .run(&["patch", "keylendroute", "stripe", "--type=merge", "--patch", &staging])
        .expect_ok();
    let refused = within(Duration::from_secs(10), || {
        let call = app.call("/stripe/ok");
        if call.status == 200 {
            Err("the operator has not seen the route's change yet".to_owned())
        } else {
            Ok(call)
        }
    });
    let hits = stage.upstream().hits().len();
    assert_eq!((refused.status, refused.refusal.as_str()), (500, "environment_unset"));
    let problem: Value = serde_json::from_str(&refused.body).unwrap();
    assert_eq!(problem["error"], "Secret 'stripe_api_key' not configured for environment 'staging'");
    let again = app.call("/stripe/ok");
    assert_eq!(again.status, 500);
    assert_eq!(stage.upstream().hits().len(), hits, "a refused call reaches no upstream");
    assert!(hits >= before);
}
