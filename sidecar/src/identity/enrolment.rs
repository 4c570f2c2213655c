//! Gets the container's key certified, and keeps it so.
//!
//! The token file is read anew each time, because the kubelet replaces it. Nothing is given up: whatever stands in the
//! way, a pod without a policy or an operator that is away, may pass.

use std::{path::PathBuf, sync::Arc, time::Duration};

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
    fault::{Failure, Fault},
    operator::{dial::Dialer, pause::Pause},
};

/// How long one try may take.
const TRY_LIMIT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A refusal that is not expected to pass is an alarm row at the operator each time.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);
/// Doubts of a certificate younger than this wait.
const SETTLED: Duration = Duration::from_secs(1);

/// Enrols an [`Identity`] again and again.
pub struct Enrolment {
    identity: Arc<Identity>,
    dialer: Dialer,
    token: PathBuf,
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
                Err(failure) => {
                    let refusal = tell(failure, &mut told);
                    let wait = pause.next();
                    let wait = if passes_by_itself(&refusal) { wait } else { REFUSED_PAUSE };
                    self.identity.refused(refusal);
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
            () = sleep(life / 2) => {}
            () = doubted => {}
        }
    }

    /// Enrols once. The certificate's life is counted from before it was asked for.
    async fn enrol(&self) -> Result<Duration, Failure> {
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

    async fn post(&self, message: Bytes) -> Result<EnrolAnswer, Failure> {
        let connection = self.dialer.dial(None).await.map_err(|error| unreachable(&error))?;
        let answer = connection.post(ENROL_PATH, message).await.map_err(|error| unreachable(&error))?;
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

fn unreachable(error: &dyn std::error::Error) -> Refusal {
    let cause = error.source().map(ToString::to_string);
    tracing::info!(%error, cause, "enrolling did not reach the operator");
    Refusal::OperatorUnreachable
}

/// Logs a failure that is not the one last told, and says what calls are refused with meanwhile.
fn tell(failure: Failure, told: &mut Option<&'static str>) -> Refusal {
    match failure {
        Failure::Refused(refusal) => {
            if told.replace(refusal.code()) != Some(refusal.code()) {
                tracing::warn!(code = refusal.code(), "not enrolled: {refusal}");
            }
            refusal
        }
        Failure::Broke(fault) => {
            let cause = std::error::Error::source(&fault).map(ToString::to_string);
            tracing::error!(%fault, cause, "not enrolled");
            *told = None;
            Refusal::EnrolmentPending
        }
    }
}

/// Whether trying again soon may help.
fn passes_by_itself(refusal: &Refusal) -> bool {
    !matches!(refusal, Refusal::EnrolmentRefused | Refusal::WireVersionUnknown)
}
