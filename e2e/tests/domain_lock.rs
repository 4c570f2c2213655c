//! Promise 2, locked: well-formed but unapproved destinations are refused at the call, by code; malformed ones at apply.

use std::time::Duration;

use keylend_e2e::{Stage, within};
use serde_json::json;

const VALUE: &str = "kl-test-c05e81d7f92ab364";

#[test]
fn an_unapproved_destination_is_refused_by_its_code() {
    let stage = Stage::set("lock", VALUE);
    let app = stage.app();
    stage.wait_until_injected(&app);
    let host = stage.host.clone();
    let table = [
        (format!("https://other.{}", host.split_once('.').unwrap().1), "host_not_approved"),
        (format!("https://{}", host.split_once('.').unwrap().1), "host_not_approved"),
        (format!("https://a.{host}"), "host_not_approved"),
        (format!("https://{host}:8443"), "port_not_approved"),
    ];
    for (upstream, code) in table {
        let patch = json!({"spec": {"upstream": upstream}}).to_string();
        stage
            .recipient
            .run(&["patch", "keylendroute", "stripe", "--type=merge", "--patch", &patch])
            .expect_ok();
        within(Duration::from_secs(10), || {
            let call = app.call("/stripe/ok");
            if call.refusal == code { Ok(()) } else { Err(format!("{upstream}: {call:?}")) }
        });
    }
}

#[test]
fn a_private_address_that_no_network_lists_is_refused() {
    let stage = Stage::set("network", VALUE);
    let app = stage.app();
    stage.wait_until_injected(&app);
    let hits = stage.upstream().hits().len();
    stage.patch_share(&json!({"use": {"networks": ["10.200.0.0/16"]}}));
    let call = app.call("/stripe/ok");
    assert_eq!(call.refusal, "address_not_approved", "{call:?}");
    assert_eq!(stage.upstream().hits().len(), hits);
}

#[test]
fn malformed_domains_are_refused_at_apply_with_what_to_write() {
    let stage = Stage::without_app("spelling", VALUE);
    for (domain, sentence) in [
        ("https://api.stripe.test", "host name alone"),
        ("api.stripe.test:443", "host name alone"),
        ("API.stripe.test", "lower case"),
        ("bücher.test", "A-labels"),
        ("*.*.stripe.test", "'*' only as its whole first label"),
        ("localhost", "two labels or more"),
    ] {
        let patch = json!({"spec": {"use": {"domains": [domain]}}}).to_string();
        stage
            .owner
            .run(&["patch", "secretshare", "partner", "--type=merge", "--patch", &patch])
            .expect_refused(sentence);
    }
    // What only a list can know is said by the share's condition.
    stage.patch_share(&json!({"use": {"domains": ["*.github.io"]}}));
    within(Duration::from_secs(10), || {
        let share = stage.owner.json("secretshare", "partner");
        let conditions = share["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready").unwrap_or_default();
        let message = ready["message"].as_str().unwrap_or_default();
        if ready["reason"] == "PolicyInvalid" && message.contains("domains") {
            Ok(())
        } else {
            Err(ready.to_string())
        }
    });
}
