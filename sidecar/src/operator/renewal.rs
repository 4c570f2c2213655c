//! Renews the open calls: one message every T/2, and one out of turn for calls whose grants came late.
//!
//! A renewal may be sent again, on another connection: only its answer extends anything, and only from when it was
//! sent. Whatever goes wrong here renews nothing, and each lease runs out by itself.

use std::time::Duration;

use bytes::Bytes;
use keylend_contract::{
    refusal::Refusal,
    wire::{
        self, GRANT_TERM, MAX_RENEWED_CALLS, OpenCall, RENEW_PATH, Renew, RenewAnswer, Verdict, WIRE_VERSION,
        WireError,
    },
};
use tokio::{
    pin,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use super::{
    Operator,
    connection::{Connection, PostError},
};
use crate::{fault::with_causes, lease::Leases};

/// A renewal without an answer for so long is sent to another replica as well, while that can still help; so is one whose
/// answer decides nothing, after this time.
const PATIENCE: Duration = Duration::from_millis(500);

/// One renewal, ready to be sent.
struct Message {
    calls: Vec<OpenCall>,
    bytes: Bytes,
}

/// Why a renewal renewed nothing.
#[derive(Debug, thiserror::Error)]
enum RenewError {
    #[error(transparent)]
    Post(#[from] PostError),
    #[error("the operator's verdicts are not understood")]
    Answer(#[source] WireError),
}

/// Renews for as long as it is polled.
pub(super) async fn keep(operator: &Operator, leases: &Leases) {
    let mut due = interval(GRANT_TERM / 2);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut renewals = JoinSet::new();
    let each = |calls: &[OpenCall]| {
        messages(calls).into_iter().map(|message| (operator.clone(), leases.clone(), message))
    };
    loop {
        tokio::select! {
            _ = due.tick() => {
                for (operator, leases, message) in each(&leases.open_calls()) {
                    renewals.spawn(async move { in_time(renew(&operator, &leases, &message)).await });
                }
            }
            late = leases.opened_late() => {
                for (operator, leases, message) in each(&late) {
                    renewals.spawn(async move { in_time(once(&operator, &leases, &message)).await });
                }
            }
            Some(_) = renewals.join_next() => {}
        }
    }
}

/// An answer later than this is of no use to any of the calls.
async fn in_time(renewal: impl Future<Output = ()>) {
    let _ = timeout(GRANT_TERM, renewal).await;
}

/// Renews the calls of one message, by a second replica if the first is silent, gone or undecided.
async fn renew(operator: &Operator, leases: &Leases, message: &Message) {
    let connection = operator.line.connection().await;
    let first = send(operator, &connection, leases, message);
    pin!(first);
    match timeout(PATIENCE, &mut first).await {
        Ok(Ok(undecided)) if undecided.is_empty() => {}
        Ok(Ok(undecided)) => {
            operator.line.doubt(&connection);
            sleep(PATIENCE).await;
            for message in messages(&undecided) {
                once(operator, leases, &message).await;
            }
        }
        Ok(Err(RenewError::Post(PostError::Unprocessed | PostError::Lost(_)))) => {
            operator.line.doubt(&connection);
            once(operator, leases, message).await;
        }
        Ok(Err(error)) => tell(&error),
        Err(_) => {
            operator.line.doubt(&connection);
            tokio::join!(async { told(first.await) }, once(operator, leases, message));
        }
    }
}

/// Renews the calls of one message by whatever connection there is, and doubts none.
async fn once(operator: &Operator, leases: &Leases, message: &Message) {
    let connection = operator.line.connection().await;
    told(send(operator, &connection, leases, message).await);
}

/// Gives back the calls that the answer decides nothing about.
async fn send(
    operator: &Operator,
    connection: &Connection,
    leases: &Leases,
    message: &Message,
) -> Result<Vec<OpenCall>, RenewError> {
    let sent = Instant::now();
    let answer = connection.post(RENEW_PATH, message.bytes.clone()).await?;
    let (answer, _) = wire::decode::<RenewAnswer>(&answer).map_err(RenewError::Answer)?;
    if answer.verdicts.contains(&Verdict::Cut(Refusal::CallerUnknown)) {
        operator.identity.doubt();
    }
    let undecided = undecided(&message.calls, &answer);
    leases.renewed(&message.calls, sent, answer);
    Ok(undecided)
}

fn undecided(calls: &[OpenCall], answer: &RenewAnswer) -> Vec<OpenCall> {
    let verdicts = calls.iter().zip(&answer.verdicts);
    verdicts.filter(|(_, verdict)| **verdict == Verdict::Undecided).map(|(call, _)| call.clone()).collect()
}

/// There is no third attempt: each lease runs out by itself.
fn told(sent: Result<Vec<OpenCall>, RenewError>) {
    if let Err(error) = sent {
        tell(&error);
    }
}

fn tell(error: &RenewError) {
    tracing::warn!(cause = with_causes(error), "open calls were not renewed");
}

/// Writes as few messages as hold all of `calls`.
fn messages(calls: &[OpenCall]) -> Vec<Message> {
    let mut messages = Vec::new();
    for calls in calls.chunks(MAX_RENEWED_CALLS) {
        push(calls, &mut messages);
    }
    messages
}

fn push(calls: &[OpenCall], messages: &mut Vec<Message>) {
    let renew = Renew { version: WIRE_VERSION, calls: calls.to_vec() };
    match wire::encode(&renew, &[]) {
        Ok(bytes) => messages.push(Message { calls: renew.calls, bytes: Bytes::from_owner(bytes) }),
        Err(_) if calls.len() > 1 => {
            let (one, two) = calls.split_at(calls.len() / 2);
            push(one, messages);
            push(two, messages);
        }
        Err(error) => {
            tracing::error!(%error, "a call is too long to be renewed");
        }
    }
}

#[cfg(test)]
mod tests {
    use keylend_contract::wire::{Ask, Basis, CallId, HeadersDigest, HeldShare, Target, Trace};
    use uuid::Uuid;

    use super::*;

    fn calls(count: u128, path_length: usize) -> Vec<OpenCall> {
        let call = |number| OpenCall {
            ask: Ask {
                version: WIRE_VERSION,
                call: CallId(Uuid::from_u128(number)),
                trace: Trace { trace_id: "1".repeat(32), span_id: "1".repeat(16) },
                target: Target::Route("stripe".into()),
                method: "GET".into(),
                path: "/".repeat(path_length),
            },
            basis: Basis {
                destination: "https://api.example.com".parse().unwrap(),
                shares: vec![HeldShare { uid: "5b1e7f0a-0000-4000-8000-000000000001".into(), generation: 3 }],
                headers: HeadersDigest::of(&[]),
            },
        };
        (0..count).map(call).collect()
    }

    #[test]
    fn every_open_call_is_in_exactly_one_message_within_its_bounds() {
        // (open calls, length of their paths, messages)
        for (count, path_length, expected) in
            [(0, 1, 0), (1, 1, 1), (256, 1, 1), (257, 1, 2), (256, 2_000, 4)]
        {
            let calls = calls(count, path_length);
            let messages = messages(&calls);
            assert_eq!(messages.len(), expected, "{count} {path_length}");
            for message in &messages {
                let (renew, values) = wire::decode::<Renew>(&message.bytes).unwrap();
                assert_eq!((renew.calls, values.len()), (message.calls.clone(), 0));
                assert!(message.calls.len() <= MAX_RENEWED_CALLS);
            }
            assert_eq!(messages.into_iter().flat_map(|message| message.calls).collect::<Vec<_>>(), calls);
        }
    }
}
