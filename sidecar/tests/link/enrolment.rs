//! Enrolment: retried until it holds, renewed by the same key.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use keylend_contract::{
    refusal::Refusal,
    wire::{ASK_PATH, ENROL_PATH, EnrolAnswer, OPERATOR_SERVER_NAME},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use crate::{
    scripted_operator::{Authority, Heard, ScriptedOperator, Step, encoded},
    sidecar::{HOUR, Link, no, until, within, yes},
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
    let stage = Arc::new(AtomicUsize::new(0));
    let script = stage.clone();
    let operator = operator(&authority, move |heard| match heard.path.as_str() {
        ENROL_PATH => match (script.load(Ordering::SeqCst), tried.fetch_add(1, Ordering::SeqCst)) {
            (0, 0) => not_enrolled(Refusal::EnrolmentPending),
            (0, _) => not_enrolled(Refusal::PoliciesMissing),
            (1, _) => Step::Status(500, vec![]),
            (2, _) => Step::Reset,
            _ => Step::Answer(enrolling.enrolled(&heard.enrol(), HOUR)),
        },
        _ => yes(),
    })
    .await;
    let link = Link::start(&authority, "127.0.0.1", operator.address.port());
    assert_eq!(link.refusal(1).await, Refusal::EnrolmentPending);
    until(|| link.identity.enrolled() == Err(Refusal::PoliciesMissing)).await;
    assert_eq!(link.refusal(2).await, Refusal::PoliciesMissing);
    for failing in [1, 2] {
        stage.store(failing, Ordering::SeqCst);
        let tried = operator.heard(ENROL_PATH).len();
        until(|| operator.heard(ENROL_PATH).len() > tried).await;
        until(|| link.identity.enrolled() == Err(Refusal::OperatorUnreachable)).await;
    }
    assert_eq!(operator.heard(ASK_PATH).len(), 0);
    stage.store(3, Ordering::SeqCst);
    let link = link.enrolled().await;
    link.permission(3).await;
    let keys: Vec<_> = operator.heard(ENROL_PATH).iter().map(|heard| heard.enrol().public_key).collect();
    assert!(keys.len() >= 5);
    assert!(keys.iter().all(|key| *key == keys[0]), "a try made another key");
}

#[tokio::test]
async fn the_token_is_read_anew_each_time() {
    let authority = Authority::new();
    let (written, first) = (Arc::new(Notify::new()), AtomicBool::new(true));
    let pending = || encoded(&EnrolAnswer::Refused(Refusal::EnrolmentPending), &[]);
    let once_written = written.clone();
    let operator = operator(&authority, move |_| {
        let first = first.swap(false, Ordering::SeqCst);
        if first { Step::AnswerOn(once_written.clone(), pending()) } else { Step::Answer(pending()) }
    })
    .await;
    let link = Link::start(&authority, "127.0.0.1", operator.address.port());
    until(|| operator.heard(ENROL_PATH).len() == 1).await;
    std::fs::write(&link.token.0, "kl-test-token-2\n").unwrap();
    written.notify_one();
    until(|| operator.heard(ENROL_PATH).len() >= 2).await;
    let tokens: Vec<_> = operator.heard(ENROL_PATH).iter().map(|heard| heard.enrol().token).collect();
    assert_eq!(tokens[..2], ["kl-test-token", "kl-test-token-2"]);
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
    let begun = Instant::now();
    let link = Link::start(&authority, "127.0.0.1", operator.address.port()).enrolled().await;
    link.permission(1).await;
    let first = operator.heard(ASK_PATH)[0].certificate.clone();
    let used = async {
        while operator.heard(ASK_PATH).last().unwrap().certificate == first {
            sleep(Duration::from_millis(50)).await;
            link.permission(2).await;
        }
    };
    assert!(within(Duration::from_secs(3), used).await.is_some());
    let enrolments = operator.heard(ENROL_PATH);
    assert!(enrolments[1].at >= begun + Duration::from_secs(2));
    assert_eq!(enrolments[0].enrol().public_key, enrolments[1].enrol().public_key);
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
