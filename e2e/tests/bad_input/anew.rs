//! What is created anew under its name is another one, until somebody says that it is meant.

use keylend_e2e::{App, Stage, condition, eventually};
use serde_json::json;

use crate::{SECRET, VALUE, edit};

#[test]
fn a_namespace_created_anew_under_its_name_is_another_recipient() {
    let stage = Stage::set("again", VALUE);
    stage.wait_until_injected(&stage.app());
    let namespace = stage.recipient_namespace();
    stage.recipient.run(&["delete", "namespace", &namespace, "--timeout=90s"]).expect_ok();
    stage.recipient.apply(&stage.manifest("recipient.yaml")).expect_ok();
    stage.recipient.run(&["rollout", "status", "deployment/checkout", "--timeout=90s"]).expect_ok();
    let caller = stage.app();
    changed(&stage, &caller);
    let said = condition::ready_because(&stage.recipient, "keylendsecret", SECRET, "RecipientChanged");
    assert!(said.contains("its owner confirms this one in spec.recipient.namespace.uid"), "{said}");
    let pin = &stage.recipient.json("keylendsecret", SECRET)["status"]["shares"][0];
    assert!(pin["refused"] == true && pin["serviceAccounts"].is_null(), "{pin}");

    let said = condition::ready_because(&stage.owner, "secretshare", "partner", "RecipientChanged");
    let uid = told(&said, "spec.recipient.namespace.uid: ", "set this field to ");
    stage.patch_share(&json!({"recipient": {"namespace": {"uid": uid}}}));
    stage.wait_until_injected(&caller);
    let pin = eventually(|| {
        let pin = stage.recipient.json("keylendsecret", SECRET)["status"]["shares"][0].clone();
        if pin["refused"].is_null() { Ok(pin) } else { Err(pin.to_string()) }
    });
    assert_eq!(pin["serviceAccounts"], json!(["checkout"]));
}

#[test]
fn a_secret_and_a_share_created_anew_under_their_names_are_other_ones() {
    let stage = Stage::set("anew", VALUE);
    let caller = stage.app();
    stage.wait_until_injected(&caller);
    let specification = stage.owner.json("secretshare", "partner")["spec"].clone();
    stage.owner.run(&["delete", "keylendsecret", SECRET]).expect_ok();
    stage.owner.apply(&stage.manifest("owner.yaml")).expect_ok();
    stage.put(VALUE);
    changed(&stage, &caller);
    let said = condition::ready_because(&stage.owner, "secretshare", "partner", "RecipientChanged");
    assert!(said.starts_with("spec.secretRef.name: ") && said.ends_with("make a new SecretShare"), "{said}");

    stage.owner.run(&["delete", "secretshare", "partner"]).expect_ok();
    stage.owner.apply(&stage.manifest("owner.yaml")).expect_ok();
    stage.patch_share(&specification);
    changed(&stage, &caller);
    let said = condition::ready_because(&stage.recipient, "keylendsecret", SECRET, "RecipientChanged");
    let uid = told(&said, "created anew since it was accepted: spec.link.shares[production] ", "(uid ");
    edit((&stage.recipient, "keylendsecret", SECRET), "/spec/link/shares/0/uid", json!(uid)).expect_ok();
    stage.wait_until_injected(&caller);
}

/// A call is refused because something is another one now, and is told who can do what about it.
fn changed(stage: &Stage, caller: &App) {
    let before = stage.upstream().hits().len();
    let refused = eventually(|| {
        let call = caller.call("/stripe/ok");
        if call.refusal == "recipient_changed" { Ok(call) } else { Err(format!("{call:?}")) }
    });
    assert!(
        refused.body.contains("its owner confirms it by setting the new uid, or the recipient accepts again")
    );
    assert_eq!(stage.upstream().hits().len(), before, "nothing was used meanwhile");
}

/// The uid that a message tells to set, after the field it names.
fn told(message: &str, field: &str, before: &str) -> String {
    assert!(message.starts_with(field), "{message}");
    let uid = message.split_once(before).map(|(_, after)| after).unwrap_or_default();
    uid.chars().take(36).collect()
}
