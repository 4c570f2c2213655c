//! One complete little world for tests: a share of `payments` that a pod of `partner` uses. Each test changes one thing.

use std::sync::Arc;

use jiff::Timestamp;
use keylend_contract::{name::SecretName, refusal::Refusal};
use keylend_crds::{Route, Secret, SecretShare, secret::ShareReference};
use rcgen::{CertificateParams, KeyPair, SanType};
use serde_json::json;

use super::{
    caller::{Caller, CallerClaims},
    grant::{Grant, Reading, Readings, decide},
    wish::{Pin, Wish},
};

pub(crate) const NOW: &str = "2026-06-01T12:00:00Z";

/// What a decision looks at.
#[derive(Clone)]
pub(crate) struct Scenario {
    pub(crate) caller: Caller,
    pub(crate) route: Option<Route>,
    pub(crate) linked: Option<Secret>,
    pub(crate) share: Option<SecretShare>,
    pub(crate) secret: Option<Secret>,
    pub(crate) now: Timestamp,
}

pub(crate) fn claims() -> CallerClaims {
    CallerClaims {
        namespace: "partner".into(),
        namespace_uid: "uid-of-partner".into(),
        pod: "checkout-0".into(),
        pod_uid: "uid-of-pod".into(),
        service_account: "checkout".into(),
        container_id: "containerd://0123abcd".into(),
    }
}

pub(crate) fn caller(claims: &CallerClaims) -> Caller {
    let mut parameters = CertificateParams::default();
    parameters.subject_alt_names = vec![SanType::URI(claims.to_uri().try_into().unwrap())];
    let certificate = parameters.self_signed(&KeyPair::generate().unwrap()).unwrap();
    Caller::from_certificate(certificate.der()).unwrap()
}

pub(crate) fn route() -> Route {
    serde_json::from_value(json!({
        "metadata": {"name": "stripe", "namespace": "partner", "uid": "uid-of-route", "generation": 1},
        "spec": {
            "upstream": "https://api.example.com",
            "environment": "production",
            "headers": [{"name": "Authorization", "value": "Bearer {{secret:STRIPE_API_KEY}}"}],
        },
    }))
    .unwrap()
}

pub(crate) fn linked() -> Secret {
    let reference = json!({"namespace": "payments", "name": "partner"});
    serde_json::from_value(json!({
        "metadata": {"name": "stripe-api-key", "namespace": "partner", "uid": "uid-of-linked", "generation": 1},
        "spec": {"type": "Linked", "link": {"shares": [{"environment": "production", "shareRef": reference}]}},
        "status": {"shares": [{
            "environment": "production", "shareRef": reference, "uid": "uid-of-share",
            "serviceAccounts": ["checkout", "other"],
        }]},
    }))
    .unwrap()
}

pub(crate) fn share() -> SecretShare {
    serde_json::from_value(json!({
        "metadata": {
            "name": "partner", "namespace": "payments", "uid": "uid-of-share", "generation": 3,
            "finalizers": ["keylend.dev/stop"],
        },
        "spec": {
            "secretRef": {"name": "stripe"},
            "environment": "production",
            "recipient": {"namespace": {"name": "partner", "serviceAccounts": ["other", "checkout"]}},
            "use": {"domains": ["api.example.com"], "inject": {"headers": ["Authorization"]}},
            "expiresAt": "2026-06-02T12:00:00Z",
        },
        "status": {"recipientNamespaceUid": "uid-of-partner", "secretUid": "uid-of-secret"},
    }))
    .unwrap()
}

pub(crate) fn secret() -> Secret {
    serde_json::from_value(json!({
        "metadata": {"name": "stripe", "namespace": "payments", "uid": "uid-of-secret", "generation": 2},
        "spec": {"type": "String", "environments": [{"name": "production"}, {"name": "test"}]},
        "status": {"environments": [
            {"name": "production", "fields": [{
                "name": "value", "version": 4, "wrapGeneration": 1, "key": "kl-test-key", "updatedAt": NOW, "sealedAtMs": 1, "digests": [],
            }]},
            {"name": "test", "fields": []},
        ]},
    }))
    .unwrap()
}

pub(crate) fn pin() -> Pin {
    Pin {
        reference: ShareReference { namespace: "payments".into(), name: "partner".into() },
        uid: "uid-of-share".into(),
    }
}

impl Scenario {
    /// Everything in its place: a grant.
    pub(crate) fn complete() -> Self {
        Self {
            caller: caller(&claims()),
            route: Some(route()),
            linked: Some(linked()),
            share: Some(share()),
            secret: Some(secret()),
            now: NOW.parse().unwrap(),
        }
    }

    pub(crate) fn wish(&self) -> Result<Wish, Refusal> {
        let linked = |name: &SecretName| {
            let linked = self.linked.clone().filter(|_| name.as_str() == "stripe-api-key");
            linked.map(Arc::new)
        };
        Wish::of("stripe", self.route.as_ref(), linked)
    }

    pub(crate) fn decide(&self) -> Result<Grant, Refusal> {
        let reading = Reading { share: self.share.clone(), secret: self.secret.clone() };
        decide(&self.caller, self.wish()?, &Readings::from([(pin(), reading)]), "uid-of-cluster", self.now)
    }
}
