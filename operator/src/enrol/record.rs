//! Which key is bound to which container: a record whose binding is written once and never changed.
//!
//! Creation is the API server's own compare-and-set and the data is immutable, so replicas need not know of each other.
//! What is held against a container stands in the record's metadata, where it outlives a replica.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use keylend_contract::{hexadecimal::hexadecimal, refusal::Refusal};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::ObjectList,
};
use serde_json::json;

use crate::{
    audit::{
        Text,
        row::{self, Alarm, Concern, Object},
    },
    controllers::apply::{Outcome, outcome},
    fault::{Failure, Fault},
    resolve::{caller::CallerClaims, rows::who},
};

/// The label of a record about whose container there is a suspicion; its value is [`WAITING`] or [`CONFIRMED`].
pub const SUSPICION_LABEL: &str = "keylend.dev/suspicion";
/// Another key asked for the container, which may have restarted.
pub const WAITING: &str = "waiting";
/// Another key asked for the container although it had not restarted.
pub const CONFIRMED: &str = "confirmed";

/// Marks the records, and lets the sweep find them.
const RECORD_LABEL: &str = "keylend.dev/enrolment";
const SUSPECTED_AT: &str = "keylend.dev/suspected-at";
const KEY: &str = "publicKeySha256";
const PAGE: u32 = 100;

/// A container ID that stays the same for so long after another key asked for it is no restart.
const RESTART_GRACE: SignedDuration = SignedDuration::from_secs(10);

/// The records of one operator namespace.
pub struct Records(Api<ConfigMap>);

/// A container whose key is bound, as its record says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) claims: CallerClaims,
    pub(super) suspicion: Suspicion,
    key: String,
    version: String,
}

/// What is held against a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// Nothing.
    None,
    /// Another key asked for it then.
    Since(Timestamp),
    /// And it had not restarted.
    Confirmed,
}

/// How a key stands to a container.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// No key is bound.
    Unbound,
    /// This key is bound.
    Ours,
    /// Another key is bound.
    Another(Box<Bound>),
    /// An alarm was raised: no key is good.
    Denied,
}

impl Records {
    /// The records in `namespace`.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        Self(Api::namespaced(client, namespace))
    }

    /// How the key of this digest stands to the container of `claims`.
    pub(super) async fn standing(&self, claims: &CallerClaims, key_digest: &[u8]) -> Result<Standing, Fault> {
        let bound = self.read(&record_name(&claims.pod_uid, &claims.container_id)).await?;
        Ok(standing(bound, &hexadecimal(key_digest)))
    }

    /// The record of that name.
    pub(super) async fn read(&self, name: &str) -> Result<Option<Bound>, Fault> {
        const DOING: &str = "reading which key is bound to a container";
        let Some(record) = self.0.get_opt(name).await.map_err(|error| Fault::new(DOING, error))? else {
            return Ok(None);
        };
        Bound::read(&record).map(Some).ok_or_else(|| Fault::new(DOING, "the record is not one of ours"))
    }

    /// Binds a key to the container of `claims`; pending if somebody was faster.
    pub(super) async fn bind(&self, claims: &CallerClaims, key_digest: &[u8]) -> Result<(), Failure> {
        match self.0.create(&PostParams::default(), &record(claims, key_digest)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                Err(Refusal::EnrolmentPending.into())
            }
            Err(error) => Err(Fault::new("binding a key to a container", error).into()),
        }
    }

    /// Notes `suspicion` in the record, if that is still as `bound` says.
    pub(super) async fn note(&self, bound: &Bound, suspicion: Suspicion) -> Result<Outcome, Fault> {
        let (label, since) = match suspicion {
            Suspicion::None => (json!(null), json!(null)),
            Suspicion::Since(since) => (json!(WAITING), json!(since.to_string())),
            Suspicion::Confirmed => (json!(CONFIRMED), json!(null)),
        };
        let patch = json!({"metadata": {
            "resourceVersion": bound.version,
            "labels": {SUSPICION_LABEL: label},
            "annotations": {SUSPECTED_AT: since},
        }});
        let noted = self.0.patch(&bound.name(), &PatchParams::default(), &Patch::Merge(patch)).await;
        outcome(noted).map_err(|error| Fault::new("noting a suspicion", error))
    }

    /// The records after `token`; those that cannot be read are left alone.
    pub(super) async fn page(&self, token: Option<&str>) -> Result<(Vec<Bound>, Option<String>), Fault> {
        let page = ListParams::default().labels(RECORD_LABEL).limit(PAGE);
        let page = token.map_or(page.clone(), |token| page.continue_token(token));
        let list: ObjectList<ConfigMap> =
            self.0.list(&page).await.map_err(|error| Fault::new("listing enrolments", error))?;
        let next = list.metadata.continue_.filter(|token| !token.is_empty());
        Ok((list.items.iter().filter_map(Bound::read).collect(), next))
    }

    /// Removes a record.
    pub(super) async fn remove(&self, bound: &Bound) -> Result<(), Fault> {
        match self.0.delete(&bound.name(), &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(Fault::new("removing the record of a pod that is gone", error)),
        }
    }
}

impl Bound {
    fn read(record: &ConfigMap) -> Option<Self> {
        let text = |key: &str| record.data.as_ref()?.get(key).cloned();
        let since = record.annotations().get(SUSPECTED_AT);
        let suspicion = match (record.labels().get(SUSPICION_LABEL).map(String::as_str), since) {
            (None, _) => Suspicion::None,
            (Some(WAITING), Some(since)) => Suspicion::Since(since.parse().unwrap_or(Timestamp::UNIX_EPOCH)),
            (Some(_), _) => Suspicion::Confirmed,
        };
        let claims = CallerClaims {
            namespace: text("namespace")?,
            namespace_uid: text("namespaceUid")?,
            pod: text("pod")?,
            pod_uid: text("podUid")?,
            service_account: text("serviceAccount")?,
            container_id: text("containerId")?,
        };
        Some(Self { claims, suspicion, key: text(KEY)?, version: record.resource_version()? })
    }

    /// The name of its record.
    pub(super) fn name(&self) -> String {
        record_name(&self.claims.pod_uid, &self.claims.container_id)
    }
}

impl Suspicion {
    /// Whether the time is over in which a restart would have shown.
    pub(super) fn is_due(self, now: Timestamp) -> bool {
        match self {
            Self::None | Self::Confirmed => false,
            Self::Since(since) => now.duration_since(since) >= RESTART_GRACE,
        }
    }
}

/// The name of the record of one container of one pod.
#[must_use]
pub fn record_name(pod_uid: &str, container_id: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(pod_uid.as_bytes());
    context.update(&[0]);
    context.update(container_id.as_bytes());
    format!("enrolment-{}", hexadecimal(&context.finish().as_ref()[..20]))
}

fn standing(bound: Option<Bound>, key: &str) -> Standing {
    match bound {
        None => Standing::Unbound,
        Some(bound) if bound.suspicion == Suspicion::Confirmed => Standing::Denied,
        Some(bound) if bound.key == key => Standing::Ours,
        Some(bound) => Standing::Another(Box::new(bound)),
    }
}

fn record(claims: &CallerClaims, key_digest: &[u8]) -> ConfigMap {
    let mut record = ConfigMap { immutable: Some(true), ..ConfigMap::default() };
    record.metadata.name = Some(record_name(&claims.pod_uid, &claims.container_id));
    record.metadata.labels = Some(BTreeMap::from([(RECORD_LABEL.to_owned(), "true".to_owned())]));
    let data = [
        ("namespace", &claims.namespace),
        ("namespaceUid", &claims.namespace_uid),
        ("pod", &claims.pod),
        ("podUid", &claims.pod_uid),
        ("serviceAccount", &claims.service_account),
        ("containerId", &claims.container_id),
        (KEY, &hexadecimal(key_digest)),
    ];
    record.data = Some(data.into_iter().map(|(key, text)| (key.to_owned(), text.clone())).collect());
    record
}

/// The row for a container whose key is about to be bound.
pub(super) fn enrolment(claims: &CallerClaims) -> row::Enrolment {
    row::Enrolment { caller: who(claims), container_id: Text::new(&claims.container_id) }
}

/// The alarm for a token that came back with another key.
pub(super) fn token_replayed(claims: &CallerClaims) -> Alarm {
    let caller = who(claims);
    let object = Object {
        kind: "Pod",
        namespace: caller.namespace.clone(),
        name: caller.pod.clone(),
        uid: caller.pod_uid.clone(),
    };
    Alarm { concern: Concern::TokenReplayed, caller: Some(caller), object: Some(object) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::caller::tests::claims;

    fn bound(suspicion: &str) -> Bound {
        let mut record = record(&claims(), b"k");
        record.metadata.resource_version = Some("1".into());
        if !suspicion.is_empty() {
            record.labels_mut().insert(SUSPICION_LABEL.into(), suspicion.into());
            record.annotations_mut().insert(SUSPECTED_AT.into(), "2026-01-01T12:00:00Z".into());
        }
        Bound::read(&record).unwrap()
    }

    #[test]
    fn a_record_is_of_one_container_of_one_pod() {
        let claims = claims();
        let name = record_name(&claims.pod_uid, &claims.container_id);
        assert_ne!(name, record_name(&claims.pod_uid, "containerd://other"));
        assert_ne!(name, record_name("other", &claims.container_id));
        assert_eq!(record(&claims, b"k").immutable, Some(true));
        assert_eq!((bound("").claims, bound("").name()), (claims, name));
    }

    #[test]
    fn one_key_is_good_for_a_container_and_none_after_an_alarm() {
        let (ours, another) = (hexadecimal(b"k"), hexadecimal(b"another"));
        assert_eq!(standing(None, &ours), Standing::Unbound);
        for suspicion in ["", WAITING] {
            assert_eq!(standing(Some(bound(suspicion)), &ours), Standing::Ours);
            let expected = Standing::Another(Box::new(bound(suspicion)));
            assert_eq!(standing(Some(bound(suspicion)), &another), expected);
        }
        for suspicion in [CONFIRMED, "a word of a later version"] {
            assert_eq!(standing(Some(bound(suspicion)), &ours), Standing::Denied);
            assert_eq!(standing(Some(bound(suspicion)), &another), Standing::Denied);
        }
    }

    #[test]
    fn a_restart_has_ten_seconds_to_show() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert!(!bound(WAITING).suspicion.is_due(at("2026-01-01T12:00:09Z")));
        assert!(bound(WAITING).suspicion.is_due(at("2026-01-01T12:00:10Z")));
        assert!(!bound("").suspicion.is_due(at("2026-01-01T12:00:10Z")));
        assert!(!bound(CONFIRMED).suspicion.is_due(at("2026-01-01T12:00:10Z")));
    }
}
