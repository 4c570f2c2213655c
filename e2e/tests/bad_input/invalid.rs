//! What only the operator can judge, which is after it was written.

use std::time::Duration;

use keylend_e2e::{Stage, condition, within};
use serde_json::{Value, json};

use crate::{VALUE, edit, nothing_is_lost};

#[test]
fn an_invalid_field_is_named_by_the_condition_and_refuses_calls() {
    let stage = Stage::set("judge", VALUE);
    let caller = stage.app();
    stage.wait_until_injected(&caller);
    for (object, reason, table) in [
        ((&stage.recipient, "keylendroute", "stripe"), "FieldInvalid", invalid_routes()),
        ((&stage.recipient, "keylendroute", "stripe"), "SecretMissing", routes_without_secrets()),
        ((&stage.owner, "secretshare", "partner"), "PolicyInvalid", invalid_policies()),
    ] {
        for (pointer, value, message, code) in table {
            let good = object.0.json(object.1, object.2).pointer(pointer).unwrap().clone();
            edit(object, pointer, value).expect_ok();
            let said = condition::ready_because(object.0, object.1, object.2, reason);
            assert!(said.starts_with(message), "{pointer}: {said}");
            within(Duration::from_secs(10), || {
                let call = caller.call("/stripe/ok");
                if call.refusal == code { Ok(()) } else { Err(format!("{pointer}: {call:?}")) }
            });
            edit(object, pointer, good).expect_ok();
            stage.wait_until_injected(&caller);
            nothing_is_lost(&stage, &caller, VALUE);
        }
    }
}

/// What is written where, what its condition begins with, and the code that a call is refused with.
type Invalid = Vec<(&'static str, Value, &'static str, &'static str)>;

fn invalid_routes() -> Invalid {
    let code = "route_invalid";
    let header = "/spec/headers/0/value";
    let injected = "Bearer {{secret:stripe_api_key}}\r\nX-Injected: 1";
    vec![
        (
            header,
            json!("Bearer {{stripe_api_key}}"),
            "spec.headers[0].value: write a secret as {{secret:name}}",
            code,
        ),
        (header, json!(injected), "spec.headers[0].value: a template is visible ASCII and spaces", code),
        (
            "/spec/headers/0/name",
            json!("Host"),
            "spec.headers[0].name: the field 'host' frames or routes",
            code,
        ),
        (
            "/spec/upstream",
            json!("https://API.a.test"),
            "spec.upstream: write this host name as api.a.test",
            code,
        ),
    ]
}

fn routes_without_secrets() -> Invalid {
    let message = "spec.headers: there is no linked Secret 'no_such' in this namespace; make one with 'kubectl keylend accept'";
    vec![("/spec/headers/0/value", json!("{{secret:no_such}}"), message, "secret_unknown")]
}

fn invalid_policies() -> Invalid {
    let bundle = "spec.use.caBundle: write one or more CA certificates as PEM";
    let network = "spec.use.networks: write this network as 10.96.0.0/12";
    let headers = "spec.use.inject.headers: the field 'content-length' frames or routes";
    vec![
        ("/spec/use/networks", json!(["10.96.0.1/12"]), network, "address_not_approved"),
        ("/spec/use/caBundle", json!("kl-test"), bundle, "upstream_untrusted"),
        ("/spec/use/inject/headers", json!(["Content-Length"]), headers, "place_not_approved"),
    ]
}
