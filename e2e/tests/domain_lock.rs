//! Promise 2, locked: malformed destinations are refused by the resource's own field, unapproved ones at the call, by code.
//!
//! The operator's own test of its rule and the plugin's of `lock test` read the same table.

#![expect(clippy::unwrap_used, reason = "a test that misses what it needs cannot go on")]

use keylend_e2e::{App, Capture, Kubectl, Stage, eventually, operator};
use serde_json::{Value, json};

const VALUE: &str = "kl-test-c05e81d7f92ab364";
const TABLE: &str = include_str!("../../contract/testdata/domain_lock.tsv");
const BAD_ADDRESS: &str = "192.168.66.6";

struct Row {
    route: String,
    domains: Vec<String>,
    host: String,
    verdict: &'static str,
}

/// The table's rows, with the stage's upstream in the place of `api.example.com`.
fn rows(stage: &Stage, verdicts: &[&str]) -> Vec<Row> {
    let (_, base) = stage.host.split_once('.').unwrap_or_default();
    let here = |text: &str| text.replace("api.example.com", &stage.host).replace("example.com", base);
    let lines = TABLE.lines().filter(|line| !line.starts_with('#')).enumerate();
    let row = |(number, line): (usize, &'static str)| {
        let mut columns = line.split('\t');
        let mut column = || columns.next().unwrap_or_default();
        let (domains, host, verdict) = (column(), column(), column());
        let domains = domains.split(' ').map(here).collect();
        Row { route: format!("row-{number}"), domains, host: here(host), verdict }
    };
    lines.map(row).filter(|row| verdicts.contains(&row.verdict)).collect()
}

#[test]
fn what_is_not_approved_is_refused_by_its_code_and_never_dialled() {
    let stage = Stage::set("lock", VALUE);
    let app = stage.app();
    stage.wait_until_injected(&app);
    let rows = rows(&stage, &["permitted", "host_not_approved"]);
    let routes =
        rows.iter().map(|row| stage.route(&row.route, &format!("https://{}", row.host), "production"));
    let other_port = stage.route("port", &format!("https://{}:8443", stage.host), "production");
    let place = elsewhere(&stage, json!([{"name": "X-Api-Key", "value": "{{secret:stripe_api_key}}"}]));
    apply_routes(&stage, &routes.chain([other_port, place]).collect::<Vec<_>>());
    eventually(|| match app.call("/port/ok").refusal.as_str() {
        "port_not_approved" => Ok(()),
        other => Err(other.to_owned()),
    });
    // A sibling that is there, so that only the lock stands in the way.
    stage
        .upstream_namespace
        .run(&["expose", "deployment", "upstream", "--name=other", "--port=443", "--target-port=8443"])
        .expect_ok();

    let approved = dialled_by(&stage, || rows_with(&stage, &app, &rows, "permitted"));
    assert!(!approved.is_empty(), "the capture sees connections");
    let before = stage.upstream().hits().len();
    let unapproved = dialled_by(&stage, || {
        rows_with(&stage, &app, &rows, "host_not_approved");
        share(&stage, &json!({"domains": [stage.host], "networks": ["10.96.0.0/12"]}));
        assert_eq!(app.call("/port/ok").refusal, "port_not_approved");
        assert_eq!(app.call("/place/ok").refusal, "place_not_approved");
        share(&stage, &json!({"networks": ["10.200.0.0/16"]}));
        assert_eq!(app.call("/stripe/ok").refusal, "address_not_approved", "a network that is not listed");
    });
    assert!(unapproved.is_empty(), "{unapproved:#?}");
    assert_eq!(
        stage.upstream().hits().len(),
        before,
        "and none was reached over a connection that there was"
    );
}

#[test]
fn a_place_that_is_not_listed_gets_no_value_even_beside_one_that_is() {
    let stage = Stage::set("place", VALUE);
    let app = stage.app();
    stage.wait_until_injected(&app);
    let secret = "{{secret:stripe_api_key}}";
    let both = json!([{"name": "Authorization", "value": secret}, {"name": "X-Api-Key", "value": secret}]);
    apply_routes(&stage, &[elsewhere(&stage, both)]);
    eventually(|| match app.call("/place/ok") {
        call if call.refusal == "place_not_approved" => Ok(()),
        call => Err(format!("{call:?}")),
    });
    let before = stage.upstream().hits().len();
    let unapproved = dialled_by(&stage, || assert_eq!(app.call("/place/ok").refusal, "place_not_approved"));
    assert!(unapproved.is_empty(), "{unapproved:#?}");
    assert_eq!(stage.upstream().hits().len(), before);
    share(&stage, &json!({"inject": {"headers": ["authorization", "x-api-key"]}}));
    assert_eq!(app.call("/place/ok").status, 200, "the same route, once its places are listed");
}

#[test]
fn an_upstream_that_does_not_prove_its_name_gets_no_request() {
    let stage = Stage::set("proof", VALUE);
    let app = stage.app();
    stage.wait_until_injected(&app);
    let other = format!("other.stripe-proof.{}", stage.host.split_once(".stripe-proof.").unwrap().1);
    stage
        .upstream_namespace
        .run(&["expose", "deployment", "upstream", "--name=other", "--port=443", "--target-port=8443"])
        .expect_ok();
    stage.add_route("other", &format!("https://{other}"), "production");
    let another_authority = another_authority();
    let untrusted = |path: &str, policy: &Value| {
        share(&stage, policy);
        let before = (stage.upstream().accepted(), stage.upstream().hits().len());
        eventually(|| match app.call(path) {
            call if call.refusal == "upstream_untrusted" => Ok(()),
            // The route, or the new Service's name, is not known everywhere yet.
            call if ["route_unknown", "upstream_unreachable"].contains(&call.refusal.as_str()) => {
                Err(format!("{call:?}"))
            }
            call => panic!("{path}: {call:?}"),
        });
        assert!(stage.upstream().accepted() > before.0, "{path}: it was asked to prove its name");
        assert_eq!(stage.upstream().hits().len(), before.1, "{path}: and got no request");
    };
    untrusted("/other/ok", &json!({"domains": [stage.host, other]}));
    // There is a connection from the calls before; it was opened under the other authority.
    stage.wait_until_injected(&app);
    untrusted("/stripe/ok", &json!({"caBundle": another_authority}));
    untrusted("/stripe/ok", &json!({"caBundle": null}));
    share(&stage, &json!({"caBundle": stage.ca_bundle}));
    stage.wait_until_injected(&app);
}

#[test]
fn a_name_with_one_good_and_one_bad_address_is_not_dialled() {
    let stage = Stage::set("addresses", VALUE);
    let app = stage.app();
    stage.wait_until_injected(&app);
    let mut ports = 9000..;
    // A share that changed parts the call from the connections that there are.
    let mut call = |expected: &str| {
        share(&stage, &json!({"ports": [443, ports.next()]}));
        let call = app.call("/stripe/ok");
        if call.refusal == expected { Ok(()) } else { Err(format!("{call:?}")) }
    };
    assert!(
        !dialled_by(&stage, || assert_eq!(call(""), Ok(()))).is_empty(),
        "the good address alone is dialled"
    );

    let service = stage.upstream_namespace.json("service", "upstream");
    let good = service["spec"]["clusterIP"].as_str().unwrap_or_default();
    let name = "upstream.stripe-addresses.svc.cluster.local";
    let _hosts = Hosts::set(&format!("{good} {name}\n{BAD_ADDRESS} {name}\n"));
    eventually(|| call("address_not_approved"));
    let before = (stage.upstream().accepted(), stage.upstream().hits().len());
    let dialled = dialled_by(&stage, || assert_eq!(call("address_not_approved"), Ok(())));
    assert!(dialled.is_empty(), "{dialled:#?}");
    assert_eq!((stage.upstream().accepted(), stage.upstream().hits().len()), before);
}

#[test]
fn what_is_malformed_is_refused_at_apply_or_by_a_condition_that_names_the_field() {
    let stage = Stage::without_app("spelling", VALUE);
    stage.recipient.run(&["create", "namespace", &stage.recipient_namespace()]).expect_ok();
    let named = rows(&stage, &["host_not_a_name"]);
    assert!(named.len() > 10);
    for row in &named {
        let route = stage.route(&row.route, &format!("https://{}", row.host), "production");
        refused(&stage.recipient, &route, "keylendroute", "spec.upstream");
    }
    let invalid = rows(&stage, &["invalid"]);
    assert!(invalid.len() > 10);
    let valid = stage.owner.json("secretshare", "partner");
    for row in &invalid {
        let mut share = valid.clone();
        share["metadata"] = json!({"name": row.route});
        share["spec"]["use"]["domains"] = json!(row.domains);
        refused(&stage.owner, &share, "secretshare", "spec.use.domains");
    }
    for (object, sentence) in [
        (json!({"domains": ["API.stripe.test"]}), "lower case"),
        (json!({"domains": ["api.stripe.test:443"]}), "host name alone"),
        (json!({"domains": ["bücher.test"]}), "A-labels"),
    ] {
        let patch = json!({"spec": {"use": object}}).to_string();
        stage
            .owner
            .run(&["patch", "secretshare", "partner", "--type=merge", "--patch", &patch])
            .expect_refused(sentence);
    }
    stage.owner.wait_for("secretshare/partner", "Ready");
}

/// A route to the upstream that puts the value where `headers` says.
fn elsewhere(stage: &Stage, headers: Value) -> Value {
    let mut route = stage.route("place", &format!("https://{}", stage.host), "production");
    route["spec"]["headers"] = headers;
    route
}

/// An authority that vouches for no upstream, as PEM.
fn another_authority() -> String {
    let folder = std::env::temp_dir().join(format!("keylend-e2e-{}-authority", std::process::id()));
    let mut made = std::process::Command::new("keylend-peers");
    made.args(["certificates", "--name", "another.test", "--dir"]).arg(&folder);
    assert!(made.status().unwrap().success());
    let authority = std::fs::read_to_string(folder.join("ca.pem")).unwrap();
    let _ = std::fs::remove_dir_all(folder);
    authority
}

fn apply_routes(stage: &Stage, routes: &[Value]) {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": routes});
    stage.recipient.apply(&list.to_string()).expect_ok();
}

/// Replaces fields of the share's policy. It counts from the next call on.
fn share(stage: &Stage, policy: &Value) {
    stage.patch_share(&json!({"use": policy}));
}

/// Calls each host of `rows` with that verdict, and compares what it came to.
fn rows_with(stage: &Stage, app: &App, rows: &[Row], verdict: &str) {
    let rows: Vec<&Row> = rows.iter().filter(|row| row.verdict == verdict).collect();
    assert!(rows.len() > 3, "{} rows are {verdict}", rows.len());
    for row in rows {
        share(stage, &json!({"domains": row.domains}));
        let call = app.call(&format!("/{}/ok", row.route));
        let expected = match verdict {
            "permitted" if row.host == stage.host => (200, ""),
            // Approved, but there is no such host.
            "permitted" => (502, "upstream_unreachable"),
            refused => (403, refused),
        };
        assert_eq!((call.status, call.refusal.as_str()), expected, "{:?} {}", row.domains, row.host);
    }
}

/// The connections that the app's pod began meanwhile, but for those to the operator.
fn dialled_by(stage: &Stage, calls: impl FnOnce()) -> Vec<String> {
    let operators: Vec<String> = operator::pods().into_iter().map(|replica| replica.address).collect();
    let operators = operators.join(" or ");
    let app = stage.pod_address("app=checkout");
    let begins = "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn";
    let capture = Capture::of(&format!("src host {app} and {begins} and not dst host ({operators})"));
    calls();
    capture.end()
}

/// Refused when it is applied, or by a condition; either way `field` is named.
fn refused(kubectl: &Kubectl, object: &Value, kind: &str, field: &str) {
    let applied = kubectl.apply(&object.to_string());
    if !applied.ok {
        assert!(applied.stderr.contains(field), "{object}: {}", applied.stderr);
        return;
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    eventually(|| {
        let seen = kubectl.json(kind, name);
        let conditions = seen["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready").unwrap_or_default();
        let named = ready["message"].as_str().is_some_and(|message| message.contains(field));
        if ready["status"] == "False" && named { Ok(()) } else { Err(format!("{object}: {ready}")) }
    });
}

/// What `CoreDNS` answers beside what the cluster has; taken back when dropped.
struct Hosts;

impl Hosts {
    fn set(lines: &str) -> Self {
        let patch = json!({"data": {"hosts": lines}}).to_string();
        Kubectl::admin("kube-system")
            .run(&["patch", "configmap", "coredns", "--type=merge", "--patch", &patch])
            .expect_ok();
        Self
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let patch = json!({"data": {"hosts": ""}}).to_string();
        let _ = Kubectl::admin("kube-system").run(&[
            "patch",
            "configmap",
            "coredns",
            "--type=merge",
            "--patch",
            &patch,
        ]);
    }
}
