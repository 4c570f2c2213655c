//! Asks: at most once, in time, and only by an operator that proves its name.

use std::{
    cell::Cell,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use keylend_contract::{
    refusal::Refusal,
    wire::{ASK_PATH, Answer, ENROL_PATH, OPERATOR_SERVER_NAME},
};
use keylend_sidecar::fault::Failure;
use tokio::time::timeout;

use crate::{
    scripted_operator::{Authority, ScriptedOperator, Step, encoded},
    sidecar::{Link, ask, granted, granting, linked, no, own_address, replica, until, within, yes},
};

/// What an app is promised to hear within, whatever the operator does.
const PROMISED: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_grant_arrives_with_its_value() {
    let (operator, link) = linked(|_| yes()).await;
    let before = tokio::time::Instant::now();
    let permission = link.permission(7).await;
    assert!(before <= permission.sent && permission.sent <= tokio::time::Instant::now());
    let header = &permission.material.headers[0];
    assert_eq!(permission.material.render(header).unwrap().as_slice(), b"Bearer kl-test-value");
    assert_eq!(operator.heard(ASK_PATH).len(), 1);
    assert_eq!(operator.heard(ASK_PATH)[0].ask(), ask(7));
}

#[tokio::test]
async fn a_grant_counts_from_before_its_ask_was_sent() {
    let wait = Duration::from_millis(300);
    let (_operator, link) = linked(move |_| Step::AnswerAfter(wait, granting())).await;
    assert!(link.permission(1).await.sent.elapsed() >= wait);
}

#[tokio::test]
async fn a_refusal_arrives_as_it_is() {
    let revoked = Refusal::ShareRevoked { secret: "stripe".into() };
    let said = revoked.clone();
    let (_operator, link) = linked(move |_| no(said.clone())).await;
    assert_eq!(link.refusal(1).await, revoked);
}

#[tokio::test]
async fn one_connection_carries_all_asks() {
    let (operator, link) = linked(|_| yes()).await;
    for number in 0..20 {
        link.permission(number).await;
    }
    // The other one enrolled.
    assert_eq!(operator.connections(), 2);
}

#[tokio::test]
async fn a_silent_operator_is_unreachable_within_two_seconds_and_is_asked_once() {
    let (operator, link) = linked(|_| Step::Silence).await;
    assert_eq!(timeout(PROMISED, link.refusal(1)).await, Ok(Refusal::OperatorUnreachable));
    assert_eq!(operator.heard(ASK_PATH).len(), 1);
}

#[tokio::test]
async fn an_ask_whose_connection_broke_is_not_sent_again_and_the_next_one_is_answered() {
    let asked = AtomicUsize::new(0);
    let (operator, link) =
        linked(move |_| if asked.fetch_add(1, Ordering::SeqCst) == 0 { Step::Reset } else { yes() }).await;
    assert_eq!(link.refusal(1).await, Refusal::OperatorUnreachable);
    link.permission(2).await;
    let asks: Vec<_> = operator.heard(ASK_PATH).iter().map(|heard| heard.ask().call).collect();
    assert_eq!(asks, [ask(1).call, ask(2).call]);
}

#[tokio::test]
async fn a_draining_operator_fails_no_ask() {
    let (operator, link) = linked(|_| Step::AnswerAfter(Duration::from_millis(20), granting())).await;
    let (asked, drained) = (Cell::new(0), Cell::new(false));
    let asks = (0..10).map(async |_| {
        while !drained.get() {
            let number = asked.replace(asked.get() + 1);
            link.permission(number).await;
        }
    });
    let drains = async {
        // One enrolled, and one was there first.
        for connections in 2..7 {
            until(|| operator.connections() == connections).await;
            let heard = operator.heard(ASK_PATH).len();
            until(|| operator.heard(ASK_PATH).len() > heard + 10).await;
            operator.drain();
        }
        drained.set(true);
    };
    tokio::join!(join_all(asks), drains);
    assert_eq!(operator.heard(ASK_PATH).len() as u128, asked.get());
}

#[tokio::test]
async fn what_is_not_understood_is_a_fault() {
    let mut truncated = encoded(&Answer::Granted(Box::new(granted())), &[]);
    truncated.pop();
    let mut unpermitted = granted();
    unpermitted.permits.clear();
    let newer = |text: &str| {
        let mut bytes = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(text.as_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes
    };
    let steps = [
        Step::Answer(vec![]),
        Step::Answer(b"nonsense".to_vec()),
        Step::Answer(truncated),
        Step::Answer(encoded(&Answer::Granted(Box::new(unpermitted)), &[])),
        Step::Answer(newer(r#"{"postponed":{}}"#)),
        Step::Answer(newer(r#"{"refused":{"code":"something_newer"}}"#)),
        Step::Answer(vec![0; 64 * 1024 * 1024]),
        // As it is, without the veil.
        Step::Status(200, granting()),
        Step::Status(500, granting()),
        Step::Status(404, granting()),
        Step::Status(203, granting()),
        Step::Status(307, granting()),
    ];
    let count = steps.len() as u128;
    let steps = std::sync::Mutex::new(steps.into_iter());
    let (_operator, link) = linked(move |_| steps.lock().unwrap().next().unwrap()).await;
    for number in 0..count {
        assert!(matches!(link.operator.ask(&ask(number)).await, Err(Failure::Broke(_))), "{number}");
    }
}

#[tokio::test]
async fn a_paused_replica_is_left_for_another_within_two_seconds() {
    let (operator, link) = linked(|heard| if heard.connection == 1 { Step::Freeze } else { yes() }).await;
    let left = async {
        assert_eq!(link.refusal(1).await, Refusal::OperatorUnreachable);
        link.permission(2).await;
    };
    assert!(within(PROMISED, left).await.is_some());
    assert_eq!(operator.connections(), 3);
}

#[tokio::test]
async fn while_the_operator_is_away_asks_are_refused_in_time_and_answered_once_it_is_back() {
    let authority = Authority::new();
    let first = replica(&authority, SocketAddr::from((own_address(), 0)), |_| yes()).await;
    let address = first.address;
    let link = Link::start(&authority, &address.ip().to_string(), address.port()).enrolled().await;
    link.permission(1).await;
    drop(first);
    for number in [2, 3] {
        assert_eq!(timeout(PROMISED, link.refusal(number)).await, Ok(Refusal::OperatorUnreachable));
    }
    let _second = replica(&authority, address, |_| yes()).await;
    link.permission(4).await;
}

#[tokio::test]
async fn an_operator_that_cannot_prove_its_name_hears_nothing() {
    let authority = Authority::new();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    // (who certifies it, its name)
    for (certifies, name) in [(&Authority::new(), OPERATOR_SERVER_NAME), (&authority, "operator.example.com")]
    {
        let impostor = ScriptedOperator::start(certifies, name, any, |_| Step::Silence).await;
        let link = Link::start(&authority, "127.0.0.1", impostor.address.port());
        until(|| link.identity.enrolled() == Err(Refusal::OperatorUnreachable)).await;
        assert_eq!(link.refusal(1).await, Refusal::OperatorUnreachable);
        assert_eq!((impostor.connections(), impostor.heard(ENROL_PATH).len()), (0, 0), "{name}");
    }
}
