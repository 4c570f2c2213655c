//! Gets the container's key certified, and keeps it so.
//!
//! The token file is read anew each time, because the kubelet replaces it. Nothing is given up: whatever stands in the
//! way, a pod without a policy or an operator that is away, may pass.

use std::{error::Error, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use keylend_contract::{
    refusal::Refusal,
    wire::{self, ENROL_PATH, EnrolAnswer},
};
use rustls_pki_types::CertificateDer;
use tokio::time::{Instant, sleep, timeout};
use zeroize::Zeroizing;

use super::Identity;
use crate::{
    config::Config,
    fault::{Fault, with_causes},
    operator::{dial::Dialer, pause::Pause},
};

/// How long one try may take.
const TRY_LIMIT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A refusal that is not expected to pass is an alarm row at the operator each time.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);
/// A certificate younger than this is not renewed, whatever is said of it.
const SETTLED: Duration = Duration::from_secs(1);

/// Enrols an [`Identity`] again and again.
pub struct Enrolment {
    identity: Arc<Identity>,
    dialer: Dialer,
    token: PathBuf,
}

/// Why a try failed: what calls are refused with meanwhile, and what an administrator reads.
#[derive(Clone, PartialEq, Eq)]
struct NotEnrolled {
    refusal: Refusal,
    cause: String,
}

impl NotEnrolled {
    fn unreachable(error: &dyn Error) -> Self {
        Self { refusal: Refusal::OperatorUnreachable, cause: with_causes(error) }
    }
}

impl From<Refusal> for NotEnrolled {
    fn from(refusal: Refusal) -> Self {
        Self { cause: refusal.to_string(), refusal }
    }
}

impl From<Fault> for NotEnrolled {
    fn from(fault: Fault) -> Self {
        Self { refusal: Refusal::EnrolmentPending, cause: with_causes(&fault) }
    }
}

impl Enrolment {
    /// Enrols `identity` by the token of `config`.
    ///
    /// # Errors
    /// [`Fault`] if TLS cannot be configured.
    pub fn new(config: &Config, identity: Arc<Identity>) -> Result<Self, Fault> {
        Ok(Self { identity, dialer: Dialer::anonymous(config)?, token: config.token.clone() })
    }

    /// Keeps the identity enrolled for as long as it is polled.
    pub async fn keep(&self) {
        let mut pause = Pause::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut told = None;
        loop {
            match self.enrol().await {
                Ok(life) => {
                    tracing::info!(valid_for_seconds = life.as_secs(), "enrolled");
                    pause.reset();
                    told = None;
                    self.until_due(life).await;
                }
                Err(error) => {
                    if told.as_ref() != Some(&error) {
                        tracing::warn!(code = error.refusal.code(), cause = error.cause, "not enrolled");
                        told = Some(error.clone());
                    }
                    let wait = pause.next();
                    let wait = if passes_by_itself(&error.refusal) { wait } else { REFUSED_PAUSE };
                    self.identity.refused(error.refusal);
                    sleep(wait).await;
                }
            }
        }
    }

    async fn until_due(&self, life: Duration) {
        let doubted = async {
            sleep(SETTLED).await;
            self.identity.doubts.notified().await;
        };
        tokio::select! {
            () = sleep((life / 2).max(SETTLED)) => {}
            () = doubted => {}
        }
    }

    /// Enrols once. The certificate's life is counted from before it was asked for.
    async fn enrol(&self) -> Result<Duration, NotEnrolled> {
        let begun = Instant::now();
        let token = tokio::fs::read_to_string(&self.token).await.map(Zeroizing::new);
        let token = token.map_err(|error| Fault::new("reading the token", error))?;
        let enrol = self.identity.enrol(token.trim_end())?;
        let message =
            wire::encode(&enrol, &[]).map_err(|error| Fault::new("writing the enrolment", error))?;
        let answer = timeout(TRY_LIMIT, self.post(Bytes::from_owner(message))).await;
        let (chain, life) = match answer.map_err(|_| Refusal::OperatorUnreachable)?? {
            EnrolAnswer::Enrolled { chain, valid_for_seconds } => (chain, valid_for_seconds),
            EnrolAnswer::Refused(refusal) => return Err(refusal.into()),
        };
        let life = Duration::from_secs(life);
        let end =
            begun.checked_add(life).ok_or_else(|| Fault::new("reading the certificate", "it never ends"))?;
        self.identity.accept(certificates(&chain)?, end)?;
        Ok(life)
    }

    async fn post(&self, message: Bytes) -> Result<EnrolAnswer, NotEnrolled> {
        let connection = self.dialer.dial(None).await.map_err(|error| NotEnrolled::unreachable(&error))?;
        let answer =
            connection.post(ENROL_PATH, message).await.map_err(|error| NotEnrolled::unreachable(&error))?;
        let (answer, _) =
            wire::decode(&answer).map_err(|error| Fault::new("reading the enrolment's answer", error))?;
        Ok(answer)
    }
}

fn certificates(chain: &[String]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let certificate = |text: &String| wire::base64_bytes(text).map(CertificateDer::from);
    chain
        .iter()
        .map(certificate)
        .collect::<Result<_, _>>()
        .map_err(|e| Fault::new("reading the certificate", e))
}

/// Whether trying again soon may help.
fn passes_by_itself(refusal: &Refusal) -> bool {
    !matches!(refusal, Refusal::EnrolmentRefused | Refusal::WireVersionUnknown)
}
