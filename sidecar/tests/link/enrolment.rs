//! Enrolment: retried until it holds, renewed by the same key.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use keylend_contract::{
    refusal::Refusal,
    wire::{ASK_PATH, ENROL_PATH, EnrolAnswer, OPERATOR_SERVER_NAME},
};
use tokio::time::sleep;

use crate::{
    scripted_operator::{Authority, Heard, ScriptedOperator, Step, encoded},
    sidecar::{HOUR, Link, no, until, yes},
};

async fn operator(
    authority: &Authority,
    script: impl Fn(&Heard) -> Step + Send + Sync + 'static,
) -> ScriptedOperator {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    ScriptedOperator::start(authority, OPERATOR_SERVER_NAME, any, script).await
}

fn not_enrolled(refusal: Refusal) -> Step {
    Step::Answer(encoded(&EnrolAnswer::Refused(refusal), &[]))
}

#[tokio::test]
async fn enrolment_is_tried_until_it_holds_and_no_ask_is_sent_before() {
    let authority = Authority::new();
    let (tried, enrolling) = (AtomicUsize::new(0), authority.clone());
    let operator = operator(&authority, move |heard| match heard.path.as_str() {
        ENROL_PATH => match tried.fetch_add(1, Ordering::SeqCst) {
            0 => not_enrolled(Refusal::EnrolmentPending),
            1 => not_enrolled(Refusal::PoliciesMissing),
            2 => Step::Status(500, vec![]),
            3 => Step::Reset,
            _ => Step::Answer(enrolling.enrolled(&heard.enrol(), HOUR)),
        },
        _ => yes(),
    })
    .await;
    let link = Link::start(&authority, "127.0.0.1", operator.address.port());
    assert_eq!(link.refusal(1).await, Refusal::EnrolmentPending);
    until(|| link.identity.enrolled() == Err(Refusal::PoliciesMissing)).await;
    assert_eq!(link.refusal(2).await, Refusal::PoliciesMissing);
    until(|| link.identity.enrolled() == Err(Refusal::OperatorUnreachable)).await;
    assert_eq!(operator.heard(ASK_PATH).len(), 0);
    let link = link.enrolled().await;
    link.permission(3).await;
    let keys: Vec<_> = operator.heard(ENROL_PATH).iter().map(|heard| heard.enrol().public_key).collect();
    assert_eq!(keys.len(), 5);
    assert!(keys.iter().all(|key| *key == keys[0]), "a try made another key");
}

#[tokio::test]
async fn the_token_is_read_anew_each_time() {
    let authority = Authority::new();
    let operator = operator(&authority, |_| not_enrolled(Refusal::EnrolmentPending)).await;
    let link = Link::start(&authority, "127.0.0.1", operator.address.port());
    until(|| operator.heard(ENROL_PATH).len() == 1).await;
    std::fs::write(&link.token.0, "kl-test-token-2\n").unwrap();
    until(|| operator.heard(ENROL_PATH).len() == 2).await;
    let tokens: Vec<_> = operator.heard(ENROL_PATH).iter().map(|heard| heard.enrol().token).collect();
    assert_eq!(tokens, ["kl-test-token", "kl-test-token-2"]);
}

#[tokio::test]
async fn the_certificate_is_renewed_at_half_its_life_by_the_same_key_and_used_from_then_on() {
    let authority = Authority::new();
    let enrolling = authority.clone();
    let operator = operator(&authority, move |heard| match heard.path.as_str() {
        ENROL_PATH => Step::Answer(enrolling.enrolled(&heard.enrol(), Duration::from_secs(4))),
        _ => yes(),
    })
    .await;
    let link = Link::start(&authority, "127.0.0.1", operator.address.port()).enrolled().await;
    link.permission(1).await;
    sleep(Duration::from_millis(1_500)).await;
    assert_eq!(operator.heard(ENROL_PATH).len(), 1);
    until(|| operator.heard(ENROL_PATH).len() == 2).await;
    sleep(Duration::from_millis(300)).await;
    link.permission(2).await;
    let enrolments = operator.heard(ENROL_PATH);
    assert_eq!(enrolments[0].enrol().public_key, enrolments[1].enrol().public_key);
    let asks = operator.heard(ASK_PATH);
    assert_ne!(asks[0].certificate, asks[1].certificate);
}

#[tokio::test]
async fn a_caller_that_is_not_known_enrols_again() {
    let authority = Authority::new();
    let (asked, enrolling) = (AtomicUsize::new(0), authority.clone());
    let operator = operator(&authority, move |heard| match heard.path.as_str() {
        ENROL_PATH => Step::Answer(enrolling.enrolled(&heard.enrol(), HOUR)),
        _ if asked.fetch_add(1, Ordering::SeqCst) == 0 => no(Refusal::CallerUnknown),
        _ => yes(),
    })
    .await;
    let link = Link::start(&authority, "127.0.0.1", operator.address.port()).enrolled().await;
    assert_eq!(link.refusal(1).await, Refusal::CallerUnknown);
    until(|| operator.heard(ENROL_PATH).len() == 2).await;
    link.permission(2).await;
    sleep(Duration::from_millis(1_200)).await;
    assert_eq!(operator.heard(ENROL_PATH).len(), 2);
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let authority = Authority::new();
    let operator = operator(&authority, |_| Step::Silence).await;
    let link = Link::start(&authority, "127.0.0.1", operator.address.port());
    std::fs::remove_file(&link.token.0).unwrap();
    sleep(Duration::from_millis(500)).await;
    assert_eq!(link.refusal(1).await, Refusal::EnrolmentPending);
    assert_eq!(operator.heard(ENROL_PATH).len(), 0);
}
