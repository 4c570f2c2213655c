//! Resolves: what is lent, refused, renewed and put on record, also when something changes between two reads.

mod operator;

use keylend_api_server::ApiServer;
use keylend_contract::wire::{GRANT_TERM, WIRE_VERSION};
use keylend_crds::{RouteSpec, route::RouteHeader, secret::ShareReference};
use serde_json::{Value, json};

use self::operator::*;
use super::{
    caller::CallerClaims,
    scenario::{Scenario, caller, claims},
    *,
};

#[tokio::test]
async fn a_permitted_call_gets_the_live_value_and_stands_on_record() {
    let operator = Operator::complete().await;
    assert_eq!(operator.ask().await.unwrap(), "kl-test-value-4");
    let rows = operator.rows();
    let text = rows.last().unwrap().to_string();
    assert_eq!(rows.last().unwrap()["environment"], "production");
    for part in ["intent", "checkout-0", "api.example.com", "uid-of-share", "/v1/charges"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(text.contains(&"a".repeat(32)) && !text.contains("kl-test-value"));
}

#[tokio::test]
async fn the_share_is_read_after_the_secret_and_the_envelope_last() {
    let operator = Operator::complete().await;
    let before = operator.api.log().len();
    operator.ask().await.unwrap();
    let reads = operator.reads(before);
    assert_eq!(reads[..2], [SECRET, SHARE]);
    assert!(reads[2..].contains(&envelope(4)) && !reads[2..].iter().any(|read| read == SHARE));
}

#[tokio::test]
async fn a_stop_is_seen_at_once_whatever_the_watch_has_seen() {
    let operator = Operator::complete().await;
    revoke(&operator.api);
    let before = operator.api.log().len();
    assert_eq!(operator.refused().await, "share_revoked");
    assert_eq!(operator.reads(before), [SECRET, SHARE], "nothing was unsealed");
    assert_eq!(operator.kinds(), ["refusal"]);
}

#[tokio::test]
async fn a_value_set_after_a_stop_never_reaches_the_stopped() {
    type Change = fn(&ApiServer);
    let set: Change = |api| point_at(api, 5);
    let stop_and_set: Change = |api| {
        revoke(api);
        point_at(api, 5);
    };
    // (after which read, what the owner does, what this call gets, what the next one gets)
    let table = [
        (SECRET, stop_and_set, "share_revoked", "share_revoked"),
        (SHARE, stop_and_set, "kl-test-value-4", "share_revoked"),
        (SHARE, set, "kl-test-value-4", "kl-test-value-5"),
    ];
    for (moment, change, first, next) in table {
        let hook = move |api: &ApiServer, path: &str| {
            if path == moment {
                change(api);
            }
        };
        let operator = Operator::complete().await;
        operator.api.after_each(hook);
        operator.put(5, "kl-test-value-5").await;
        for expected in [first, next] {
            let got = match operator.ask().await {
                Ok(value) => value,
                Err(Failure::Refused(refusal)) => refusal.code().to_owned(),
                Err(Failure::Broke(fault)) => panic!("{fault:?}"),
            };
            assert_eq!(got, expected, "after the read of {moment}");
        }
    }
}

#[tokio::test]
async fn who_asks_in_a_loop_waits_for_itself_alone() {
    let operator = Operator::complete().await;
    let all_of = async |namespace: &str| {
        let turn = || operator.resolver.turns.next(namespace, deadline(Instant::now()));
        join_all((0..turns::AT_ONCE).map(|_| turn())).await
    };
    let _others = all_of("loud").await;
    assert_eq!(operator.ask().await.unwrap(), "kl-test-value-4");
    let own = all_of(caller(&claims()).namespace()).await;
    assert_eq!(operator.refused().await, "overloaded");
    drop(own);
    assert_eq!(operator.ask().await.unwrap(), "kl-test-value-4");
}

#[tokio::test]
async fn an_envelope_that_moved_is_looked_for_once_more() {
    let hook = |api: &ApiServer, path: &str| {
        if path == envelope(4) {
            point_at(api, 5);
        }
    };
    let operator = Operator::complete().await;
    operator.api.after_each(hook);
    operator.put(5, "kl-test-value-5").await;
    operator.api.unset(&envelope(4));
    assert_eq!(operator.ask().await.unwrap(), "kl-test-value-5");
    assert_eq!(operator.kinds(), ["intent"]);
}

#[tokio::test]
async fn a_stop_between_two_looks_is_seen() {
    let hook = |api: &ApiServer, path: &str| {
        if path == envelope(4) {
            revoke(api);
        }
    };
    let operator = Operator::complete().await;
    operator.api.after_each(hook);
    operator.api.unset(&envelope(4));
    assert_eq!(operator.refused().await, "share_revoked");
}

#[tokio::test]
async fn an_envelope_that_is_lost_is_a_fault_after_the_second_look() {
    let operator = Operator::complete().await;
    operator.api.unset(&envelope(4));
    let before = operator.api.log().len();
    assert!(matches!(operator.ask().await, Err(Failure::Broke(_))));
    let looks = operator.reads(before).iter().filter(|read| **read == envelope(4)).count();
    assert_eq!(looks, 2);
}

#[tokio::test]
async fn an_altered_envelope_is_a_fault_and_an_alarm() {
    let operator = Operator::complete().await;
    let mut moved = operator.api.object(&envelope(4)).unwrap();
    operator.put(5, "kl-test-value-5").await;
    moved["metadata"]["name"] = json!(binding(5).envelope_name());
    operator.api.set(&envelope(5), moved);
    point_at(&operator.api, 5);
    assert!(matches!(operator.ask().await, Err(Failure::Broke(_))));
    assert_eq!(operator.kinds(), ["intent", "alarm"]);
}

#[tokio::test]
async fn nothing_is_used_without_a_row() {
    let operator = Operator::complete().await;
    operator.resolver.audit.close().await;
    let before = operator.api.log().len();
    assert_eq!(operator.refused().await, "audit_unavailable");
    assert_eq!(operator.reads(before), [SECRET, SHARE], "nothing was unsealed");
}

#[tokio::test]
async fn a_disk_that_hangs_refuses_within_about_a_second() {
    let mut operator = Operator::complete().await;
    let (audit, _disk) = crate::audit::tests::hung(crate::audit::PATIENCE);
    operator.resolver.audit = audit;
    let (before, asked) = (operator.api.log().len(), Instant::now());
    assert_eq!(operator.refused().await, "audit_unavailable");
    assert!(asked.elapsed() < std::time::Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!(operator.reads(before), [SECRET, SHARE], "nothing was unsealed");
}

#[tokio::test]
async fn without_its_kms_key_a_value_is_sealed_within_about_a_second_and_with_it_again_it_is_not() {
    let operator = Operator::complete().await;
    assert!(operator.ask().await.is_ok());
    let key = operator.api.unset(&format!("{ENVELOPES}/keylend-local-kek")).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1_050)).await;
    assert_eq!(operator.refused().await, "key_sealed");
    operator.api.set(&format!("{ENVELOPES}/keylend-local-kek"), key);
    tokio::time::sleep(std::time::Duration::from_millis(1_050)).await;
    assert!(operator.ask().await.is_ok());
}

#[tokio::test]
async fn a_refused_enrolment_stands_on_record_and_a_flood_of_them_takes_few_rows() {
    let operator = Operator::complete().await;
    operator.resolver.record_enrolment(&Err(Refusal::EnrolmentPending.into())).await;
    assert!(operator.kinds().is_empty(), "it comes again by itself");
    for _ in 0..200 {
        operator.resolver.record_enrolment(&Err(Refusal::EnrolmentRefused.into())).await;
    }
    operator.resolver.audit.close().await;
    let kinds = operator.kinds();
    assert_eq!(kinds.iter().filter(|kind| *kind == "refusal").count(), 50);
    assert!(kinds.contains(&"coalesced".to_owned()));
    assert_eq!(operator.rows()[1]["code"], "enrolment_refused");
}

#[tokio::test]
async fn what_cannot_be_read_refuses() {
    for path in [SECRET, SHARE, ENVELOPES] {
        for status in [429, 500, 503] {
            let operator = Operator::complete().await;
            operator.api.fail(&format!("GET {path}"), status);
            assert_eq!(operator.refused().await, "operator_unreachable", "{path} {status}");
        }
    }
}

#[tokio::test]
async fn a_share_with_a_field_of_a_later_version_refuses() {
    let operator = Operator::complete().await;
    let known = || operator.api.object(SHARE).unwrap()["spec"]["onlyOnMondays"] == true;
    keep_unknown_fields(&operator.api).await;
    edit(&operator.api, SHARE, |share| share["spec"]["onlyOnMondays"] = json!(true));
    until(known).await;
    let asked = operator.ask().await;
    prune_unknown_fields(&operator.api).await;
    assert!(matches!(asked, Err(Failure::Refused(Refusal::OperatorUnreachable))), "{asked:?}");
    until(|| !known()).await;
    assert!(operator.ask().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_question_that_came_too_long_ago_is_not_read_for() {
    let operator = Operator::complete().await;
    tokio::time::advance(READ_TIME * 2).await;
    let arrived = tokio::time::Instant::now().into_std().checked_sub(READ_TIME).unwrap();
    let late = operator.resolver.ask(&caller(&claims()), ask(), arrived).await;
    assert!(matches!(late, Err(Failure::Refused(Refusal::OperatorUnreachable))));
}

#[tokio::test]
async fn a_pod_too_young_for_the_watch_is_read_and_one_that_is_gone_is_unknown() {
    let operator = Operator::complete().await;
    let young =
        caller(&CallerClaims { pod: "checkout-1".into(), pod_uid: "uid-of-young".into(), ..claims() });
    let asked = async || operator.resolver.ask(&young, ask(), Instant::now()).await;
    assert!(matches!(asked().await, Err(Failure::Refused(Refusal::CallerUnknown))));
    let pod = json!({"metadata": {"name": "checkout-1", "namespace": "partner", "uid": "uid-of-young"}});
    operator.api.set("/api/v1/namespaces/partner/pods/checkout-1", pod);
    assert!(asked().await.is_ok());
    let anew = json!({"metadata": {"name": "checkout-1", "namespace": "partner", "uid": "another"}});
    operator.api.set("/api/v1/namespaces/partner/pods/checkout-1", anew);
    assert!(matches!(asked().await, Err(Failure::Refused(Refusal::CallerUnknown))));
}

#[tokio::test]
async fn a_name_that_would_ask_for_something_else_is_never_asked_for() {
    // (namespace, name)
    let table = [
        ("payments", "partner?resourceVersion=0"),
        ("payments", "partner/status"),
        ("payments", "../secretshares/partner"),
        ("payments", ""),
        ("payments/secretshares/partner?", "partner"),
        ("..", "partner"),
        ("", "partner"),
    ];
    for (namespace, name) in table {
        let mut scenario = Scenario::complete();
        let linked = scenario.linked.as_mut().unwrap();
        let reference = ShareReference { namespace: namespace.into(), name: name.into() };
        linked.spec.link.as_mut().unwrap().shares[0].share_ref = reference.clone();
        linked.status.as_mut().unwrap().shares[0].share_ref = reference;
        let operator = Operator::of(&scenario).await;
        let before = operator.api.log().len();
        assert_eq!(operator.refused().await, "share_revoked", "{name}");
        assert_eq!(operator.reads(before), [""; 0], "{name}");
    }
}

#[tokio::test]
async fn an_unknown_wire_version_is_refused() {
    let operator = Operator::complete().await;
    let ask = Ask { version: WIRE_VERSION + 1, ..ask() };
    let refused = operator.resolver.ask(&caller(&claims()), ask, Instant::now()).await;
    assert!(matches!(refused, Err(Failure::Refused(Refusal::WireVersionUnknown))));
    let renew = Renew { version: WIRE_VERSION + 1, calls: vec![open()] };
    let cut = operator.resolver.renew(&caller(&claims()), renew).await.verdicts;
    assert_eq!(cut, [Verdict::Cut(Refusal::WireVersionUnknown)]);
}

#[tokio::test]
async fn open_calls_are_held_by_one_fresh_read_without_a_row() {
    let operator = Operator::complete().await;
    let before = operator.api.log().len();
    let held = Verdict::Held(u64::try_from(GRANT_TERM.as_millis()).unwrap());
    assert_eq!(operator.renew(vec![open(), open()]).await, [held.clone(), held]);
    assert_eq!(operator.reads(before), [SECRET, SHARE]);
    assert!(operator.kinds().is_empty());
    assert!(operator.renew(vec![]).await.is_empty());
}

#[tokio::test]
async fn an_open_call_is_cut_by_whatever_would_refuse_it_now() {
    type Change = fn(&ApiServer);
    // (change, code)
    let table: [(Change, &str); 4] = [
        (revoke, "share_revoked"),
        (|api| api.unset(SHARE).map(|_| ()).unwrap_or_default(), "share_revoked"),
        (
            |api| edit(api, SHARE, |share| share["spec"]["use"]["domains"] = json!(["else.example.com"])),
            "host_not_approved",
        ),
        (|api| edit(api, SECRET, |secret| secret["status"] = json!({})), "environment_unset"),
    ];
    for (change, code) in table {
        let operator = Operator::complete().await;
        change(&operator.api);
        let verdicts = operator.renew(vec![open()]).await;
        assert!(matches!(&verdicts[..], [Verdict::Cut(refusal)] if refusal.code() == code), "{verdicts:?}");
        assert_eq!(operator.kinds(), ["refusal"]);
    }
}

#[tokio::test]
async fn a_read_that_fails_neither_holds_nor_cuts_and_the_next_one_holds() {
    for (path, status) in [(SHARE, 503), (SECRET, 429)] {
        let operator = Operator::complete().await;
        operator.api.fail(&format!("GET {path}"), status);
        assert_eq!(operator.renew(vec![open()]).await, [Verdict::Undecided], "{path}");
        assert!(operator.kinds().is_empty(), "nothing was decided");
        operator.api.heal();
        assert!(matches!(operator.renew(vec![open()]).await[..], [Verdict::Held(_)]), "{path}");
    }
}

#[tokio::test]
async fn a_call_that_is_not_the_one_that_was_granted_is_cut_and_the_others_go_on() {
    let operator = Operator::complete().await;
    let (mut elsewhere, mut by_another) = (open(), open());
    elsewhere.basis.destination = "https://else.example.com".parse().unwrap();
    by_another.basis.shares[0].uid = "another".into();
    let verdicts = operator.renew(vec![elsewhere, open(), by_another]).await;
    assert!(matches!(&verdicts[..], [Verdict::Cut(_), Verdict::Held(_), Verdict::Cut(_)]), "{verdicts:?}");
}

fn certificate() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::new(["ca.example.com".to_owned()]).unwrap().self_signed(&key).unwrap().pem()
}

/// A share that permits more than the call needs, so that it still permits the call when it is narrowed.
fn generous() -> Scenario {
    let mut scenario = Scenario::complete();
    let share = scenario.share.as_mut().unwrap();
    share.spec.use_policy.domains.push("*.example.com".into());
    share.spec.use_policy.ports = Some(vec![443, 8443]);
    share.spec.use_policy.networks = Some(vec!["10.0.0.0/8".into(), "192.168.0.0/16".into()]);
    share.spec.use_policy.ca_bundle = Some([certificate(), certificate()].concat());
    share.spec.use_policy.inject.headers.push("X-Api-Key".into());
    scenario
}

#[tokio::test]
async fn a_call_goes_on_under_no_other_policy_than_the_one_it_was_granted_by() {
    type Edit = fn(&mut Value);
    // (what is edited, how, whether the call goes on)
    let table: [(&str, Edit, bool); 8] = [
        ("nothing", |_| (), true),
        ("a status", |share| share["status"]["observedGeneration"] = json!(3), true),
        ("domains", |share| share["spec"]["use"]["domains"] = json!(["api.example.com"]), false),
        ("ports", |share| share["spec"]["use"]["ports"] = json!([443]), false),
        ("networks", |share| share["spec"]["use"]["networks"] = json!(["10.0.0.0/8"]), false),
        ("caBundle", |share| share["spec"]["use"]["caBundle"] = json!(certificate()), false),
        ("inject", |share| share["spec"]["use"]["inject"]["headers"] = json!(["Authorization"]), false),
        (
            "serviceAccounts",
            |share| share["spec"]["recipient"]["namespace"]["serviceAccounts"] = json!(["checkout"]),
            false,
        ),
    ];
    for (what, change, goes_on) in table {
        let operator = Operator::of(&generous()).await;
        let call = granted_in(&generous());
        edit(&operator.api, SHARE, change);
        let verdicts = operator.renew(vec![call]).await;
        match &verdicts[..] {
            [Verdict::Held(_)] => assert!(goes_on, "{what}"),
            [Verdict::Cut(refusal)] => {
                assert!(!goes_on && *refusal == Refusal::GrantLapsed, "{what}: {refusal}");
            }
            other => panic!("{what}: {other:?}"),
        }
        assert!(operator.ask().await.is_ok(), "{what}: the next call begins under the policy as it is now");
    }
}

#[tokio::test]
async fn a_call_goes_on_only_while_its_route_writes_the_same_headers() {
    type Edit = fn(&mut RouteSpec);
    // (what is edited, how, whether the call goes on)
    let table: [(&str, Edit, bool); 5] = [
        ("nothing", |_| (), true),
        ("text around the value", |route| route.headers[0].value.insert(0, '-'), false),
        ("the header", |route| route.headers[0].name = "X-Api-Key".into(), false),
        ("one header more", |route| route.headers.push(header("X-Api-Key")), false),
        ("their order", |route| route.headers.insert(0, header("X-Api-Key")), false),
    ];
    for (what, change, goes_on) in table {
        let mut edited = generous();
        change(&mut edited.route.as_mut().unwrap().spec);
        let operator = Operator::of(&edited).await;
        let [verdict] = &operator.renew(vec![granted_in(&generous())]).await[..] else { panic!("{what}") };
        assert_eq!(matches!(verdict, Verdict::Held(_)), goes_on, "{what}: {verdict:?}");
        let [verdict] = &operator.renew(vec![granted_in(&edited)]).await[..] else { panic!("{what}") };
        assert!(matches!(verdict, Verdict::Held(_)), "{what}: {verdict:?}");
    }
}

fn header(name: &str) -> RouteHeader {
    RouteHeader { name: name.into(), value: "{{secret:stripe-api-key}}".into() }
}
