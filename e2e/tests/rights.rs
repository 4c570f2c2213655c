//! Who may set a value and who may share it: rights of their own, which whoever edits a namespace does not hold.

use keylend_e2e::{Kubectl, Outcome, Stage, eventually};
use serde_json::{Value, json};

const VALUE: &str = "kl-test-a61f08d3c5e9b724";

/// Somebody with the namespace's edit rights.
struct Editor<'a>(&'a Kubectl);

impl Editor<'_> {
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
    let bind = |role: &str| {
        let role_flag = format!("--clusterrole={role}");
        stage.owner.run(&["create", "rolebinding", role, &role_flag, "--user=editor"]).expect_ok();
    };
    bind("edit");
    let editor = Editor(&stage.owner);
    let (secret, share) = ("keylendsecret/stripe-api-key", "secretshare/partner");
    let arguments = ["keylend", "seal", "stripe-api-key", "--environment", "production"];
    let blob = stage.owner.run_with_input(&arguments, VALUE).expect_ok();
    let sealed = json!([{"name": "production", "sealed": {"value": blob.trim_end()}}]);
    let value = json!({"spec": {"environments": sealed}});
    let elsewhere = json!({"spec": {"use": {"domains": ["evil.example.com"]}}});

    editor.may(&[(secret, json!({"metadata": {"labels": {"team": "payments"}}}))]);
    editor.patch(secret, &value).expect_refused("keylend-value-right");
    let gone = json!({"spec": {"environments": [{"name": "another"}]}});
    editor.patch(secret, &gone).expect_refused("keylend-value-right");
    editor.patch(share, &elsewhere).expect_refused("keylend-share-right");
    let mut created = stage.owner.json("keylendsecret", "stripe-api-key");
    created["metadata"] = json!({"name": "another-key"});
    created["spec"]["environments"] = sealed.clone();
    let arguments = ["create", "--as=editor", "--filename", "-"];
    stage.owner.run_with_input(&arguments, &created.to_string()).expect_refused("keylend-value-right");
    let mut another = stage.owner.json("secretshare", "partner");
    another["metadata"] = json!({"name": "another"});
    stage.owner.run_with_input(&arguments, &another.to_string()).expect_refused("keylend-share-right");

    bind("keylend-owner");
    editor.may(&[(secret, value), (share, elsewhere)]);
    stage.owner.run(&["delete", "rolebinding", "keylend-owner"]).expect_ok();
    editor.may(&[(share, json!({"spec": {"revoked": true}}))]);
}
