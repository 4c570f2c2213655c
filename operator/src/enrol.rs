//! Token and key become a certificate, once per container start.
//!
//! A projected token authenticates a pod, never a container, and Kubernetes keeps nobody who can read it from using it.
//! So it proves nothing alone: the live pod must be exactly what the injector makes, its status must show the running
//! container, and the first key bound to that container is the only one. No application code runs before the sidecar
//! reports that it is enrolled, which makes the first key the sidecar's own.

mod proof;
mod record;

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest;
use jiff::Timestamp;
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    core::v1::{Namespace, Pod},
};
use keylend_contract::{
    refusal::Refusal,
    wire::{self, Enrol, EnrolAnswer},
};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, PostParams},
    core::DynamicObject,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

pub use self::record::{CONFIRMED, Records, SUSPICION_LABEL, WAITING, record_name};
use self::{
    proof::{TokenHolder, holder, prove_possession},
    record::{Bound, Standing, Suspicion},
};
use crate::{
    admission::{
        inject::{AUDIENCE, InjectionSettings},
        verify::{Running, Visit, running_sidecar, verify},
    },
    audit::AuditLog,
    authority::{Authority, CLIENT_CERTIFICATE_LIFE},
    controllers::apply::Outcome,
    fault::{Failure, Fault, with_causes},
    policies::{Policies, PoliciesState},
    resolve::caller::CallerClaims,
};

/// The longest message that enrols, in bytes: the longest token, a key and a signature.
pub const MAX_ENROL_BYTES: usize = 20 * 1024;

/// How many enrolments are under way at once: anybody in the cluster may try one, and each costs reads of the API server.
const AT_ONCE: usize = 16;
/// How long one waits for its turn before it is told to come again.
const TURN: Duration = Duration::from_secs(1);
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Enrols containers.
pub struct Enrolment {
    tools: Tools,
    turns: Semaphore,
}

/// What enrolment needs.
pub struct Tools {
    /// For reviews, pods and namespaces.
    pub client: Client,
    /// Signs the certificates.
    pub authority: Arc<Authority>,
    /// The guards that must stand.
    pub policies: Arc<Policies>,
    /// What an injected pod looks like.
    pub settings: InjectionSettings,
    /// Which key is bound to which container.
    pub records: Records,
    /// Where enrolments and alarms are put on record.
    pub audit: AuditLog,
}

impl Enrolment {
    /// Enrols by `tools`.
    #[must_use]
    pub fn new(tools: Tools) -> Self {
        Self { tools, turns: Semaphore::new(AT_ONCE) }
    }

    /// Binds the key in `request` to the container that presents it, and signs a certificate for it.
    ///
    /// What costs nothing is checked first: nobody who lacks a key of his own and a token of ours causes more than one
    /// review.
    ///
    /// # Errors
    /// [`Refusal::WireVersionUnknown`], [`Refusal::PoliciesMissing`], [`Refusal::EnrolmentPending`] while the pod's
    /// status lags or too many enrol, [`Refusal::EnrolmentRefused`] for everything that is not exactly right; [`Fault`]
    /// if the API server does not answer.
    pub async fn enrol(&self, request: Enrol) -> Result<EnrolAnswer, Failure> {
        wire::speak(request.version)?;
        let public_key = prove_possession(&request)?;
        let _turn = self.turn().await?;
        let holder = self.review(&request.token).await?;
        self.guarded().await?;
        let pod = self.live_pod(&holder).await?;
        let running = running_sidecar(&pod).ok_or(Refusal::EnrolmentPending)?;
        let claims = self.claims(holder, &running).await?;
        let key = digest::digest(&digest::SHA256, &public_key);
        self.bind(&pod, &running, &claims, key.as_ref()).await?;
        let leaf = self.tools.authority.client_certificate(&claims, &public_key)?;
        tracing::info!(namespace = claims.namespace, pod = claims.pod, "a sidecar is enrolled");
        let chain = vec![wire::base64_text(&leaf)];
        Ok(EnrolAnswer::Enrolled { chain, valid_for_seconds: CLIENT_CERTIFICATE_LIFE.as_secs() })
    }

    /// Ends the wait of a suspected container: an alarm if it still runs, nothing if it is gone or has restarted.
    ///
    /// # Errors
    /// [`Fault`] if the API server does not answer; the wait goes on then.
    pub async fn settle(&self, record: &str) -> Result<(), Fault> {
        let Some(bound) = self.tools.records.read(record).await? else { return Ok(()) };
        if !bound.suspicion.is_due(Timestamp::now()) {
            return Ok(());
        }
        let pod = self.pod(&bound.claims.namespace, &bound.claims.pod).await?;
        if !pod.is_some_and(|pod| still_runs(&pod, &bound.claims)) {
            return self.tools.records.note(&bound, Suspicion::None).await.map(|_| ());
        }
        // Of several replicas one gets to note it, and that one tells.
        if self.tools.records.note(&bound, Suspicion::Confirmed).await? == Outcome::Written {
            let CallerClaims { namespace, pod, .. } = &bound.claims;
            tracing::warn!(namespace, pod, "a token came with another key; the container is denied");
            self.tools.audit.alarm(record::token_replayed(&bound.claims)).await;
        }
        Ok(())
    }

    /// Removes the records of pods that are gone; gives back how many. A pod that was `seen` alive is not asked for.
    ///
    /// # Errors
    /// [`Fault`] if the API server does not answer; what was removed stays removed.
    pub async fn sweep(&self, seen: impl Fn(&str) -> bool) -> Result<usize, Fault> {
        let (mut removed, mut token) = (0, None);
        loop {
            let (records, next) = self.tools.records.page(token.as_deref()).await?;
            for bound in records.iter().filter(|bound| !seen(&bound.claims.pod_uid)) {
                let pod = self.pod(&bound.claims.namespace, &bound.claims.pod).await?;
                if !pod.is_some_and(|pod| is(&pod, &bound.claims.pod_uid)) {
                    self.tools.records.remove(bound).await?;
                    removed += 1;
                }
            }
            token = next;
            if token.is_none() {
                return Ok(removed);
            }
        }
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        let turn = timeout(TURN, self.turns.acquire()).await;
        turn.ok().and_then(Result::ok).ok_or(Refusal::EnrolmentPending)
    }

    async fn guarded(&self) -> Result<(), Refusal> {
        match self.tools.policies.recent(&self.tools.client).await {
            PoliciesState::Unaltered => Ok(()),
            PoliciesState::Altered(what) => {
                tracing::warn!(what, "nothing is enrolled while an admission policy is missing or altered");
                Err(Refusal::PoliciesMissing)
            }
        }
    }

    /// The first key that comes for a container that is just what the injector makes is its key from then on.
    async fn bind(
        &self,
        pod: &DynamicObject,
        running: &Running,
        claims: &CallerClaims,
        key: &[u8],
    ) -> Result<(), Failure> {
        let visit = match self.tools.records.standing(claims, key).await? {
            Standing::Unbound => Visit::First,
            Standing::Ours => Visit::Again,
            Standing::Another(bound) => return Err(self.suspect(&bound).await?.into()),
            Standing::Denied => return Err(Refusal::EnrolmentRefused.into()),
        };
        verify(pod, running, &self.tools.settings, visit).map_err(|difference| {
            tracing::warn!(namespace = claims.namespace, pod = claims.pod, %difference, "a pod was not enrolled");
            Refusal::EnrolmentRefused
        })?;
        match visit {
            Visit::First => {
                self.tools.audit.enrolment(record::enrolment(claims)).await.map_err(|error| {
                    tracing::error!(
                        error = with_causes(&error),
                        "nothing is enrolled: it could not be put on record"
                    );
                    Refusal::AuditUnavailable
                })?;
                self.tools.records.bind(claims, key).await
            }
            Visit::Again => Ok(()),
        }
    }

    /// Another key for a bound container: either the container restarted and the status lags, or a token was stolen.
    /// Only the second is still so after a while, and then it is an alarm.
    async fn suspect(&self, bound: &Bound) -> Result<Refusal, Fault> {
        let now = Timestamp::now();
        if bound.suspicion == Suspicion::None {
            self.tools.records.note(bound, Suspicion::Since(now)).await?;
        } else if bound.suspicion.is_due(now) {
            self.settle(&bound.name()).await?;
        }
        Ok(Refusal::EnrolmentPending)
    }

    /// Asks the API server whose token this is. The audience must come back: a server that knows no audiences
    /// authenticates the token for its own.
    async fn review(&self, token: &str) -> Result<TokenHolder, Failure> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::EnrolmentRefused.into());
        }
        let spec =
            TokenReviewSpec { audiences: Some(vec![AUDIENCE.to_owned()]), token: Some(token.to_owned()) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let reviews: Api<TokenReview> = Api::all(self.tools.client.clone());
        let reviewed = reviews
            .create(&PostParams::default(), &review)
            .await
            .map_err(|error| Fault::new("reviewing a token", error))?;
        holder(reviewed).ok_or_else(|| Refusal::EnrolmentRefused.into())
    }

    async fn live_pod(&self, holder: &TokenHolder) -> Result<DynamicObject, Failure> {
        let pod = self.pod(&holder.namespace, &holder.pod).await?;
        pod.filter(|pod| is(pod, &holder.pod_uid)).ok_or_else(|| Refusal::EnrolmentRefused.into())
    }

    /// The pod with every field it has.
    async fn pod(&self, namespace: &str, name: &str) -> Result<Option<DynamicObject>, Fault> {
        let client = self.tools.client.clone();
        let pods: Api<DynamicObject> =
            Api::namespaced_with(client, namespace, &ApiResource::erase::<Pod>(&()));
        pods.get_opt(name).await.map_err(|error| Fault::new("reading a pod", error))
    }

    async fn claims(&self, holder: TokenHolder, running: &Running) -> Result<CallerClaims, Failure> {
        let namespaces: Api<Namespace> = Api::all(self.tools.client.clone());
        let namespace = namespaces
            .get(&holder.namespace)
            .await
            .map_err(|error| Fault::new("reading a namespace", error))?;
        let namespace_uid = namespace.uid().ok_or(Refusal::EnrolmentPending)?;
        Ok(CallerClaims {
            namespace: holder.namespace,
            namespace_uid,
            pod: holder.pod,
            pod_uid: holder.pod_uid,
            service_account: holder.service_account,
            container_id: running.id.clone(),
        })
    }
}

fn is(pod: &DynamicObject, uid: &str) -> bool {
    pod.metadata.uid.as_deref() == Some(uid)
}

/// Whether the very container runs, by the pod's status.
fn still_runs(pod: &DynamicObject, claims: &CallerClaims) -> bool {
    let running = running_sidecar(pod);
    is(pod, &claims.pod_uid) && running.is_some_and(|running| running.id == claims.container_id)
}

#[cfg(test)]
mod tests;
