//! Renewals: an open call goes on only by the operator's word.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use keylend_contract::{
    refusal::Refusal,
    wire::{ASK_PATH, ENROL_PATH, GRANT_TERM, RENEW_PATH, RenewAnswer, Verdict},
};
use keylend_sidecar::lease::Lease;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::{
    scripted_operator::{Heard, Step, encoded},
    sidecar::{Link, ask, granted, granting, linked, until, within, yes},
};

fn verdicts(verdicts: Vec<Verdict>) -> Vec<u8> {
    encoded(&RenewAnswer { verdicts }, &[])
}

/// The answer that lets every call of a renewal go on.
fn held(heard: &Heard) -> Vec<u8> {
    verdicts(heard.renew().calls.iter().map(|_| Verdict::Held(2_000)).collect())
}

/// A script that grants every ask and does `renewal` with the others.
fn granting_all(
    renewal: impl Fn(&Heard) -> Step + Send + Sync + 'static,
) -> impl Fn(&Heard) -> Step + Send + Sync {
    move |heard| if heard.path == ASK_PATH { yes() } else { renewal(heard) }
}

/// A script that grants every ask, does `first` with the first renewal, and nothing with the others.
fn renewing_once(
    first: impl Fn(&Heard) -> Step + Send + Sync + 'static,
) -> impl Fn(&Heard) -> Step + Send + Sync {
    let renewals = AtomicUsize::new(0);
    granting_all(
        move |heard| {
            if renewals.fetch_add(1, Ordering::SeqCst) == 0 { first(heard) } else { Step::Silence }
        },
    )
}

/// Opens a call; gives back until when its grant holds as well.
async fn open(link: &Link, number: u128) -> (Lease, Instant) {
    let permission = link.permission(number).await;
    (link.leases.open(ask(number), &permission), permission.sent + GRANT_TERM)
}

/// Until when a renewal holds the call of `lease`, which its grant holds until `granted`.
async fn renewed(lease: &Lease, granted: Instant) -> Instant {
    // A lease that was lost says that it holds until now.
    until(|| lease.held_until() > granted.max(Instant::now())).await;
    lease.held_until()
}

/// Waits until the hold of `lease` is lost, which must be at `end`: it is looked at as soon as a timer for `end` fires.
async fn lost_at(end: Instant, lease: &Lease) -> Refusal {
    let lost = timeout_at(end, lease.lost()).await;
    assert!(lost.is_err() || Instant::now() >= end, "it was held for less: {lost:?}");
    lost.unwrap()
}

#[tokio::test]
async fn a_call_that_is_renewed_goes_on_and_one_that_ended_is_not_renewed() {
    let (operator, link) = linked(granting_all(|heard| Step::Answer(held(heard)))).await;
    let permission = link.permission(1).await;
    let lease = link.leases.open(ask(1), &permission);
    assert!(timeout(GRANT_TERM * 2, lease.lost()).await.is_err());
    drop(lease);
    sleep(GRANT_TERM / 2).await;
    let renewed = operator.heard(RENEW_PATH);
    let call = &renewed[0].renew().calls[0];
    assert_eq!((call.ask.clone(), call.basis.clone()), (ask(1), granted().basis()));
    sleep(GRANT_TERM).await;
    assert_eq!(operator.heard(RENEW_PATH).len(), renewed.len());
}

#[tokio::test]
async fn all_open_calls_are_renewed_in_one_message() {
    let (operator, link) = linked(granting_all(|heard| Step::Answer(held(heard)))).await;
    let mut leases = Vec::new();
    for number in 0..20 {
        let permission = link.permission(number).await;
        leases.push(link.leases.open(ask(number), &permission));
    }
    until(|| operator.heard(RENEW_PATH).iter().any(|heard| heard.renew().calls.len() == 20)).await;
}

#[tokio::test]
async fn a_call_whose_grant_came_late_is_renewed_before_its_hold_ends() {
    // A renewal of all comes every T/2, so that one of the four has none between its grant and the end of its hold.
    const LATE: Duration = Duration::from_millis(1_300);
    let (operator, link) = linked(|heard| match heard.path.as_str() {
        ASK_PATH => Step::AnswerAfter(LATE, granting()),
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
    let (operator, link) =
        linked(granting_all(move |_| Step::Answer(verdicts(vec![Verdict::Cut(said.clone())])))).await;
    let (lease, _) = open(&link, 1).await;
    assert_eq!(within(GRANT_TERM * 3 / 4, lease.lost()).await, Some(revoked));
    assert_eq!(operator.heard(RENEW_PATH).len(), 1);
}

#[tokio::test]
async fn a_caller_that_is_not_known_any_more_enrols_again() {
    let (operator, link) =
        linked(granting_all(|_| Step::Answer(verdicts(vec![Verdict::Cut(Refusal::CallerUnknown)])))).await;
    let (lease, end) = open(&link, 1).await;
    assert_eq!(timeout_at(end, lease.lost()).await, Ok(Refusal::CallerUnknown));
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
        let (operator, link) = linked(granting_all(move |_| step())).await;
        let (lease, end) = open(&link, 1).await;
        let refusal = lost_at(end, &lease).await;
        (refusal, operator.heard(RENEW_PATH).len())
    });
    for (refusal, renewals) in join_all(lost).await {
        assert_eq!(refusal, Refusal::GrantLapsed);
        assert!(renewals >= 1);
    }
}

#[tokio::test]
async fn an_answer_that_decides_nothing_cuts_nothing_while_every_second_one_does() {
    let renewals = AtomicUsize::new(0);
    let (_operator, link) =
        linked(granting_all(move |heard| match renewals.fetch_add(1, Ordering::SeqCst) % 2 {
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
    let (operator, link) = linked(renewing_once(|heard| Step::Answer(held(heard)))).await;
    let (lease, granted) = open(&link, 1).await;
    let end = renewed(&lease, granted).await;
    assert!(end <= operator.heard(RENEW_PATH)[0].at + GRANT_TERM);
    drop(operator);
    assert_eq!(lost_at(end, &lease).await, Refusal::GrantLapsed);
}

#[tokio::test]
async fn a_late_answer_extends_nothing_beyond_its_own_sending() {
    let late = |heard: &Heard| Step::AnswerAfter(Duration::from_millis(300), held(heard));
    let (operator, link) = linked(renewing_once(late)).await;
    let (lease, granted) = open(&link, 1).await;
    let end = renewed(&lease, granted).await;
    assert!(end <= operator.heard(RENEW_PATH)[0].at + GRANT_TERM);
    assert_eq!(lost_at(end, &lease).await, Refusal::GrantLapsed);
}

#[tokio::test]
async fn open_calls_outlive_a_paused_replica() {
    // Connection 0 enrols, 1 grants and is paused, every later one is another replica.
    let (_operator, link) =
        linked(granting_all(
            |heard| {
                if heard.connection == 1 { Step::Freeze } else { Step::Answer(held(heard)) }
            },
        ))
        .await;
    let permission = link.permission(1).await;
    let lease = link.leases.open(ask(1), &permission);
    assert!(timeout(GRANT_TERM * 2, lease.lost()).await.is_err());
}
