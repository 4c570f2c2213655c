//! What the watches have seen: routes, secrets and shares, which injected pods and namespaces there are,
//! and which containers an alarm was raised about.
//!
//! Good enough for what a recipient's own namespace says, and for status; never for the decision to allow: how old it is
//! nobody can tell, and [`crate::freshness`] reads what that decision needs. A [`World`] exists only once every watch has
//! delivered its first list, so nothing is decided before.

use std::{sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _, TryStreamExt as _, future};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use keylend_crds::{Route, Secret, SecretShare, secret::ShareReference};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::PartialObjectMeta,
    runtime::{
        WatchStreamExt as _,
        reflector::{ObjectRef, Store, store::WriterDropped},
        utils::Backoff,
        watcher::{Event, watcher},
    },
};

use crate::{
    controllers::watch,
    enrol::{CONFIRMED, SUSPICION_LABEL, WAITING, record_name},
    fault::with_causes,
    resolve::{caller::Caller, wish::Pin},
    storage::NAMESPACE,
};

/// The label of every injected pod, by which they are watched.
pub const INJECTED_SELECTOR: &str = "keylend.dev/injected=true";

/// How long a failed watch waits before it begins anew. Not growing: a stop must not wait for a back-off that an earlier
/// outage stretched.
const PACE: Duration = Duration::from_secs(1);

/// How often somebody who waits for a first list looks for himself.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// The stores that the watches fill, which may not have happened yet.
#[derive(Clone)]
pub struct Watched {
    /// Every route.
    pub routes: Store<Route>,
    /// Every secret, the linked ones as well.
    pub secrets: Store<Secret>,
    /// Every share.
    pub shares: Store<SecretShare>,
    pods: Store<PartialObjectMeta<Pod>>,
    namespaces: Store<PartialObjectMeta<Namespace>>,
    suspects: Store<PartialObjectMeta<ConfigMap>>,
}

/// What the watches have seen, each at least once.
#[derive(Clone)]
pub struct World(Watched);

/// Waits as long after each failure as after the first.
#[derive(Debug, Clone)]
pub struct Steady;

impl Watched {
    /// Takes the stores of the controllers, which watch our own kinds, and adds the watches of pods and namespaces. They
    /// run as the future that is returned.
    pub fn new(
        routes: Store<Route>,
        secrets: Store<Secret>,
        shares: Store<SecretShare>,
        client: &Client,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (pods, pod_changes) =
            reflected(Api::<PartialObjectMeta<Pod>>::all(client.clone()), INJECTED_SELECTOR);
        let (namespaces, namespace_changes) =
            reflected(Api::<PartialObjectMeta<Namespace>>::all(client.clone()), "");
        let records = Api::<PartialObjectMeta<ConfigMap>>::namespaced(client.clone(), NAMESPACE);
        let (suspects, suspect_changes) = reflected(records, SUSPICION_LABEL);
        let running = async move {
            future::join3(
                pod_changes.for_each(|()| future::ready(())),
                namespace_changes.for_each(|()| future::ready(())),
                suspect_changes.for_each(|()| future::ready(())),
            )
            .await;
        };
        (Self { routes, secrets, shares, pods, namespaces, suspects }, running)
    }

    /// Waits until every watch has delivered its first list.
    ///
    /// # Errors
    /// A watch has ended, which happens when the process does.
    pub async fn synced(&self) -> Result<World, WriterDropped> {
        delivered(&self.routes).await?;
        delivered(&self.secrets).await?;
        delivered(&self.shares).await?;
        delivered(&self.pods).await?;
        delivered(&self.namespaces).await?;
        delivered(&self.suspects).await?;
        Ok(World(self.clone()))
    }
}

/// Waits until a store has its first list. Asks again and again, because of several who wait for one store only the last
/// that asked is woken.
async fn delivered<K>(store: &Store<K>) -> Result<(), WriterDropped>
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    loop {
        match tokio::time::timeout(ASK_AGAIN, store.wait_until_ready()).await {
            Ok(delivered) => return delivered,
            Err(_elapsed) => {}
        }
    }
}

impl World {
    /// A route by name.
    #[must_use]
    pub fn route(&self, namespace: &str, name: &str) -> Option<Arc<Route>> {
        self.0.routes.get(&ObjectRef::new(name).within(namespace))
    }

    /// A secret by name.
    #[must_use]
    pub fn secret(&self, namespace: &str, name: &str) -> Option<Arc<Secret>> {
        self.0.secrets.get(&ObjectRef::new(name).within(namespace))
    }

    /// A share, if the one of that name is the one that was pinned.
    #[must_use]
    pub fn share(&self, pin: &Pin) -> Option<Arc<SecretShare>> {
        let share =
            self.0.shares.get(&ObjectRef::new(&pin.reference.name).within(&pin.reference.namespace))?;
        (share.metadata.uid.as_deref() == Some(pin.uid.as_str())).then_some(share)
    }

    /// The linked secrets of `namespace` that have accepted the share `uid` at `reference`.
    #[must_use]
    pub fn links_to(&self, namespace: &str, reference: &ShareReference, uid: &str) -> Vec<Arc<Secret>> {
        self.0.secrets.state_filter(|secret| {
            secret.metadata.namespace.as_deref() == Some(namespace)
                && secret
                    .spec
                    .link
                    .as_ref()
                    .is_some_and(|link| link.shares.iter().any(|share| share.share_ref == *reference))
                && secret.status.as_ref().is_some_and(|status| {
                    status.shares.iter().any(|share| share.share_ref == *reference && share.uid == uid)
                })
        })
    }

    /// Whether the caller's pod was seen, and is still that pod.
    #[must_use]
    pub fn runs(&self, caller: &Caller) -> bool {
        let pod = self.0.pods.get(&ObjectRef::new(caller.pod()).within(caller.namespace()));
        pod.is_some_and(|pod| pod.metadata.uid.as_deref() == Some(caller.pod_uid()))
    }

    /// Whether an alarm was raised about the caller's container, which is not served until it is a new one.
    #[must_use]
    pub fn denies(&self, caller: &Caller) -> bool {
        let record = record_name(caller.pod_uid(), caller.container_id());
        let suspect = self.0.suspects.get(&ObjectRef::new(&record).within(NAMESPACE));
        suspect
            .is_some_and(|record| record.labels().get(SUSPICION_LABEL).is_some_and(|word| word == CONFIRMED))
    }

    /// The records of containers that another key asked for, of which it is not known yet whether they restarted.
    #[must_use]
    pub fn suspects(&self) -> Vec<String> {
        let waiting = |record: &PartialObjectMeta<ConfigMap>| {
            record.labels().get(SUSPICION_LABEL).is_some_and(|word| word == WAITING)
        };
        self.0.suspects.state_filter(waiting).iter().map(|record| record.name_any()).collect()
    }

    /// Whether an injected pod of this UID was seen.
    #[must_use]
    pub fn pod_lives(&self, uid: &str) -> bool {
        self.0.pods.find(|pod| pod.metadata.uid.as_deref() == Some(uid)).is_some()
    }

    /// The UID of a namespace.
    #[must_use]
    pub fn namespace_uid(&self, name: &str) -> Option<String> {
        self.0.namespaces.get(&ObjectRef::new(name))?.metadata.uid.clone()
    }
}

impl Iterator for Steady {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(PACE)
    }
}

impl Backoff for Steady {
    fn reset(&mut self) {}
}

/// The metadata of every `K` that the labels select, kept up to date while the stream is polled.
fn reflected<K>(
    objects: Api<PartialObjectMeta<K>>,
    labels: &str,
) -> (Store<PartialObjectMeta<K>>, impl Stream<Item = ()> + Send + use<K>)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + 'static,
{
    let (store, writer) = kube::runtime::reflector::store();
    let config = watch::config().labels(labels);
    let changes = watcher(objects, config)
        .backoff(Steady)
        .modify(watch::slim)
        .reflect(writer)
        .inspect_err(|error| {
            tracing::warn!(
                error = with_causes(error),
                kind = K::kind(&()).as_ref(),
                "a watch failed; it begins anew"
            );
        })
        .map(|_: Result<Event<_>, _>| ());
    (store, changes)
}

#[cfg(test)]
pub(crate) mod tests {
    use keylend_api_server::ApiServer;
    use keylend_contract::refusal::Refusal;
    use kube::runtime::reflector::store::Writer;
    use serde_json::json;

    use super::*;
    use crate::{
        freshness::Reader,
        resolve::{
            caller::CallerClaims,
            scenario::{Scenario, caller, claims, pin},
        },
    };

    /// A store whose watch delivered `objects`; the writer goes on.
    fn filled<K>(objects: impl IntoIterator<Item = K>) -> (Store<K>, Writer<K>)
    where
        K: Resource<DynamicType = ()> + Clone + 'static,
    {
        let (store, mut writer) = kube::runtime::reflector::store();
        writer.apply_watcher_event(&Event::Init);
        for object in objects {
            writer.apply_watcher_event(&Event::InitApply(object));
        }
        writer.apply_watcher_event(&Event::InitDone);
        (store, writer)
    }

    fn metadata<K>(value: &serde_json::Value) -> PartialObjectMeta<K> {
        serde_json::from_value(json!({ "metadata": value })).unwrap()
    }

    pub(crate) fn watched(scenario: &Scenario) -> Watched {
        let pod = json!({"name": "checkout-0", "namespace": "partner", "uid": "uid-of-pod"});
        let namespace = json!({"name": "partner", "uid": "uid-of-partner"});
        let secrets = scenario.linked.iter().chain(&scenario.secret).cloned();
        Watched {
            routes: filled(scenario.route.clone()).0,
            secrets: filled(secrets).0,
            shares: filled(scenario.share.clone()).0,
            pods: filled([metadata(&pod)]).0,
            namespaces: filled([metadata(&namespace)]).0,
            suspects: filled([]).0,
        }
    }

    #[tokio::test]
    async fn there_is_no_world_before_every_watch_has_delivered() {
        let complete = watched(&Scenario::complete());
        assert!(complete.synced().await.is_ok());
        let (unsynced, _writer) = kube::runtime::reflector::store();
        let early = Watched { secrets: unsynced, ..complete };
        assert!(tokio::time::timeout(Duration::from_millis(20), early.synced()).await.is_err());
    }

    #[tokio::test]
    async fn everybody_who_waits_for_a_store_learns_of_it() {
        let (late, mut writer) = kube::runtime::reflector::store::<SecretShare>();
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let late = late.clone();
                tokio::spawn(async move { delivered(&late).await })
            })
            .collect();
        tokio::task::yield_now().await;
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitDone);
        for each in waiting {
            assert!(tokio::time::timeout(Duration::from_secs(5), each).await.unwrap().unwrap().is_ok());
        }
    }

    #[tokio::test]
    async fn a_pod_or_share_created_anew_is_another() {
        let world = watched(&Scenario::complete()).synced().await.unwrap();
        let anew = caller(&CallerClaims { pod_uid: "another".into(), ..claims() });
        assert!(world.runs(&caller(&claims())));
        assert!(!world.runs(&anew));
        assert!(world.share(&pin()).is_some());
        assert!(world.share(&Pin { uid: "another".into(), ..pin() }).is_none());
    }

    #[tokio::test]
    async fn only_the_container_of_an_alarm_is_denied() {
        let record = |container: &str, word: &str| {
            let name = record_name("uid-of-pod", container);
            metadata(&json!({"name": name, "namespace": NAMESPACE, "labels": {SUSPICION_LABEL: word}}))
        };
        let of = |container: &str| caller(&CallerClaims { container_id: container.into(), ..claims() });
        let records = [record("containerd://alarmed", CONFIRMED), record("containerd://asked-for", WAITING)];
        let watched = Watched { suspects: filled(records).0, ..watched(&Scenario::complete()) };
        let world = watched.synced().await.unwrap();
        assert!(world.denies(&of("containerd://alarmed")));
        assert!(!world.denies(&of("containerd://asked-for")));
        assert!(!world.denies(&of("containerd://new")));
        assert_eq!(world.suspects(), [record_name("uid-of-pod", "containerd://asked-for")]);
        let api = ApiServer::begin();
        let reader = Reader::new(api.client(), world);
        let soon = tokio::time::Instant::now() + Duration::from_secs(1);
        assert_eq!(reader.runs(&of("containerd://alarmed"), soon).await, Err(Refusal::CallerUnknown));
        assert_eq!(reader.runs(&of("containerd://asked-for"), soon).await, Ok(()));
    }

    #[tokio::test]
    async fn a_link_counts_once_it_has_pinned_the_very_share() {
        let world = watched(&Scenario::complete()).synced().await.unwrap();
        // (namespace, uid, links)
        let table =
            [("partner", "uid-of-share", 1), ("payments", "uid-of-share", 0), ("partner", "another", 0)];
        for (namespace, uid, links) in table {
            assert_eq!(world.links_to(namespace, &pin().reference, uid).len(), links, "{namespace} {uid}");
        }
    }
}
