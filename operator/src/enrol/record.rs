//! Which key is bound to which container: a record that is created once and never changed.
//!
//! Creation is the API server's own compare-and-set, so replicas need not know of each other.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::digest;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use keylend_contract::hexadecimal::hexadecimal;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};

use crate::{
    audit::{
        Text,
        row::{Alarm, Caller, Concern, Object},
    },
    fault::Fault,
    resolve::caller::CallerClaims,
};

/// Marks the records, and lets the sweep find them.
const RECORD_LABEL: &str = "keylend.dev/enrolment";
const POD_UID: &str = "podUid";
const KEY: &str = "publicKeySha256";
/// The most containers watched for a replay at once; a further one is refused all the same.
const MAX_WATCHED: usize = 1024;
/// A record this young may belong to a pod that the watches have not shown yet.
const YOUNG: SignedDuration = SignedDuration::from_mins(10);
const PAGE: u32 = 500;

/// The records of one operator namespace.
pub struct Records {
    records: Api<ConfigMap>,
    watched: Mutex<HashSet<String>>,
}

/// Whose key a container is bound to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Binding {
    /// The one presented.
    Ours,
    /// Another one.
    Another,
}

impl Records {
    /// The records in `namespace`.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { records: Api::namespaced(client, namespace), watched: Mutex::default() }
    }

    /// Binds `key_digest` to the container of `claims` unless another key is bound to it.
    pub(super) async fn bind(&self, claims: &CallerClaims, key_digest: &[u8]) -> Result<Binding, Fault> {
        let record = record(claims, key_digest);
        match self.records.create(&PostParams::default(), &record).await {
            Ok(_) => return Ok(Binding::Ours),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => return Err(Fault::new("binding a key to a container", error)),
        }
        let bound = self
            .records
            .get(&record.name_any())
            .await
            .map_err(|error| Fault::new("reading which key is bound to a container", error))?;
        Ok(if bound.data == record.data { Binding::Ours } else { Binding::Another })
    }

    /// Says whether the container is to be watched from now on; not if it already is.
    pub(super) fn begin_watch(&self, claims: &CallerClaims) -> bool {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.len() < MAX_WATCHED && watched.insert(record_name(claims))
    }

    pub(super) fn end_watch(&self, claims: &CallerClaims) {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).remove(&record_name(claims));
    }
}

/// Removes the records of pods that are gone; gives back how many.
///
/// # Errors
/// [`Fault`] if the API server does not answer; what was removed stays removed.
pub async fn sweep(
    records: &Records,
    pod_lives: impl Fn(&str) -> bool,
    now: Timestamp,
) -> Result<usize, Fault> {
    const DOING: &str = "removing the records of pods that are gone";
    let mut removed = 0;
    let mut page = ListParams::default().labels(RECORD_LABEL).limit(PAGE);
    loop {
        let list = records.records.list(&page).await.map_err(|error| Fault::new(DOING, error))?;
        for record in &list.items {
            if !is_stale(record, &pod_lives, now) {
                continue;
            }
            records
                .records
                .delete(&record.name_any(), &DeleteParams::default())
                .await
                .map_err(|error| Fault::new(DOING, error))?;
            removed += 1;
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(removed),
        }
    }
}

fn is_stale(record: &ConfigMap, pod_lives: &impl Fn(&str) -> bool, now: Timestamp) -> bool {
    let created = record.metadata.creation_timestamp.as_ref();
    let old = created.is_some_and(|created| now.duration_since(created.0) > YOUNG);
    let pod = record.data.as_ref().and_then(|data| data.get(POD_UID));
    old && pod.is_some_and(|uid| !pod_lives(uid))
}

fn record_name(claims: &CallerClaims) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(claims.pod_uid.as_bytes());
    context.update(&[0]);
    context.update(claims.container_id.as_bytes());
    format!("enrolment-{}", hexadecimal(&context.finish().as_ref()[..20]))
}

fn record(claims: &CallerClaims, key_digest: &[u8]) -> ConfigMap {
    let mut record = ConfigMap { immutable: Some(true), ..ConfigMap::default() };
    record.metadata.name = Some(record_name(claims));
    record.metadata.labels = Some(BTreeMap::from([(RECORD_LABEL.to_owned(), "true".to_owned())]));
    record.data = Some(BTreeMap::from([
        (POD_UID.to_owned(), claims.pod_uid.clone()),
        ("containerId".to_owned(), claims.container_id.clone()),
        (KEY.to_owned(), hexadecimal(key_digest)),
    ]));
    record
}

/// The alarm for a token that came back with another key.
pub(super) fn token_replayed(claims: &CallerClaims) -> Alarm {
    let caller = Caller {
        namespace: Text::new(&claims.namespace),
        namespace_uid: Text::new(&claims.namespace_uid),
        pod: Text::new(&claims.pod),
        pod_uid: Text::new(&claims.pod_uid),
        service_account: Text::new(&claims.service_account),
    };
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
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::resolve::caller::tests::claims;

    #[test]
    fn a_record_is_of_one_container_of_one_pod() {
        let other_container = CallerClaims { container_id: "containerd://other".into(), ..claims() };
        let other_pod = CallerClaims { pod_uid: "other".into(), ..claims() };
        let names = [claims(), other_container, other_pod].map(|claims| record_name(&claims));
        assert_ne!(names[0], names[1]);
        assert_ne!(names[0], names[2]);
        assert_eq!(record(&claims(), b"k").immutable, Some(true));
    }

    #[test]
    fn only_old_records_of_gone_pods_are_stale() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let aged = |minutes: i64| {
            let mut record = record(&claims(), b"k");
            record.metadata.creation_timestamp = Some(Time(now - SignedDuration::from_mins(minutes)));
            record
        };
        assert!(is_stale(&aged(11), &|_: &str| false, now));
        assert!(!is_stale(&aged(9), &|_: &str| false, now));
        assert!(!is_stale(&aged(11), &|_: &str| true, now));
    }
}
