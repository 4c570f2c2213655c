//! Client of the operator: asks before each call, renews what is open.
//!
//! An ask is sent at most once and its answer is used at most once. No answer in time is a refusal; nothing is ever
//! answered from memory.

mod connection;
pub(crate) mod dial;
mod line;
pub(crate) mod pause;
mod renewal;

use std::{mem, sync::Arc, time::Duration};

use bytes::Bytes;
use keylend_contract::{
    material::Material,
    plaintext::Plaintext,
    refusal::Refusal,
    wire::{self, ASK_PATH, Answer, Ask, Granted},
};
use tokio::time::{Instant, timeout};

use crate::{
    config::Config,
    fault::{Failure, Fault},
    identity::Identity,
    lease::{Leases, Permission},
};
use connection::PostError;
use dial::Dialer;
use line::Line;

/// How long an ask may wait, for a connection and for its answer: an app hears `operator_unreachable` within 2 s.
const ANSWER_LIMIT: Duration = Duration::from_millis(1_800);

/// The operator, as this sidecar reaches it. Clones share one connection.
#[derive(Clone)]
pub struct Operator {
    identity: Arc<Identity>,
    line: Arc<Line>,
}

impl Operator {
    /// The operator that `config` names, reached as `identity`.
    ///
    /// # Errors
    /// [`Fault`] if TLS cannot be configured.
    pub fn new(config: &Config, identity: Arc<Identity>) -> Result<Self, Fault> {
        let line = Line::new(Dialer::identified(config, identity.clone())?);
        Ok(Self { identity, line: Arc::new(line) })
    }

    /// Keeps the connection up for as long as it is polled.
    pub async fn keep_connected(&self) {
        self.line.keep(&self.identity).await;
    }

    /// Renews `leases` for as long as it is polled.
    pub async fn keep_renewing(&self, leases: &Leases) {
        renewal::keep(self, leases).await;
    }

    /// Asks whether a call may be made, and with what.
    ///
    /// # Errors
    /// The operator's refusal; [`Refusal::OperatorUnreachable`] without an answer in time; [`Fault`] for an answer that
    /// is not understood.
    pub async fn ask(&self, ask: &Ask) -> Result<Permission, Failure> {
        self.identity.enrolled()?;
        let message = wire::encode(ask, &[]).map_err(|error| Fault::new("writing an ask", error))?;
        let answer = timeout(ANSWER_LIMIT, self.line.post_once(ASK_PATH, Bytes::from_owner(message))).await;
        let (sent, answer) = answer.map_err(|_| Refusal::OperatorUnreachable)?.map_err(unanswered)?;
        let (answer, values) =
            wire::decode(&answer).map_err(|error| Fault::new("reading an answer", error))?;
        match answer {
            Answer::Granted(granted) => Ok(permission(*granted, values, sent)?),
            Answer::Refused(refusal) => {
                if refusal == Refusal::CallerUnknown {
                    self.identity.doubt();
                }
                Err(refusal.into())
            }
        }
    }
}

/// Reads a grant; one that no share's permit stands behind is none.
fn permission(mut granted: Granted, values: Vec<Plaintext>, sent: Instant) -> Result<Permission, Fault> {
    if granted.permits.is_empty() {
        return Err(Fault::new("reading a grant", "it has no permit"));
    }
    let headers = mem::take(&mut granted.headers);
    Ok(Permission { granted, material: Material { headers, values }, sent })
}

fn unanswered(error: PostError) -> Failure {
    match error {
        PostError::Unprocessed | PostError::Lost(_) => Refusal::OperatorUnreachable.into(),
        PostError::Status(_) | PostError::TooLong | PostError::Covered(_) => {
            Fault::new("asking the operator", error).into()
        }
    }
}
