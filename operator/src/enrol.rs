//! Token and key become a certificate, once per container start.
//!
//! A projected token authenticates a pod, never a container, and Kubernetes keeps nobody who can read it from using it.
//! So it proves nothing alone: the live pod must be exactly what the injector makes, its status must show the running
//! container, and the first key bound to that container is the only one. No application code runs before the sidecar
//! reports that it is enrolled, which makes the first key the sidecar's own.

mod record;

use std::{sync::Arc, time::Duration};

use aws_lc_rs::{digest, signature};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    core::v1::{Namespace, Pod},
};
use keylend_contract::{
    refusal::Refusal,
    wire::{self, Enrol, EnrolAnswer},
};
use kube::{Api, Client, ResourceExt, api::PostParams};
use x509_parser::{oid_registry, prelude::FromDer, x509::SubjectPublicKeyInfo};

use self::record::Binding;
pub use self::record::{Records, sweep};
use crate::{
    admission::inject::{self, AUDIENCE, InjectionSettings},
    audit::AuditLog,
    authority::{Authority, CLIENT_CERTIFICATE_LIFE},
    fault::{Failure, Fault},
    policies::{Policies, PoliciesState},
    resolve::caller::CallerClaims,
};

/// A container ID that stays the same for so long after another key asked for it is no restart.
const RESTART_GRACE: Duration = Duration::from_secs(10);
const MAX_TOKEN_BYTES: usize = 16 * 1024;
const MAX_PUBLIC_KEY_BYTES: usize = 256;
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// What enrolment needs.
pub struct Enrolment {
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
    /// Where alarms go.
    pub audit: AuditLog,
}

/// The pod that a token was issued to.
struct TokenHolder {
    namespace: String,
    service_account: String,
    pod: String,
    pod_uid: String,
}

impl Enrolment {
    /// Binds the key in `request` to the container that presents it, and signs a certificate for it.
    ///
    /// # Errors
    /// [`Refusal::WireVersionUnknown`], [`Refusal::PoliciesMissing`], [`Refusal::EnrolmentPending`] while the pod's
    /// status lags, [`Refusal::EnrolmentRefused`] for everything that is not exactly right; [`Fault`] if the API server
    /// does not answer.
    pub async fn enrol(self: &Arc<Self>, request: Enrol) -> Result<EnrolAnswer, Failure> {
        wire::speak(request.version)?;
        self.guarded().await?;
        let public_key = prove_possession(&request)?;
        let holder = self.review(&request.token).await?;
        let pod = self.live_pod(&holder).await?;
        inject::verify(&pod, &self.settings).map_err(|difference| {
            tracing::warn!(namespace = holder.namespace, pod = holder.pod, %difference, "a pod was not enrolled");
            Refusal::EnrolmentRefused
        })?;
        let container_id = running_container(&pod).ok_or(Refusal::EnrolmentPending)?;
        let claims = self.claims(holder, container_id).await?;
        let key_digest = digest::digest(&digest::SHA256, &public_key);
        match self.records.bind(&claims, key_digest.as_ref()).await? {
            Binding::Ours => {}
            Binding::Another => return Err(self.suspect(claims).into()),
        }
        let leaf = self.authority.client_certificate(&claims, &public_key)?;
        tracing::info!(namespace = claims.namespace, pod = claims.pod, "a sidecar is enrolled");
        let chain = vec![wire::base64_text(&leaf)];
        Ok(EnrolAnswer::Enrolled { chain, valid_for_seconds: CLIENT_CERTIFICATE_LIFE.as_secs() })
    }

    async fn guarded(&self) -> Result<(), Refusal> {
        match self.policies.look(&self.client).await {
            PoliciesState::Unaltered => Ok(()),
            PoliciesState::Altered(what) => {
                tracing::warn!(what, "nothing is enrolled while an admission policy is missing or altered");
                Err(Refusal::PoliciesMissing)
            }
        }
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
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let reviewed = reviews
            .create(&PostParams::default(), &review)
            .await
            .map_err(|error| Fault::new("reviewing a token", error))?;
        holder(reviewed).ok_or_else(|| Refusal::EnrolmentRefused.into())
    }

    async fn live_pod(&self, holder: &TokenHolder) -> Result<Pod, Failure> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &holder.namespace);
        let pod = pods.get_opt(&holder.pod).await.map_err(|error| Fault::new("reading a pod", error))?;
        let same = |pod: &Pod| pod.metadata.uid.as_deref() == Some(&holder.pod_uid);
        pod.filter(same).ok_or_else(|| Refusal::EnrolmentRefused.into())
    }

    async fn claims(&self, holder: TokenHolder, container_id: String) -> Result<CallerClaims, Failure> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
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
            container_id,
        })
    }

    /// Another key for a bound container: either the container restarted and the status lags, or a token was stolen.
    /// Only the second is still so after a while, and then it is an alarm.
    fn suspect(self: &Arc<Self>, claims: CallerClaims) -> Refusal {
        if self.records.begin_watch(&claims) {
            let enrolment = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(RESTART_GRACE).await;
                enrolment.alarm_unless_restarted(&claims).await;
                enrolment.records.end_watch(&claims);
            });
        }
        Refusal::EnrolmentPending
    }

    async fn alarm_unless_restarted(&self, claims: &CallerClaims) {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &claims.namespace);
        let restarted = match pods.get_opt(&claims.pod).await {
            Ok(None) => true,
            Ok(Some(pod)) => running_container(&pod).as_ref() != Some(&claims.container_id),
            Err(_) => false,
        };
        if restarted {
            return;
        }
        tracing::warn!(
            namespace = claims.namespace,
            pod = claims.pod,
            "a token was presented with another key"
        );
        self.audit.alarm(record::token_replayed(claims)).await;
    }
}

/// Checks the signature by which the sender shows that the key is its own; gives back its `SubjectPublicKeyInfo`.
fn prove_possession(request: &Enrol) -> Result<Vec<u8>, Refusal> {
    let refused = |_| Refusal::EnrolmentRefused;
    let public_key = wire::base64_bytes(&request.public_key).map_err(refused)?;
    let proof = wire::base64_bytes(&request.proof).map_err(refused)?;
    if public_key.len() > MAX_PUBLIC_KEY_BYTES {
        return Err(Refusal::EnrolmentRefused);
    }
    let (rest, parsed) =
        SubjectPublicKeyInfo::from_der(&public_key).map_err(|_| Refusal::EnrolmentRefused)?;
    let curve = parsed.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    let p256 = parsed.algorithm.algorithm == oid_registry::OID_KEY_TYPE_EC_PUBLIC_KEY
        && curve == Some(oid_registry::OID_EC_P256);
    if !rest.is_empty() || !p256 {
        return Err(Refusal::EnrolmentRefused);
    }
    let point = &parsed.subject_public_key.data;
    let statement = wire::enrolment_statement(&request.token, &public_key);
    signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, point)
        .verify(&statement, &proof)
        .map_err(|_| Refusal::EnrolmentRefused)?;
    Ok(public_key)
}

fn holder(review: TokenReview) -> Option<TokenHolder> {
    let status = review.status?;
    if status.authenticated != Some(true) || !status.audiences?.iter().any(|audience| audience == AUDIENCE) {
        return None;
    }
    let user = status.user?;
    let extra = user.extra?;
    let username = user.username?;
    let (namespace, service_account) = username.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    Some(TokenHolder {
        namespace: namespace.to_owned(),
        service_account: service_account.to_owned(),
        pod: extra.get(POD_NAME)?.first()?.clone(),
        pod_uid: extra.get(POD_UID)?.first()?.clone(),
    })
}

/// The ID of the sidecar's running container, by the pod's status, which only the kubelet writes.
fn running_container(pod: &Pod) -> Option<String> {
    let statuses = pod.status.as_ref()?.init_container_statuses.as_ref()?;
    let status = statuses.iter().find(|status| status.name == inject::CONTAINER)?;
    status.state.as_ref()?.running.as_ref()?;
    status.container_id.clone().filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{rand::SystemRandom, signature::KeyPair as _};
    use serde_json::json;

    use super::*;

    fn signed(token: &str, presented: &str) -> Enrol {
        let key = rcgen::KeyPair::generate().unwrap();
        let signer = signature::EcdsaKeyPair::from_pkcs8(
            &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
            &key.serialize_der(),
        )
        .unwrap();
        assert!(!signer.public_key().as_ref().is_empty());
        let public_key = rcgen::PublicKeyData::subject_public_key_info(&key);
        let proof =
            signer.sign(&SystemRandom::new(), &wire::enrolment_statement(token, &public_key)).unwrap();
        Enrol {
            version: wire::WIRE_VERSION,
            token: presented.to_owned(),
            public_key: wire::base64_text(&public_key),
            proof: wire::base64_text(proof.as_ref()),
        }
    }

    #[test]
    fn a_key_is_only_its_holders() {
        assert!(prove_possession(&signed("kl-test-token", "kl-test-token")).is_ok());
        assert!(prove_possession(&signed("kl-test-token", "kl-test-other")).is_err());
        let mut swapped = signed("kl-test-token", "kl-test-token");
        swapped.public_key = signed("kl-test-token", "kl-test-token").public_key;
        assert!(prove_possession(&swapped).is_err());
        for bad in ["", "AAAA", "not base64"] {
            let mut malformed = signed("kl-test-token", "kl-test-token");
            malformed.public_key = bad.to_owned();
            assert!(prove_possession(&malformed).is_err());
        }
    }

    #[test]
    fn a_token_must_be_of_our_audience_and_of_a_pod() {
        let review = |status: serde_json::Value| {
            holder(serde_json::from_value(json!({"metadata": {}, "spec": {}, "status": status})).unwrap())
        };
        let extra = json!({POD_NAME: ["checkout-0"], POD_UID: ["u"]});
        let user = json!({"username": "system:serviceaccount:partner:checkout", "extra": extra});
        let good = json!({"authenticated": true, "audiences": [AUDIENCE], "user": user});
        let found = review(good.clone()).unwrap();
        assert_eq!((found.namespace.as_str(), found.service_account.as_str()), ("partner", "checkout"));
        for (pointer, value) in [
            ("/authenticated", json!(false)),
            ("/audiences", json!([])),
            ("/audiences", json!(["https://kubernetes.default.svc"])),
            ("/user/username", json!("admin")),
            ("/user/extra", json!({})),
            ("/user/extra", json!({POD_NAME: ["checkout-0"]})),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = value;
            assert!(review(bad).is_none(), "{pointer}");
        }
    }

    #[test]
    fn only_a_running_container_has_an_id_to_bind_to() {
        let pod = |status: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"metadata": {}, "status": {"initContainerStatuses": [status]}}))
                .unwrap()
        };
        let base =
            json!({"name": "keylend-sidecar", "ready": false, "restartCount": 0, "image": "", "imageID": ""});
        let with = |more: serde_json::Value| {
            let mut status = base.clone();
            status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            running_container(&pod(status))
        };
        let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
        assert_eq!(
            with(json!({"containerID": "containerd://a", "state": running})).as_deref(),
            Some("containerd://a")
        );
        assert_eq!(with(json!({"state": running})), None);
        assert_eq!(with(json!({"containerID": "", "state": running})), None);
        let terminated = json!({"terminated": {"exitCode": 1}});
        assert_eq!(with(json!({"containerID": "containerd://a", "state": terminated})), None);
        assert_eq!(with(json!({"name": "app", "containerID": "containerd://a", "state": running})), None);
    }
}
