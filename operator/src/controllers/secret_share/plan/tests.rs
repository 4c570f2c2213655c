//! What a share needs next, row by row.

use keylend_crds::{
    Condition,
    condition::ConditionStatus::{False, True},
};

use super::*;
use crate::resolve::scenario::{NOW, secret, share};

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn deleted(share: &mut SecretShare) {
    share.metadata.deletion_timestamp = serde_json::from_value(serde_json::json!(NOW)).unwrap();
}

fn step_of(share: &SecretShare, view: &View<'_>, progress: Progress) -> Step {
    plan(share, view, progress, now()).step
}

fn status_of(share: &SecretShare, view: &View<'_>, progress: Progress) -> SecretShareStatus {
    match step_of(share, view, progress) {
        Step::Status(status) => *status,
        other @ (Step::AddFinalizer | Step::DropFinalizer | Step::Nothing) => panic!("{other:?}"),
    }
}

fn condition(status: &SecretShareStatus, type_: ConditionType) -> &Condition {
    status.conditions.iter().find(|condition| condition.type_ == type_).unwrap()
}

#[test]
fn our_finalizer_comes_first_and_never_onto_a_share_that_is_stopped() {
    let secret = secret();
    let view = View { secret: Some(&secret), namespace_uid: Some("uid-of-partner"), accepted: true };
    let mut share = share();
    share.metadata.finalizers = Some(vec!["somebody.example.com/else".into()]);
    assert_eq!(step_of(&share, &view, Progress::NotStopped), Step::AddFinalizer);
    let wait = Progress::Waiting(Duration::from_secs(1));
    assert!(matches!(step_of(&share, &view, wait), Step::Status(_)));
    deleted(&mut share);
    assert!(matches!(step_of(&share, &view, wait), Step::Status(_)));
    assert_eq!(step_of(&share, &view, Progress::Complete(Stop::Final)), Step::Nothing);
}

#[test]
fn a_complete_share_is_ready_accepted_and_not_stopped() {
    let secret = secret();
    let view = View { secret: Some(&secret), namespace_uid: Some("uid-of-partner"), accepted: true };
    let status = status_of(&share(), &view, Progress::NotStopped);
    assert_eq!(status.observed_generation, Some(3));
    let found: Vec<_> = status.conditions.iter().map(|one| (one.type_, one.status, one.reason)).collect();
    assert_eq!(
        found,
        [
            (ConditionType::Ready, True, Reason::Active),
            (ConditionType::Accepted, True, Reason::LinkedSecretFound),
            (ConditionType::Revoked, False, Reason::NotStopped),
        ]
    );
    assert!(status.conditions.iter().all(|one| one.observed_generation == 3));
}

#[test]
fn a_share_that_nobody_has_accepted_says_who_may_and_how() {
    let secret = secret();
    let view = View { secret: Some(&secret), namespace_uid: Some("uid-of-partner"), accepted: false };
    let status = status_of(&share(), &view, Progress::NotStopped);
    let accepted = condition(&status, ConditionType::Accepted);
    assert_eq!((accepted.status, accepted.reason), (False, Reason::AwaitingRecipient));
    assert!(accepted.message.contains("namespace 'partner'"), "{}", accepted.message);
    assert!(accepted.message.contains("kubectl keylend accept"), "{}", accepted.message);
    assert_eq!(condition(&status, ConditionType::Ready).status, True, "it may be accepted and used at once");
}

#[test]
fn what_a_share_lacks_is_named_with_its_field() {
    type Change = fn(&mut SecretShare, &mut Option<Secret>);
    // (change, reason, the message begins with)
    let table: [(Change, Reason, &str); 10] = [
        (
            |share, _| share.spec.use_policy.domains = vec!["*.com".into()],
            Reason::PolicyInvalid,
            "spec.use.domains: '*.com': ",
        ),
        (
            |share, _| share.spec.use_policy.inject.headers = vec!["host".into()],
            Reason::PolicyInvalid,
            "spec.use.inject.headers: ",
        ),
        (|share, _| share.spec.expires_at = Some("soon".into()), Reason::PolicyInvalid, "spec.expiresAt: "),
        (|_, secret| *secret = None, Reason::SecretMissing, "spec.secretRef.name: "),
        (
            |_, secret| secret.as_mut().unwrap().spec.type_ = SecretType::Linked,
            Reason::SecretMissing,
            "spec.secretRef.name: ",
        ),
        (
            |_, secret| secret.as_mut().unwrap().metadata.uid = Some("another".into()),
            Reason::RecipientChanged,
            "spec.secretRef.name: Secret 'stripe' was created anew",
        ),
        (
            |share, _| share.spec.recipient.namespace.uid = Some("another".into()),
            Reason::RecipientChanged,
            "spec.recipient.namespace.uid: namespace 'partner' was created anew; to share with the new one, set this field to uid-of-partner",
        ),
        (|_, secret| secret.as_mut().unwrap().status = None, Reason::EnvironmentUnset, "spec.environment: "),
        (
            |_, secret| secret.as_mut().unwrap().spec.environments = None,
            Reason::EnvironmentUnset,
            "spec.environment: ",
        ),
        (
            |share, _| share.spec.environment = "test".into(),
            Reason::EnvironmentUnset,
            "spec.environment: Secret 'stripe' has no live value for environment 'test'",
        ),
    ];
    for (change, reason, message) in table {
        let (mut share, mut secret) = (share(), Some(secret()));
        change(&mut share, &mut secret);
        let view = View { secret: secret.as_ref(), namespace_uid: Some("uid-of-partner"), accepted: true };
        let status = status_of(&share, &view, Progress::NotStopped);
        let ready = condition(&status, ConditionType::Ready);
        assert_eq!((ready.status, ready.reason), (ConditionStatus::False, reason), "{}", ready.message);
        assert!(ready.message.starts_with(message), "{}", ready.message);
    }
}

#[test]
fn pins_are_set_once_and_the_namespace_s_only_by_an_acceptance() {
    let secret = secret();
    // (accepted, uid in the specification, pinned namespace)
    let table =
        [(false, None, None), (true, None, Some("uid-of-partner")), (true, Some("uid-of-partner"), None)];
    for (accepted, specified, pinned) in table {
        let mut share = share();
        share.status = None;
        share.spec.recipient.namespace.uid = specified.map(Into::into);
        let view = View { secret: Some(&secret), namespace_uid: Some("uid-of-partner"), accepted };
        let status = status_of(&share, &view, Progress::NotStopped);
        assert_eq!(status.secret_uid.as_deref(), Some("uid-of-secret"));
        assert_eq!(status.recipient_namespace_uid.as_deref(), pinned, "{accepted} {specified:?}");
    }
    let mut anew = secret.clone();
    anew.metadata.uid = Some("another".into());
    let view = View { secret: Some(&anew), namespace_uid: Some("another"), accepted: true };
    let status = status_of(&share(), &view, Progress::NotStopped);
    assert_eq!(status.secret_uid.as_deref(), Some("uid-of-secret"));
    assert_eq!(status.recipient_namespace_uid.as_deref(), Some("uid-of-partner"));
}

#[test]
fn a_stop_shows_itself_waits_and_completes() {
    let wait = Duration::from_millis(700);
    let view = View { secret: None, namespace_uid: None, accepted: false };
    let expired = Stop::Expired { generation: 3 };
    // (progress, revoked, its reason, ready's reason, looked at again)
    let table = [
        (
            Progress::Unrecorded(expired),
            False,
            Reason::Stopping,
            Reason::Stopping,
            Duration::from_millis(100),
        ),
        (Progress::Waiting(wait), False, Reason::Stopping, Reason::Stopping, wait),
        (Progress::Complete(Stop::Final), True, Reason::Stopped, Reason::Stopped, SETTLED),
        (Progress::Complete(expired), True, Reason::Expired, Reason::Expired, SETTLED),
    ];
    for (progress, revoked, reason, ready, again) in table {
        let plan = plan(&share(), &view, progress, now());
        assert_eq!(plan.again, again, "{progress:?}");
        let status = status_of(&share(), &view, progress);
        let found = condition(&status, ConditionType::Revoked);
        assert_eq!((found.status, found.reason), (revoked, reason), "{progress:?}");
        let found = condition(&status, ConditionType::Ready);
        assert_eq!((found.status, found.reason), (False, ready), "{progress:?}");
        assert_eq!(status.secret_uid.as_deref(), Some("uid-of-secret"), "pins stay");
    }
}

#[test]
fn a_deleted_share_goes_only_when_its_stop_is_complete() {
    let view = View { secret: None, namespace_uid: None, accepted: false };
    let mut share = share();
    deleted(&mut share);
    let wait = Progress::Waiting(Duration::from_millis(1));
    assert!(matches!(step_of(&share, &view, wait), Step::Status(_)));
    let gone = step_of(&share, &view, Progress::Complete(Stop::Final));
    assert_eq!(gone, Step::DropFinalizer);
    assert!(gone.completes(&share));
}

#[test]
fn one_row_a_stop_by_whoever_completes_it() {
    let view = View { secret: None, namespace_uid: None, accepted: false };
    let stopping = step_of(&share(), &view, Progress::Waiting(Duration::from_secs(1)));
    let stopped = step_of(&share(), &view, Progress::Complete(Stop::Final));
    assert!(!stopping.completes(&share()));
    assert!(stopped.completes(&share()));
    let mut shown = share();
    shown.status = Some(status_of(&share(), &view, Progress::Complete(Stop::Final)));
    assert!(!stopped.completes(&shown));
    assert!(!Step::DropFinalizer.completes(&shown));
}

#[test]
fn a_share_is_looked_at_again_when_it_ends() {
    let secret = secret();
    let view = View { secret: Some(&secret), namespace_uid: Some("uid-of-partner"), accepted: true };
    // (ends, again)
    let table = [
        (None, SETTLED),
        (Some("2026-07-01T00:00:00Z"), SETTLED),
        (Some("2026-06-01T12:00:07Z"), Duration::from_secs(7)),
    ];
    for (ends, again) in table {
        let mut share = share();
        share.spec.expires_at = ends.map(Into::into);
        assert_eq!(plan(&share, &view, Progress::NotStopped, now()).again, again, "{ends:?}");
    }
    let view = View { accepted: false, ..view };
    assert_eq!(plan(&share(), &view, Progress::NotStopped, now()).again, UNSETTLED);
}
