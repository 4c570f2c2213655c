//! The rule: everything in its place is granted, and each thing out of place is refused by its code.

use keylend_contract::wire::{Ask, Basis, CallId, Target, Trace, WIRE_VERSION};
use keylend_crds::secret::AcceptedShare;
use proptest::prelude::*;
use uuid::Uuid;

use super::{
    super::{
        caller::CallerClaims,
        scenario::{Scenario, caller, claims, pin},
    },
    *,
};

fn time(text: &str) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).unwrap()
}

/// One thing wrong, and what the caller is told.
type Fault = (&'static str, fn(&mut Scenario), &'static str);

fn as_caller(scenario: &mut Scenario, change: impl FnOnce(&mut CallerClaims)) {
    let mut claims = claims();
    change(&mut claims);
    scenario.caller = caller(&claims);
}

/// Marks the share as another replica does whose clock says that it has ended.
fn marked(scenario: &mut Scenario, generation: i64, reason: &str) {
    let share = scenario.share.as_mut().unwrap();
    share.status.as_mut().unwrap().conditions = serde_json::from_value(serde_json::json!([{
        "type": "Revoked", "status": "False", "reason": reason, "message": "",
        "lastTransitionTime": "2026-06-01T11:59:00Z", "observedGeneration": generation,
    }]))
    .unwrap();
}

const RECIPIENTS_SIDE: &[Fault] = &[
    ("no route", |s| s.route = None, "route_unknown"),
    (
        "the route is being deleted",
        |s| s.route.as_mut().unwrap().metadata.deletion_timestamp = Some(time("2026-06-01T11:00:00Z")),
        "route_unknown",
    ),
    (
        "the upstream is no origin",
        |s| s.route.as_mut().unwrap().spec.upstream.push_str("/v1"),
        "route_invalid",
    ),
    (
        "a header frames the message",
        |s| s.route.as_mut().unwrap().spec.headers[0].name = "Host".into(),
        "route_invalid",
    ),
    (
        "a template names nothing",
        |s| s.route.as_mut().unwrap().spec.headers[0].value = "Bearer".into(),
        "route_invalid",
    ),
    (
        "the link has no such environment",
        |s| s.route.as_mut().unwrap().spec.environment = "staging".into(),
        "environment_unset",
    ),
    (
        "another secret is named",
        |s| s.route.as_mut().unwrap().spec.headers[0].value = "{{secret:unheard-of}}".into(),
        "secret_unknown",
    ),
    ("no linked secret", |s| s.linked = None, "secret_unknown"),
    (
        "the linked secret is being deleted",
        |s| s.linked.as_mut().unwrap().metadata.deletion_timestamp = Some(time("2026-06-01T11:00:00Z")),
        "secret_unknown",
    ),
    ("the secret is no link", |s| s.linked = s.secret.clone(), "secret_unknown"),
    ("the link was not accepted", |s| s.linked.as_mut().unwrap().status = None, "secret_unknown"),
    (
        "the link was accepted for another share",
        |s| accepted(s).share_ref.name.push_str("-2"),
        "secret_unknown",
    ),
    (
        "the link was accepted for another environment",
        |s| accepted(s).environment.push_str("-2"),
        "secret_unknown",
    ),
    (
        "the link names another share's uid",
        |s| s.linked.as_mut().unwrap().spec.link.as_mut().unwrap().shares[0].uid = Some("another".into()),
        "recipient_changed",
    ),
];

const OWNERS_SIDE: &[Fault] = &[
    ("the share is gone", |s| s.share = None, "share_revoked"),
    (
        "the share was created anew for this caller",
        |s| s.share.as_mut().unwrap().metadata.uid = Some("another".into()),
        "recipient_changed",
    ),
    (
        "the share was created anew for somebody else",
        |s| {
            let share = s.share.as_mut().unwrap();
            share.metadata.uid = Some("another".into());
            share.spec.recipient.namespace.name = "else".into();
        },
        "share_revoked",
    ),
    (
        "the caller is of another namespace",
        |s| as_caller(s, |c| c.namespace = "else".into()),
        "secret_unknown",
    ),
    (
        "the caller's namespace was created anew",
        |s| as_caller(s, |c| c.namespace_uid = "another".into()),
        "recipient_changed",
    ),
    (
        "the owner names another namespace's uid",
        |s| s.share.as_mut().unwrap().spec.recipient.namespace.uid = Some("a-third".into()),
        "recipient_changed",
    ),
    (
        "the caller's service account is not listed",
        |s| as_caller(s, |c| c.service_account = "default".into()),
        "secret_unknown",
    ),
    (
        "no service account is listed",
        |s| s.share.as_mut().unwrap().spec.recipient.namespace.service_accounts = Some(vec![]),
        "secret_unknown",
    ),
    ("the share is revoked", |s| s.share.as_mut().unwrap().spec.revoked = Some(true), "share_revoked"),
    (
        "the share is being deleted",
        |s| s.share.as_mut().unwrap().metadata.deletion_timestamp = Some(time("2026-06-01T11:00:00Z")),
        "share_revoked",
    ),
    ("the share has expired", |s| s.now = "2026-06-02T12:00:00Z".parse().unwrap(), "share_expired"),
    (
        "the share's end cannot be read",
        |s| s.share.as_mut().unwrap().spec.expires_at = Some("soon".into()),
        "share_expired",
    ),
    ("another replica's clock says expired", |s| marked(s, 3, "Stopping"), "share_expired"),
    ("the expiry is complete", |s| marked(s, 3, "Expired"), "share_expired"),
    ("no finalizer of ours", |s| s.share.as_mut().unwrap().metadata.finalizers = None, "share_pending"),
    ("the share has no pins", |s| s.share.as_mut().unwrap().status = None, "share_pending"),
    (
        "the secret is not pinned",
        |s| s.share.as_mut().unwrap().status.as_mut().unwrap().secret_uid = None,
        "share_pending",
    ),
    (
        "the namespace is not pinned",
        |s| s.share.as_mut().unwrap().status.as_mut().unwrap().recipient_namespace_uid = None,
        "share_pending",
    ),
    ("the owner's secret is missing", |s| s.secret = None, "secret_unknown"),
    (
        "the owner's secret is being deleted",
        |s| s.secret.as_mut().unwrap().metadata.deletion_timestamp = Some(time("2026-06-01T11:00:00Z")),
        "secret_unknown",
    ),
    ("the owner only borrows it", |s| s.secret = s.linked.clone(), "secret_unknown"),
    (
        "the owner's secret was created anew",
        |s| s.secret.as_mut().unwrap().metadata.uid = Some("another".into()),
        "recipient_changed",
    ),
    ("the secret has no live value", |s| s.secret.as_mut().unwrap().status = None, "environment_unset"),
    (
        "the share's environment has no value",
        |s| s.secret.as_mut().unwrap().status.as_mut().unwrap().environments[0].fields.clear(),
        "environment_unset",
    ),
    (
        "only another environment has a value",
        |s| {
            let live = s.secret.as_mut().unwrap().status.as_mut().unwrap();
            live.environments[1].fields = live.environments[0].fields.clone();
            live.environments.remove(0);
        },
        "environment_unset",
    ),
    (
        "the share is for another environment, which has a value",
        |s| {
            let live = s.secret.as_mut().unwrap().status.as_mut().unwrap();
            live.environments[1].fields = live.environments[0].fields.clone();
            s.share.as_mut().unwrap().spec.environment = "test".into();
        },
        "environment_unset",
    ),
    (
        "the owner removed the environment",
        |s| s.secret.as_mut().unwrap().spec.environments = Some(vec![]),
        "environment_unset",
    ),
    (
        "the host is not approved",
        |s| s.share.as_mut().unwrap().spec.use_policy.domains = vec!["*.api.example.com".into()],
        "host_not_approved",
    ),
    (
        "one pattern is not valid",
        |s| s.share.as_mut().unwrap().spec.use_policy.domains.push("EXAMPLE.com".into()),
        "host_not_approved",
    ),
    (
        "the port is not approved",
        |s| s.share.as_mut().unwrap().spec.use_policy.ports = Some(vec![8443]),
        "port_not_approved",
    ),
    (
        "a network cannot be read",
        |s| s.share.as_mut().unwrap().spec.use_policy.networks = Some(vec!["10/8".into()]),
        "address_not_approved",
    ),
    (
        "the anchors cannot be read",
        |s| s.share.as_mut().unwrap().spec.use_policy.ca_bundle = Some("kl-test".into()),
        "upstream_untrusted",
    ),
    (
        "the place is not approved",
        |s| s.share.as_mut().unwrap().spec.use_policy.inject.headers = vec!["x-api-key".into()],
        "place_not_approved",
    ),
];

fn accepted(scenario: &mut Scenario) -> &mut AcceptedShare {
    &mut scenario.linked.as_mut().unwrap().status.as_mut().unwrap().shares[0]
}

fn faults() -> impl Iterator<Item = &'static Fault> {
    RECIPIENTS_SIDE.iter().chain(OWNERS_SIDE)
}

#[test]
fn everything_in_its_place_is_granted() {
    let grant = Scenario::complete().decide().unwrap();
    assert_eq!(grant.destination().to_string(), "https://api.example.com");
    assert_eq!(grant.term(), GRANT_TERM);
    let [hold] = grant.holds() else { panic!("one secret, one hold") };
    assert_eq!((hold.name(), hold.share_uid()), ("STRIPE_API_KEY", "uid-of-share"));
    let expected = Binding {
        cluster_uid: "uid-of-cluster".into(),
        namespace: "payments".into(),
        name: "stripe".into(),
        uid: "uid-of-secret".into(),
        secret_type: "String".into(),
        environment: "production".into(),
        field: "value".into(),
        version: 4,
        wrap_generation: 1,
    };
    assert_eq!(hold.binding(), &expected);
    let answer = grant.answer();
    assert_eq!(answer.begin_within_ms, 2000);
    assert_eq!((answer.permits.len(), answer.permits[0].generation), (1, 3));
    assert_eq!(answer.headers[0].parts, [Part::Literal("Bearer ".into()), Part::Value(0)]);
}

#[test]
fn each_missing_condition_is_refused_by_its_code() {
    for (case, change, code) in faults() {
        let mut scenario = Scenario::complete();
        change(&mut scenario);
        assert_eq!(scenario.decide().unwrap_err().code(), *code, "{case}");
    }
}

#[test]
fn hosts_are_decided_by_the_table_that_lock_test_is_held_to() {
    let table = include_str!("../../../../contract/testdata/domain_lock.tsv");
    let mut rows = 0;
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<_> = line.split('\t').collect();
        let [domains, host, verdict] = columns[..] else { panic!("three columns: {line}") };
        let mut scenario = Scenario::complete();
        scenario.route.as_mut().unwrap().spec.upstream = format!("https://{host}");
        let policy = &mut scenario.share.as_mut().unwrap().spec.use_policy;
        policy.domains = domains.split(' ').map(str::to_owned).collect();
        let code = match verdict {
            "permitted" => None,
            "host_not_a_name" => Some("route_invalid"),
            "host_not_approved" | "invalid" => Some("host_not_approved"),
            other => panic!("no such verdict: {other}"),
        };
        assert_eq!(scenario.decide().err().map(|refusal| refusal.code()), code, "{line}");
        rows += 1;
    }
    assert!(rows > 40);
}

#[test]
fn an_unset_environment_spells_the_secret_and_the_environment_as_the_route_does() {
    let mut scenario = Scenario::complete();
    scenario.secret.as_mut().unwrap().status = None;
    let sentence = scenario.decide().unwrap_err().to_string();
    assert_eq!(sentence, "Secret 'STRIPE_API_KEY' not configured for environment 'production'");
}

#[test]
fn a_share_for_somebody_else_looks_like_a_missing_one_even_when_it_has_ended() {
    let mut missing = Scenario::complete();
    missing.linked = None;
    let missing = missing.decide().unwrap_err();
    let ends = |fault: &&Fault| ["share_", "recipient_"].iter().any(|start| fault.2.starts_with(start));
    for (case, stop) in OWNERS_SIDE.iter().filter(ends).map(|fault| (fault.0, fault.1)) {
        let mut scenario = Scenario::complete();
        stop(&mut scenario);
        let namespace_uid = scenario.caller.namespace_uid().to_owned();
        as_caller(&mut scenario, |claims| {
            claims.service_account = "default".into();
            claims.namespace_uid = namespace_uid;
        });
        assert_eq!(scenario.decide().unwrap_err(), missing, "{case}");
    }
}

#[test]
fn an_owner_confirms_a_namespace_that_was_created_anew() {
    let mut scenario = Scenario::complete();
    as_caller(&mut scenario, |claims| claims.namespace_uid = "another".into());
    scenario.share.as_mut().unwrap().spec.recipient.namespace.uid = Some("another".into());
    assert!(scenario.decide().is_ok());
}

#[test]
fn a_mark_of_an_earlier_generation_ended_nothing() {
    // (the mark's generation, its reason, granted)
    for (generation, reason, granted) in
        [(2, "Stopping", true), (3, "Stopping", false), (3, "NotStopped", true)]
    {
        let mut scenario = Scenario::complete();
        marked(&mut scenario, generation, reason);
        assert_eq!(scenario.decide().is_ok(), granted, "{generation} {reason}");
    }
}

#[test]
fn a_term_ends_with_the_share() {
    // (now, term in milliseconds)
    let table = [
        ("2026-06-02T11:00:00Z", 2000),
        ("2026-06-02T11:59:58.5Z", 1500),
        ("2026-06-02T11:59:59.999Z", 1),
        ("2026-06-02T11:59:59.9999Z", 0),
    ];
    for (now, term) in table {
        let mut scenario = Scenario::complete();
        scenario.now = now.parse().unwrap();
        assert_eq!(scenario.decide().unwrap().answer().begin_within_ms, term, "{now}");
    }
}

#[test]
fn two_names_for_one_share_are_two_values_and_one_permit_and_all_must_permit() {
    let mut scenario = Scenario::complete();
    let header = &mut scenario.route.as_mut().unwrap().spec.headers[0];
    header.value = "{{secret:stripe-api-key}}:{{secret:second}}:{{secret:STRIPE_API_KEY}}".into();
    let linked = scenario.linked.clone().map(std::sync::Arc::new);
    let wish = || Wish::of("stripe", scenario.route.as_ref(), |_| linked.clone()).unwrap();
    let reading = Reading { share: scenario.share.clone(), secret: scenario.secret.clone() };
    let readings = Readings::from([(pin(), reading)]);
    let grant = decide(&scenario.caller, wish(), &readings, "uid-of-cluster", scenario.now).unwrap();
    assert_eq!((grant.holds().len(), grant.answer().permits.len()), (2, 1));
    let literal = || Part::Literal(":".into());
    let parts = [Part::Value(0), literal(), Part::Value(1), literal(), Part::Value(0)];
    assert_eq!(grant.answer().headers[0].parts, parts);

    let mut second = wish();
    second.shares[1].pin.uid = "unread".into();
    let refused = decide(&scenario.caller, second, &readings, "uid-of-cluster", scenario.now).unwrap_err();
    assert_eq!(refused, Refusal::OperatorUnreachable);
}

#[test]
fn only_the_very_call_that_was_granted_goes_on() {
    type Change = fn(&mut Basis);
    let grant = Scenario::complete().decide().unwrap();
    let ask = Ask {
        version: WIRE_VERSION,
        call: CallId(Uuid::from_u128(1)),
        trace: Trace { trace_id: "0".repeat(32), span_id: "0".repeat(16) },
        target: Target::Route("stripe".into()),
        method: "GET".into(),
        path: "/".into(),
    };
    let table: [(Change, bool); 7] = [
        (|_| (), true),
        (|basis| basis.destination = "https://api.example.com:8443".parse().unwrap(), false),
        (|basis| basis.shares[0].uid = "another".into(), false),
        (|basis| basis.shares[0].generation -= 1, false),
        (|basis| basis.shares.clear(), false),
        (|basis| basis.shares.push(basis.shares[0].clone()), false),
        (|basis| basis.headers = HeadersDigest::of(&[]), false),
    ];
    for (number, (change, continues)) in table.into_iter().enumerate() {
        let mut open = OpenCall { ask: ask.clone(), basis: grant.answer().basis() };
        change(&mut open.basis);
        assert_eq!(grant.continues(&open), continues, "{number}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whoever_lacks_one_condition_is_never_granted_whatever_else_is_wrong(
        chosen in prop::collection::vec(any::<prop::sample::Index>(), 1..5),
    ) {
        let faults: Vec<_> = faults().collect();
        let mut scenario = Scenario::complete();
        let mut last = "";
        for index in chosen {
            let (case, change, _) = index.get(&faults);
            // A change may presuppose an object that an earlier one took away.
            let mut changed = scenario.clone();
            let applied = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| change(&mut changed)));
            if applied.is_ok() {
                scenario = changed;
                last = case;
            }
        }
        prop_assert!(last.is_empty() || scenario.decide().is_err(), "{last}");
    }
}
