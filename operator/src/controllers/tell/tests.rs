//! Which conditions are worth an event: those that newly say that something is wrong.

use std::time::Duration;

use keylend_api_server::ApiServer;

use super::*;

/// The types and reasons of the events in `payments` so far, once there are so many; not for ever.
pub(crate) async fn events(api: &ApiServer, count: usize) -> Vec<String> {
    let events = || api.list("/apis/events.k8s.io/v1/namespaces/payments/events");
    for _ in 0..500 {
        if events().len() >= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    events()
        .iter()
        .map(|event| format!("{} {}", event["type"].as_str().unwrap(), event["reason"].as_str().unwrap()))
        .collect()
}

fn condition(type_: ConditionType, status: ConditionStatus, reason: Reason, message: &str) -> Condition {
    Condition {
        type_,
        status,
        reason,
        message: message.to_owned(),
        last_transition_time: "2026-01-01T00:00:00Z".to_owned(),
        observed_generation: 1,
    }
}

#[test]
fn only_what_is_newly_wrong_is_a_worry() {
    use ConditionStatus::{False, True};
    use ConditionType::{Accepted, Ready, Revoked, SourceStale};
    let missing = || condition(Ready, False, Reason::SecretMissing, "create it");
    // (before, after, worries)
    let table = [
        (vec![], missing(), 1),
        (vec![missing()], missing(), 0),
        (vec![condition(Ready, False, Reason::SecretMissing, "create another")], missing(), 1),
        (vec![condition(Ready, True, Reason::Active, "")], missing(), 1),
        (vec![missing()], condition(Ready, True, Reason::Active, ""), 0),
        (vec![], condition(Ready, False, Reason::NoValue, ""), 0),
        (vec![], condition(Ready, False, Reason::Stopping, ""), 0),
        (vec![], condition(Ready, False, Reason::BlobRefused, ""), 1),
        (vec![], condition(SourceStale, True, Reason::OlderThanLive, ""), 1),
        (vec![], condition(SourceStale, False, Reason::InSync, ""), 0),
        (vec![], condition(Accepted, False, Reason::AwaitingRecipient, ""), 0),
        (vec![], condition(Revoked, False, Reason::NotStopped, ""), 0),
    ];
    for (before, after, expected) in table {
        let after = [after];
        assert_eq!(worries(&before, &after).count(), expected, "{:?} {before:?}", after[0]);
    }
}
