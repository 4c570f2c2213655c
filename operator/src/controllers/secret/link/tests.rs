//! What a linked secret makes of the share it names: the one that was accepted, and no other of its name.

use keylend_crds::SecretShareStatus;
use serde_json::{Value, json};

use super::*;

const PARTNER: Recipient<'static> = Recipient { name: "partner", uid: "ours" };

fn linked(accepted: Option<&str>, uid: Option<&str>) -> Secret {
    let reference = json!({ "namespace": "payments", "name": "partner" });
    let mut entry = json!({ "environment": "production", "shareRef": reference });
    if let Some(uid) = uid {
        entry["uid"] = json!(uid);
    }
    let pin = |uid| json!({ "environment": "production", "shareRef": reference, "uid": uid });
    let shares: Vec<Value> = accepted.into_iter().map(pin).collect();
    serde_json::from_value(json!({
        "apiVersion": "keylend.dev/v1alpha1",
        "kind": "Secret",
        "metadata": { "name": "stripe-api-key", "namespace": "partner", "generation": 3 },
        "spec": { "type": "Linked", "link": { "shares": [entry] } },
        "status": { "shares": shares },
    }))
    .unwrap()
}

fn share(uid: &str, recipient: &str) -> SecretShare {
    serde_json::from_value(json!({
        "apiVersion": "keylend.dev/v1alpha1",
        "kind": "SecretShare",
        "metadata": { "name": "partner", "namespace": "payments", "uid": uid },
        "spec": {
            "secretRef": { "name": "stripe-api-key" },
            "environment": "production",
            "recipient": { "namespace": { "name": recipient } },
            "use": { "domains": ["api.stripe.com"], "inject": { "headers": ["Authorization"] } },
        },
    }))
    .unwrap()
}

fn going(mut share: SecretShare) -> SecretShare {
    share.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    share
}

fn planned(secret: &Secret, share: Option<SecretShare>) -> SecretStatus {
    let link = secret.spec.link.clone().unwrap().shares.remove(0);
    plan(secret, PARTNER, &[(link, share)], "2026-02-02T00:00:00Z".parse().unwrap())
}

#[test]
fn a_link_accepts_the_share_it_finds_and_no_other_one_of_that_name() {
    let one = || Some(share("one", "partner"));
    let two = || Some(share("two", "partner"));
    // (accepted before, uid in the specification, share found, accepted now, reason)
    let table = [
        (None, None, one(), Some("one"), Reason::Linked),
        (Some("one"), None, one(), Some("one"), Reason::Linked),
        (Some("one"), None, two(), Some("one"), Reason::RecipientChanged),
        (Some("one"), Some("two"), two(), Some("two"), Reason::Linked),
        (None, Some("one"), one(), Some("one"), Reason::Linked),
        (None, Some("one"), two(), None, Reason::RecipientChanged),
        (Some("two"), Some("one"), two(), Some("two"), Reason::RecipientChanged),
        (None, None, None, None, Reason::ShareMissing),
        (Some("one"), None, None, Some("one"), Reason::ShareMissing),
        (None, None, Some(share("one", "other")), None, Reason::ShareMissing),
        (Some("one"), None, Some(share("one", "other")), Some("one"), Reason::ShareMissing),
        (None, None, one().map(going), None, Reason::ShareMissing),
        (Some("one"), None, one().map(going), Some("one"), Reason::Stopped),
    ];
    for (at, (before, uid, found, after, reason)) in table.into_iter().enumerate() {
        let status = planned(&linked(before, uid), found);
        let accepted = status.shares.first().map(|pin| pin.uid.as_str());
        assert_eq!((accepted, status.conditions[0].reason), (after, reason), "row {at}");
        let is_ready = status.conditions[0].status == ConditionStatus::True;
        assert_eq!(is_ready, reason == Reason::Linked, "row {at}");
        assert_eq!(status.observed_generation, Some(3));
    }
}

#[test]
fn a_share_that_was_stopped_is_told_and_so_is_its_end() {
    let stopped = |specification: Value, on_record: bool| {
        let mut share = serde_json::to_value(share("one", "partner")).unwrap();
        share["spec"].as_object_mut().unwrap().extend(specification.as_object().unwrap().clone());
        if on_record {
            share["status"]["conditions"] = json!([{
                "type": "Revoked", "status": "False", "reason": "Stopping", "message": "",
                "observedGeneration": 0, "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]);
        }
        planned(&linked(Some("one"), None), Some(serde_json::from_value(share).unwrap()))
    };
    let past = "2026-01-01T00:00:00Z";
    // (specification, an expiry is on record, reason)
    for (specification, on_record, reason) in [
        (json!({ "revoked": true }), false, Reason::Stopped),
        (json!({ "expiresAt": past }), true, Reason::Expired),
        (json!({ "expiresAt": past }), false, Reason::Linked),
        (json!({ "expiresAt": "2026-03-03T00:00:00Z" }), false, Reason::Linked),
    ] {
        let status = stopped(specification, on_record);
        let told = (status.shares[0].refused, status.conditions[0].reason);
        assert_eq!(told, (reason != Reason::Linked, reason));
    }
}

#[test]
fn whom_a_share_lists_in_another_namespace_of_this_name_is_not_told() {
    let accounts = Some(vec!["checkout".to_owned()]);
    // (the UID that its owner wrote, the one pinned at first acceptance, whom it lists is told)
    for (specified, pinned, told) in [
        (None, None, true),
        (Some("ours"), None, true),
        (None, Some("ours"), true),
        (Some("ours"), Some("theirs"), true),
        (Some("theirs"), None, false),
        (None, Some("theirs"), false),
        (Some("theirs"), Some("ours"), false),
    ] {
        let mut share = share("one", "partner");
        share.spec.recipient.namespace.service_accounts.clone_from(&accounts);
        share.spec.recipient.namespace.uid = specified.map(ToOwned::to_owned);
        let pinned = pinned.map(ToOwned::to_owned);
        share.status = Some(SecretShareStatus { recipient_namespace_uid: pinned, ..Default::default() });
        let status = planned(&linked(None, None), Some(share));
        let [pin] = &status.shares[..] else { panic!("{:?}", status.shares) };
        assert_eq!((&pin.service_accounts, pin.refused), (&accounts.clone().filter(|_| told), !told));
        let reason = if told { Reason::Linked } else { Reason::RecipientChanged };
        assert_eq!(status.conditions[0].reason, reason);
    }
}

#[test]
fn a_link_to_another_share_is_a_new_acceptance() {
    let mut secret = linked(Some("one"), None);
    let other = "elsewhere".to_owned();
    secret.spec.link.as_mut().unwrap().shares[0].share_ref.name.clone_from(&other);
    let mut found = share("two", "partner");
    found.metadata.name = Some(other.clone());
    let status = planned(&secret, Some(found));
    assert_eq!(status.shares.len(), 1);
    assert_eq!((status.shares[0].uid.as_str(), &status.shares[0].share_ref.name), ("two", &other));
}

#[test]
fn a_share_for_another_namespace_looks_exactly_like_a_missing_one() {
    for (before, uid) in [(None, None), (Some("one"), None), (None, Some("one"))] {
        let secret = linked(before, uid);
        assert_eq!(planned(&secret, None), planned(&secret, Some(share("one", "other"))));
        assert_eq!(planned(&secret, None), planned(&secret, Some(going(share("one", "other")))));
    }
}

#[test]
fn a_changed_share_s_message_says_how_to_accept_it() {
    let status = planned(&linked(Some("one"), None), Some(share("two", "partner")));
    let message = &status.conditions[0].message;
    assert!(message.contains("spec.link.shares[production] payments/partner (uid two)"), "{message}");
}

#[test]
fn a_link_knows_for_whom_its_share_is_after_the_share_is_gone() {
    let mut listed = share("one", "partner");
    listed.spec.recipient.namespace.service_accounts = Some(vec!["checkout".into()]);
    let mut secret = linked(None, None);
    let accounts = |status: &SecretStatus| status.shares[0].service_accounts.clone();
    for (found, expected) in [
        (Some(listed), Some(vec!["checkout".to_owned()])),
        (None, Some(vec!["checkout".to_owned()])),
        (Some(share("one", "partner")), None),
    ] {
        let status = planned(&secret, found);
        assert_eq!(accounts(&status), expected);
        secret.status = Some(status);
    }
}

#[test]
fn which_of_a_link_s_environments_are_refused_stands_beside_each() {
    let secret = linked(Some("one"), None);
    let link = secret.spec.link.clone().unwrap().shares.remove(0);
    let elsewhere = LinkedShare { environment: "staging".to_owned(), ..link.clone() };
    let one = || Some(share("one", "partner"));
    // (share found for production, it is refused, reason); the share of staging is for production, so staging is refused
    let table = [
        (one(), false, Reason::EnvironmentUnset),
        (None, true, Reason::ShareMissing),
        (Some(share("two", "partner")), true, Reason::RecipientChanged),
    ];
    for (found, refused, reason) in table {
        let found = [(link.clone(), found), (elsewhere.clone(), one())];
        let status = plan(&secret, PARTNER, &found, "2026-02-02T00:00:00Z".parse().unwrap());
        let beside: Vec<_> = status.shares.iter().map(|pin| pin.refused).collect();
        assert_eq!((beside, status.conditions[0].reason), (vec![refused, true], reason));
        let message = &status.conditions[0].message;
        assert_eq!(message.contains("spec.link.shares[production]"), refused, "{message}");
        assert!(message.contains("spec.link.shares[staging]"), "{message}");
    }
}

#[test]
fn a_share_for_another_environment_is_named() {
    let mut other = share("one", "partner");
    other.spec.environment = "test".into();
    let status = planned(&linked(None, None), Some(other));
    assert_eq!((status.shares.len(), status.conditions[0].reason), (1, Reason::EnvironmentUnset));
    assert!(status.conditions[0].message.contains("spec.link.shares[production] payments/partner"));
}
