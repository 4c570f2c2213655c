//! Who may set a value and who may share it: rights of their own, which whoever edits a namespace does not hold.

use keylend_e2e::{Kubectl, Outcome, Stage, eventually, operator};
use serde_json::{Value, json};

const VALUE: &str = "kl-test-a61f08d3c5e9b724";

/// Somebody with the namespace's edit rights.
struct Editor<'a>(&'a Kubectl);

impl Editor<'_> {
    fn bind(&self, role: &str) {
        let role_flag = format!("--clusterrole={role}");
        self.0.run(&["create", "rolebinding", role, &role_flag, "--user=editor"]).expect_ok();
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        self.0.run(&[arguments, &["--as=editor"]].concat())
    }

    fn patch(&self, object: &str, patch: &Value) -> Outcome {
        self.run(&["patch", object, "--type=merge", "--patch", &patch.to_string()])
    }

    fn may(&self, what: &[(&str, Value)]) {
        for (object, patch) in what {
            eventually(|| {
                let outcome = self.patch(object, patch);
                if outcome.ok { Ok(()) } else { Err(outcome.stderr) }
            });
        }
    }
}

#[test]
fn an_editor_without_the_rights_sets_no_value_and_shares_none() {
    let stage = Stage::without_app("rights", VALUE);
    let editor = Editor(&stage.owner);
    editor.bind("edit");
    let (secret, share) = ("keylendsecret/stripe-api-key", "secretshare/partner");
    let arguments = ["keylend", "seal", "stripe-api-key", "--environment", "production"];
    let blob = stage.owner.run_with_input(&arguments, VALUE).expect_ok();
    let sealed = json!([{"name": "production", "sealed": {"value": blob.trim_end()}}]);
    let value = json!({"spec": {"environments": sealed}});
    let changes = widened().map(|specification| json!({"spec": specification}));

    editor.may(&[(secret, json!({"metadata": {"labels": {"team": "payments"}}}))]);
    editor.patch(secret, &value).expect_refused("keylend-value-right");
    let gone = json!({"spec": {"environments": [{"name": "another"}]}});
    editor.patch(secret, &gone).expect_refused("keylend-value-right");
    for change in &changes {
        editor.patch(share, change).expect_refused("keylend-share-right");
    }
    let mut created = stage.owner.json("keylendsecret", "stripe-api-key");
    created["metadata"] = json!({"name": "another-key"});
    created["spec"]["environments"] = sealed.clone();
    let arguments = ["create", "--as=editor", "--filename", "-"];
    stage.owner.run_with_input(&arguments, &created.to_string()).expect_refused("keylend-value-right");
    let mut another = stage.owner.json("secretshare", "partner");
    another["metadata"] = json!({"name": "another"});
    stage.owner.run_with_input(&arguments, &another.to_string()).expect_refused("keylend-share-right");

    editor.bind("keylend-owner");
    editor.may(&[(secret, value)]);
    editor.may(&changes.map(|change| (share, change)));
    stage.owner.run(&["delete", "rolebinding", "keylend-owner"]).expect_ok();
    editor.may(&[(share, json!({"spec": {"revoked": true}}))]);
}

/// A share's specification, one field of it wider or elsewhere; what can be changed by nobody is left out.
fn widened() -> [Value; 8] {
    [
        json!({"use": {"domains": ["evil.example.com"]}}),
        json!({"use": {"ports": [443, 8443]}}),
        json!({"use": {"networks": ["0.0.0.0/0"]}}),
        json!({"use": {"caBundle": null}}),
        json!({"use": {"inject": {"headers": ["Authorization", "X-Echoed"]}}}),
        json!({"recipient": {"namespace": {"serviceAccounts": null}}}),
        json!({"recipient": {"namespace": {"uid": "00000000-0000-0000-0000-000000000000"}}}),
        json!({"expiresAt": "2100-01-01T00:00:00Z"}),
    ]
}

#[test]
fn an_editor_may_delete_a_share_and_a_secret_and_its_value_with_it() {
    let stage = Stage::without_app("delete", VALUE);
    let editor = Editor(&stage.owner);
    editor.bind("edit");
    editor.may(&[("secretshare/partner", json!({"metadata": {"labels": {"team": "payments"}}}))]);
    let secret = stage.owner.json("keylendsecret", "stripe-api-key");
    let selector = format!("keylend.dev/secret-uid={}", secret["metadata"]["uid"].as_str().unwrap_or("?"));
    let envelopes = || {
        let listed = ["get", "secrets", "--selector", &selector, "--output=name"];
        operator::kubectl().run(&listed).expect_ok().lines().count()
    };
    assert_eq!(envelopes(), 1, "the value rests in one");
    for object in ["secretshare/partner", "keylendsecret/stripe-api-key"] {
        editor.run(&["delete", object, "--timeout=30s"]).expect_ok();
    }
    eventually(|| match envelopes() {
        0 => Ok(()),
        left => Err(format!("{left} left")),
    });
}
