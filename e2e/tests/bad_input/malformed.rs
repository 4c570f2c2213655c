//! What the API server can judge alone.

use keylend_e2e::{Stage, replaced};
use serde_json::{Value, json};

use crate::{SECRET, VALUE, edit, nothing_is_lost};

#[test]
fn a_malformed_resource_is_refused_at_apply_by_its_field() {
    let stage = Stage::set("apply", VALUE);
    let caller = stage.app();
    stage.wait_until_injected(&caller);
    for (object, table) in [
        ((&stage.owner, "keylendsecret", SECRET), malformed_secrets()),
        ((&stage.recipient, "keylendsecret", SECRET), malformed_links()),
        ((&stage.owner, "secretshare", "partner"), malformed_shares()),
        ((&stage.recipient, "keylendroute", "stripe"), malformed_routes()),
    ] {
        for (pointer, value, words) in table {
            let said = edit(object, pointer, value).expect_refused(words);
            assert!(said.contains(&field(pointer)), "{} is named: {said}", field(pointer));
        }
        nothing_is_lost(&stage, &caller, VALUE);
    }
    let example = stage.manifest("recipient.yaml");
    let long = replaced(&example, "name: stripe\n", &format!("name: {}\n", "a".repeat(64)));
    stage.recipient.apply(&long).expect_refused("metadata.name: a Route's name is an RFC 1123 label");
    for name in ["a".repeat(64), "a.b".to_owned()] {
        let mut secret = stage.owner.json("keylendsecret", SECRET);
        secret["metadata"] = json!({"name": name});
        let said = "metadata.name: a Secret's name is an RFC 1123 label of at most 63 characters";
        stage.owner.apply(&secret.to_string()).expect_refused(said);
    }
}

/// How messages name the field that a JSON pointer names.
fn field(pointer: &str) -> String {
    let name = |path: String, part: &str| match part.parse::<usize>() {
        Ok(index) => format!("{path}[{index}]"),
        Err(_) if path.is_empty() => part.to_owned(),
        Err(_) => format!("{path}.{part}"),
    };
    pointer.split('/').skip(1).fold(String::new(), name)
}

const ENVIRONMENT: &str = "an environment is lower-case letters, digits and inner hyphens";

/// What is written where, and what is said to it.
type Malformed = Vec<(&'static str, Value, &'static str)>;

fn malformed_secrets() -> Malformed {
    let sealed = "/spec/environments/0/sealed/value";
    let reference = json!({"namespace": "payments", "name": "partner"});
    let link = json!({"shares": [{"environment": "production", "shareRef": reference}]});
    vec![
        ("/spec/value", json!("kl-test-plain"), r#"unknown field "spec.value""#),
        (
            sealed,
            json!("kl-test-plain"),
            "a sealed value starts with 'kl1.'; make one with 'kubectl keylend seal'",
        ),
        (
            sealed,
            json!("A".repeat(87_561)),
            "spec.environments[0].sealed.value: Too long: may not be more than 87560",
        ),
        ("/spec/environments/0/name", json!("Production"), ENVIRONMENT),
        ("/spec/baseEnvironment", json!("Production"), ENVIRONMENT),
        ("/spec/link", link, "spec.link is for type Linked, which needs it"),
        ("/spec/type", json!("Linked"), "spec.type cannot be changed; make a new Secret"),
        (
            "/spec/environments",
            (0..5)
                .map(|number| json!({"name": format!("e{number}"), "sealed": {"value": long_blob()}}))
                .collect(),
            "at most 256 KiB together",
        ),
    ]
}

fn malformed_links() -> Malformed {
    let reference = "/spec/link/shares/0/shareRef";
    vec![
        ("/spec/link", Value::Null, "spec.link is for type Linked, which needs it"),
        (
            "/spec/environments",
            json!([{"name": "production", "sealed": {"value": "kl1.AAAA"}}]),
            "a Linked secret holds no value",
        ),
        ("/spec/baseEnvironment", json!("production"), "spec.baseEnvironment are not for it"),
        ("/spec/link/shares/0/environment", json!("Production"), ENVIRONMENT),
        (reference, json!({"name": "partner"}), "spec.link.shares[0].shareRef.namespace: Required value"),
        (
            reference,
            json!({"namespace": "..", "name": "a"}),
            "a namespace's name is lower-case letters, digits",
        ),
        (
            reference,
            json!({"namespace": "a", "name": "../b"}),
            "a share's name is lower-case letters, digits",
        ),
    ]
}

fn malformed_shares() -> Malformed {
    vec![
        (
            "/spec/recipient/namespace/serviceAccounts",
            json!(["checkout", "a\u{1b}[2J"]),
            "a service account's name is lower-case letters, digits",
        ),
        (
            "/spec/access",
            json!("CanView"),
            r#"spec.access: Unsupported value: "CanView": supported values: "UseOnly""#,
        ),
        ("/spec/use", Value::Null, "spec.use: Required value"),
        ("/spec/environment", json!("Production"), ENVIRONMENT),
        ("/spec/secretRef/name", json!("Stripe"), "a secret's name is lower-case letters, digits"),
        (
            "/spec/recipient/namespace/name",
            json!("Partner"),
            "a namespace's name is lower-case letters, digits",
        ),
        ("/spec/secretRef", json!({"name": "other-key"}), "cannot be changed; make a new SecretShare"),
        (
            "/spec/use/domains",
            json!([]),
            "spec.use.domains: Invalid value: 0: spec.use.domains in body should have at least 1 items",
        ),
        ("/spec/use/ports", json!([70_000]), "spec.use.ports[0]: Invalid value: 70000"),
        ("/spec/use/anyDomain", json!(true), r#"unknown field "spec.use.anyDomain""#),
        ("/spec/expiresAt", json!("tomorrow"), r#"spec.expiresAt: Invalid value: "tomorrow""#),
        ("/spec/environment", json!("staging"), "spec.environment cannot be changed; make a new SecretShare"),
        (
            "/spec/recipient/namespace/name",
            json!("b"),
            "spec.recipient.namespace.name cannot be changed; make a new",
        ),
    ]
}

fn malformed_routes() -> Malformed {
    vec![
        ("/spec/upstream", json!("http://api.stripe.test"), "an upstream starts with https://"),
        ("/spec/environment", json!("Production"), ENVIRONMENT),
        ("/spec/query", json!({}), r#"unknown field "spec.query""#),
        ("/spec/environment", Value::Null, "spec.environment: Required value"),
        (
            "/spec/headers/0/value",
            json!("a".repeat(1025)),
            "spec.headers[0].value: Too long: may not be more than 1024",
        ),
    ]
}

/// As long as one may be.
fn long_blob() -> String {
    format!("kl1.{}", "A".repeat(87_556))
}
