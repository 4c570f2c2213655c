//! Renewals: an open call goes on only by the operator's word.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use keylend_contract::{
    refusal::Refusal,
    wire::{ASK_PATH, ENROL_PATH, GRANT_TERM, RENEW_PATH, RenewAnswer, Verdict},
};
use tokio::time::{sleep, timeout};

use crate::{
    scripted_operator::{Heard, Step, encoded},
    sidecar::{self, Link, ask, granted, linked, until, yes},
};

fn verdicts(verdicts: Vec<Verdict>) -> Vec<u8> {
    encoded(&RenewAnswer { verdicts }, &[])
}

/// The answer that lets every call of a renewal go on.
fn held(heard: &Heard) -> Vec<u8> {
    verdicts(heard.renew().calls.iter().map(|_| Verdict::Held(2_000)).collect())
}

/// A script that grants every ask and does `renewal` with the others.
fn granting(
    renewal: impl Fn(&Heard) -> Step + Send + Sync + 'static,
) -> impl Fn(&Heard) -> Step + Send + Sync {
    move |heard| if heard.path == ASK_PATH { yes() } else { renewal(heard) }
}

/// Opens a call and waits until its hold is lost: why, and how long after it was asked for.
async fn lost(link: &Link, number: u128) -> (Refusal, Duration) {
    let permission = link.permission(number).await;
    let lease = link.leases.open(ask(number), &permission);
    let refusal = timeout(Duration::from_secs(10), lease.lost()).await.unwrap();
    (refusal, permission.sent.elapsed())
}

#[tokio::test]
async fn a_call_that_is_renewed_goes_on_and_one_that_ended_is_not_renewed() {
    let (operator, link) = linked(granting(|heard| Step::Answer(held(heard)))).await;
    let permission = link.permission(1).await;
    let lease = link.leases.open(ask(1), &permission);
    assert!(timeout(GRANT_TERM * 2, lease.lost()).await.is_err());
    drop(lease);
    sleep(Duration::from_millis(100)).await;
    let renewed = operator.heard(RENEW_PATH);
    let call = &renewed[0].renew().calls[0];
    assert_eq!((call.ask.clone(), call.basis.clone()), (ask(1), granted().basis()));
    sleep(GRANT_TERM).await;
    assert_eq!(operator.heard(RENEW_PATH).len(), renewed.len());
}

#[tokio::test]
async fn all_open_calls_are_renewed_in_one_message() {
    let (operator, link) = linked(granting(|heard| Step::Answer(held(heard)))).await;
    let mut leases = Vec::new();
    for number in 0..20 {
        let permission = link.permission(number).await;
        leases.push(link.leases.open(ask(number), &permission));
    }
    until(|| !operator.heard(RENEW_PATH).is_empty()).await;
    assert!(operator.heard(RENEW_PATH).iter().any(|heard| heard.renew().calls.len() == 20));
}

#[tokio::test]
async fn a_call_whose_grant_came_late_is_renewed_before_its_hold_ends() {
    const LATE: Duration = Duration::from_millis(1_600);
    let (operator, link) = linked(|heard| match &heard.path[..] {
        ASK_PATH => Step::AnswerAfter(LATE, sidecar::granting()),
        _ => Step::Answer(held(heard)),
    })
    .await;
    // At different times between two renewals of all.
    let calls = (0..4).map(|number| {
        let link = &link;
        async move {
            sleep(GRANT_TERM / 8 * number).await;
            let permission = link.permission(number.into()).await;
            let lease = link.leases.open(ask(number.into()), &permission);
            timeout(GRANT_TERM, lease.lost()).await
        }
    });
    for lost in join_all(calls).await {
        assert!(lost.is_err(), "{lost:?}");
    }
    assert!(operator.heard(RENEW_PATH).len() < 12, "one out of turn for each, and every T/2");
}

#[tokio::test]
async fn a_call_that_is_cut_is_lost_by_the_next_renewal() {
    let revoked = Refusal::ShareRevoked { secret: "stripe".into() };
    let said = revoked.clone();
    let (_operator, link) =
        linked(granting(move |_| Step::Answer(verdicts(vec![Verdict::Cut(said.clone())])))).await;
    let (refusal, after) = lost(&link, 1).await;
    assert_eq!(refusal, revoked);
    assert!(after < GRANT_TERM * 3 / 4, "{after:?}");
}

#[tokio::test]
async fn a_caller_that_is_not_known_any_more_enrols_again() {
    let (operator, link) =
        linked(granting(|_| Step::Answer(verdicts(vec![Verdict::Cut(Refusal::CallerUnknown)])))).await;
    assert_eq!(lost(&link, 1).await.0, Refusal::CallerUnknown);
    until(|| operator.heard(ENROL_PATH).len() == 2).await;
}

#[tokio::test]
async fn without_a_good_answer_the_hold_is_lost_within_its_term() {
    let steps: [fn() -> Step; 7] = [
        || Step::Silence,
        || Step::Reset,
        || Step::Freeze,
        || Step::Status(500, vec![]),
        || Step::Answer(b"nonsense".to_vec()),
        || Step::Answer(verdicts(vec![])),
        || Step::Answer(verdicts(vec![Verdict::Undecided])),
    ];
    let lost = steps.into_iter().map(|step| async move {
        let (operator, link) = linked(granting(move |_| step())).await;
        let lost = lost(&link, 1).await;
        (lost, operator.heard(RENEW_PATH).len())
    });
    for ((refusal, after), renewals) in join_all(lost).await {
        assert_eq!(refusal, Refusal::GrantLapsed);
        assert!(after >= GRANT_TERM && after < GRANT_TERM + Duration::from_millis(300), "{after:?}");
        assert!(renewals >= 1);
    }
}

#[tokio::test]
async fn an_answer_that_decides_nothing_cuts_nothing_while_every_second_one_does() {
    let renewals = AtomicUsize::new(0);
    let (_operator, link) =
        linked(granting(move |heard| match renewals.fetch_add(1, Ordering::SeqCst) % 2 {
            0 => Step::Answer(verdicts(vec![Verdict::Undecided])),
            _ => Step::Answer(held(heard)),
        }))
        .await;
    let permission = link.permission(1).await;
    let lease = link.leases.open(ask(1), &permission);
    assert!(timeout(GRANT_TERM * 2, lease.lost()).await.is_err());
}

#[tokio::test]
async fn an_operator_that_went_away_cuts_nothing_early_and_holds_nothing_longer() {
    let (operator, link) = linked(granting(|heard| Step::Answer(held(heard)))).await;
    let permission = link.permission(1).await;
    let lease = link.leases.open(ask(1), &permission);
    until(|| operator.heard(RENEW_PATH).len() == 1).await;
    sleep(Duration::from_millis(100)).await;
    let (away, renewed) = (Instant::now(), operator.heard(RENEW_PATH).len());
    drop(operator);
    assert_eq!((renewed, lease.lost().await), (1, Refusal::GrantLapsed));
    let after = away.elapsed();
    assert!(after > GRANT_TERM * 9 / 10 && after < GRANT_TERM, "{after:?}");
}

#[tokio::test]
async fn a_late_answer_extends_nothing_beyond_its_own_sending() {
    let late = |heard: &Heard| Step::AnswerAfter(Duration::from_millis(300), held(heard));
    let renewed = AtomicUsize::new(0);
    let (_operator, link) = linked(granting(move |heard| {
        if renewed.fetch_add(1, Ordering::SeqCst) == 0 { late(heard) } else { Step::Silence }
    }))
    .await;
    let (_, after) = lost(&link, 1).await;
    // The renewal was sent within T/2 of the ask.
    assert!(after < GRANT_TERM * 3 / 2 + Duration::from_millis(100), "{after:?}");
}

#[tokio::test]
async fn open_calls_outlive_a_paused_replica() {
    // Connection 0 enrols, 1 grants and is paused, every later one is another replica.
    let (_operator, link) =
        linked(granting(
            |heard| {
                if heard.connection == 1 { Step::Freeze } else { Step::Answer(held(heard)) }
            },
        ))
        .await;
    let permission = link.permission(1).await;
    let lease = link.leases.open(ask(1), &permission);
    assert!(timeout(GRANT_TERM * 2, lease.lost()).await.is_err());
}
