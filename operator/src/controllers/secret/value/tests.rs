//! The status that follows from what came in, as a pure function.

use keylend_contract::blob::BlobDigest;
use serde_json::{Value, json};

use super::*;

const THEN: &str = "2026-01-01T00:00:00Z";
const NOW: &str = "2026-02-02T00:00:00Z";
const KEY: &str = "kl-test-key";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn working() -> BTreeSet<String> {
    [KEY.to_owned()].into()
}

fn digest(text: &str) -> BlobDigest {
    serde_json::from_value(json!(text)).unwrap()
}

fn environment(name: &str, version: i64, digests: &[&str]) -> Value {
    json!({ "name": name, "fields": [{
        "name": "value", "version": version, "wrapGeneration": 1, "key": KEY, "updatedAt": THEN, "sealedAtMs": 5, "digests": digests,
    }] })
}

fn secret(live: &[Value]) -> Secret {
    serde_json::from_value(json!({
        "apiVersion": "keylend.dev/v1alpha1",
        "kind": "Secret",
        "metadata": { "name": "stripe-api-key", "namespace": "payments", "generation": 4 },
        "spec": { "type": "String" },
        "status": { "lastVersion": 7, "environments": live },
    }))
    .unwrap()
}

fn taken(version: i64) -> Outcome {
    Outcome::TakenIn(TakenIn { version, key: KEY.to_owned(), digest: digest("new"), sealed_at_ms: 9 })
}

fn outcomes(list: &[(&str, Outcome)]) -> Vec<(String, Outcome)> {
    list.iter().map(|(name, outcome)| ((*name).to_owned(), outcome.clone())).collect()
}

fn condition(plan: &Plan, type_: ConditionType) -> (ConditionStatus, Reason, String) {
    let found = plan.status.conditions.iter().find(|condition| condition.type_ == type_).unwrap();
    (found.status, found.reason, found.message.clone())
}

#[test]
fn a_first_value_is_live_with_its_version_its_blob_and_its_time() {
    let plan = plan(&secret(&[]), &outcomes(&[("production", taken(8))]), Some(&working()), now());
    let field = &plan.status.environments[0].fields[0];
    assert_eq!((field.version, field.wrap_generation, field.sealed_at_ms), (8, 1, 9));
    assert_eq!(field.digests, [digest("new")]);
    assert_eq!(field.updated_at, NOW);
    assert_eq!((plan.status.last_version, plan.status.observed_generation), (Some(8), Some(4)));
    assert_eq!((plan.superseded, plan.removed), (vec![], vec![]));
}

#[test]
fn a_new_value_takes_the_place_of_the_live_one_and_keeps_what_was_seen() {
    let seen: Vec<String> = (0..MAX_DIGESTS).map(|n| n.to_string()).collect();
    let seen: Vec<&str> = seen.iter().map(String::as_str).collect();
    let before = secret(&[environment("production", 7, &seen), environment("staging", 6, &["s"])]);
    let plan = plan(
        &before,
        &outcomes(&[("production", taken(8)), ("staging", Outcome::Live)]),
        Some(&working()),
        now(),
    );
    let digests = &plan.status.environments[0].fields[0].digests;
    assert_eq!(digests.len(), MAX_DIGESTS);
    assert_eq!((&digests[0], &digests[1]), (&digest("new"), &digest("0")));
    assert_eq!(plan.status.environments[1], before.status.unwrap().environments[1]);
    let old = Pointer { environment: "production".to_owned(), version: 7, wrap_generation: 1 };
    assert_eq!((plan.superseded, plan.removed), (vec![old], vec![]));
}

#[test]
fn the_live_value_stays_until_another_is_taken_in() {
    let before = secret(&[environment("production", 7, &["live"])]);
    for outcome in [
        Outcome::NoBlob,
        Outcome::Live,
        Outcome::Stale,
        Outcome::Refused("why".to_owned()),
        Outcome::KeySealed { key: "k".to_owned() },
        Outcome::Failed { cause: "c".to_owned() },
    ] {
        let plan = plan(&before, &outcomes(&[("production", outcome.clone())]), Some(&working()), now());
        assert_eq!(plan.status.environments, before.status.clone().unwrap().environments, "{outcome:?}");
        assert_eq!((plan.superseded, plan.removed), (vec![], vec![]), "{outcome:?}");
    }
}

#[test]
fn an_environment_that_is_no_longer_listed_goes_and_its_version_is_never_given_again() {
    let before = secret(&[environment("production", 7, &["p"]), environment("staging", 6, &["s"])]);
    let plan = plan(&before, &outcomes(&[("staging", Outcome::NoBlob)]), Some(&working()), now());
    assert_eq!(plan.status.environments.len(), 1);
    assert_eq!(plan.status.environments[0].name, "staging");
    assert_eq!(
        plan.removed,
        [Pointer { environment: "production".to_owned(), version: 7, wrap_generation: 1 }]
    );
    assert_eq!(plan.status.last_version, Some(7));
}

#[test]
fn a_secret_without_a_value_has_no_version() {
    let mut empty = secret(&[]);
    empty.status = None;
    let plan = plan(&empty, &[], Some(&working()), now());
    assert_eq!(plan.status.last_version, None);
    assert_eq!(condition(&plan, ConditionType::Ready).1, Reason::NoValue);
}

#[test]
fn ready_says_what_hinders_most_and_names_the_field() {
    use ConditionStatus::{False, True};
    let refused = Outcome::Refused("because".to_owned());
    let sealed = Outcome::KeySealed { key: "kek-1".to_owned() };
    let failed = Outcome::Failed { cause: "kl-test-cause".to_owned() };
    // (production, staging, status, reason, part of the message); production has a live value, staging none
    let table = [
        (Outcome::Live, Outcome::NoBlob, True, Reason::Live, "without a value: staging"),
        (Outcome::Stale, taken(8), True, Reason::Live, "every environment has its value"),
        (
            Outcome::Live,
            refused.clone(),
            False,
            Reason::BlobRefused,
            "environments[staging].sealed.value: because",
        ),
        (refused.clone(), refused.clone(), False, Reason::BlobRefused, "; spec.environments[staging]"),
        (refused.clone(), sealed, False, Reason::KeySealed, "the key 'kek-1'"),
        (
            failed,
            refused,
            False,
            Reason::StorageFailed,
            "environments[production].sealed.value is not taken in yet",
        ),
    ];
    for (production, staging, status, reason, part) in table {
        let before = secret(&[environment("production", 7, &["p"])]);
        let plan = plan(
            &before,
            &outcomes(&[("production", production), ("staging", staging)]),
            Some(&working()),
            now(),
        );
        let (is, why, message) = condition(&plan, ConditionType::Ready);
        assert_eq!((is, why), (status, reason), "{message}");
        assert!(message.contains(part), "{message}");
        assert!(!message.contains("kl-test-cause"), "{message}");
    }
}

#[test]
fn a_live_value_whose_key_is_gone_is_marked_and_named_and_no_other() {
    use ConditionStatus::{False, True};
    let refused = Outcome::Refused("because".to_owned());
    let [other, no] = [BTreeSet::from(["kl-test-other".to_owned()]), BTreeSet::new()];
    // (keys that work, what came of production, production is marked, status, reason)
    let table = [
        (Some(&working()), Outcome::Live, false, True, Reason::Live),
        (Some(&other), Outcome::Live, true, False, Reason::KeySealed),
        (Some(&no), Outcome::NoBlob, true, False, Reason::KeySealed),
        (Some(&no), Outcome::Stale, true, False, Reason::KeySealed),
        (Some(&no), refused, true, False, Reason::KeySealed),
        (Some(&no), taken(8), false, True, Reason::Live),
        (None, Outcome::Live, false, True, Reason::Live),
    ];
    for (working, production, marked, status, reason) in table {
        let before = secret(&[environment("production", 7, &["p"])]);
        let plan = plan(&before, &outcomes(&[("production", production)]), working, now());
        let (is, why, message) = condition(&plan, ConditionType::Ready);
        assert_eq!((is, why), (status, reason), "{message}");
        assert_eq!(plan.status.environments[0].fields[0].key_sealed, marked, "{message}");
        let named = message.contains("spec.environments[production]") && message.contains(KEY);
        assert_eq!(named, marked, "{message}");
    }
}

#[test]
fn a_source_that_is_behind_is_told_and_one_that_caught_up_is_in_sync() {
    let before = secret(&[environment("production", 7, &["p"])]);
    for (outcome, status, reason) in [
        (Outcome::Stale, ConditionStatus::True, Reason::OlderThanLive),
        (Outcome::Live, ConditionStatus::False, Reason::InSync),
        (Outcome::NoBlob, ConditionStatus::False, Reason::InSync),
        (taken(8), ConditionStatus::False, Reason::InSync),
    ] {
        let plan = plan(&before, &outcomes(&[("production", outcome)]), Some(&working()), now());
        let (is, why, message) = condition(&plan, ConditionType::SourceStale);
        assert_eq!((is, why), (status, reason), "{message}");
    }
}

#[test]
fn a_plan_carried_out_plans_the_same_again() {
    let later: Timestamp = "2026-03-03T00:00:00Z".parse().unwrap();
    for working in [Some(&working()), Some(&BTreeSet::new()), None] {
        let mut secret = secret(&[environment("production", 7, &["p"])]);
        for at in [now(), later] {
            let plan = plan(&secret, &outcomes(&[("production", Outcome::Live)]), working, at);
            if at == later {
                assert_eq!(Some(&plan.status), secret.status.as_ref(), "{working:?}");
            }
            secret.status = Some(plan.status);
        }
        assert!(working.is_none_or(|working| is_marked_by(&secret, working)), "{working:?}");
    }
}
