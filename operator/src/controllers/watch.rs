//! Controllers whose watch one unreadable object does not stop, and how they run.
//!
//! An object that cannot be read, such as one that a newer version of ours wrote, is logged and treated as if it were
//! not there; the others go on. Must never be added: an object of which only a part could be read.

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _, TryFuture, future, stream};
use kube::{
    Api, Client, Resource,
    core::{DeserializeGuard, ObjectMeta},
    runtime::{
        Controller, WatchStreamExt as _,
        controller::{Action, Config, Error},
        reflector::{ObjectRef, Store, reflector, store},
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::watch as channel;

use crate::{enrol::SUSPICION_LABEL, fault::with_causes, world::Steady};

/// How many objects of a kind are looked at at once.
const CONCURRENCY: u16 = 16;

/// How long one watch lasts, in seconds: a connection that died silently is noticed this late.
const WATCH_SECONDS: u32 = 30;

/// How many objects one answer to a list holds: a page of the largest objects still fits into memory.
const PAGE: u32 = 10;

/// How a watch of ours is made.
#[must_use]
pub fn config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE)
}

/// Drops from an object what only weighs, and of which anybody can write any amount: who wrote which field and who owns it,
/// annotations, and labels but the one that something here decides by.
pub fn slim<K: Resource>(object: &mut K) {
    let metadata = object.meta_mut();
    metadata.managed_fields = None;
    metadata.owner_references = None;
    metadata.annotations = None;
    if let Some(labels) = &mut metadata.labels {
        labels.retain(|label, _| label == SUSPICION_LABEL);
    }
}

/// A controller of every `K` that can be read.
#[must_use]
pub fn controller<K>(client: &Client) -> Controller<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let (reader, writer) = store();
    let known = reader.clone();
    let events = watcher(Api::<DeserializeGuard<K>>::all(client.clone()), config());
    let events =
        events.filter_map(move |event| future::ready(event.map(|event| readable(event, &known)).transpose()));
    let events = events.modify(slim);
    Controller::for_stream(reflector(writer, events).applied_objects(), reader)
        .with_config(Config::default().concurrency(CONCURRENCY))
        .trigger_backoff(Steady)
}

/// Something each time that what `known` holds has changed.
pub fn changes<T: Send + Sync + 'static>(
    known: channel::Receiver<T>,
) -> impl Stream<Item = ()> + Send + 'static {
    stream::unfold(known, |mut known| async move {
        known.changed().await.ok()?;
        Some(((), known))
    })
}

/// Has `controller` `reconcile` until the process ends. What fails is looked at again `after` so long.
pub async fn run<K, C, R, F>(controller: Controller<K>, reconcile: R, after: Duration, context: Arc<C>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    R: FnMut(Arc<K>, Arc<C>) -> F,
    F: TryFuture<Ok = Action> + Send + 'static,
    F::Error: std::error::Error + Send + 'static,
{
    controller
        .run(reconcile, move |_, _, _| Action::requeue(after), context)
        .for_each(|result| async move {
            match result {
                // Gone before it was looked at again.
                Ok(_) | Err(Error::ObjectNotFound(_)) => {}
                Err(error) => {
                    let error = with_causes(&error);
                    tracing::warn!(error, kind = %K::kind(&()), "an object is looked at again");
                }
            }
        })
        .await;
}

/// The event, if its object can be read. An object that could be read before and cannot any more is gone.
fn readable<K>(event: Event<DeserializeGuard<K>>, known: &Store<K>) -> Option<Event<K>>
where
    K: Resource<DynamicType = ()> + Clone,
{
    match event {
        Event::Init => Some(Event::Init),
        Event::InitDone => Some(Event::InitDone),
        Event::InitApply(DeserializeGuard(Ok(object))) => Some(Event::InitApply(object)),
        Event::Apply(DeserializeGuard(Ok(object))) => Some(Event::Apply(object)),
        Event::Delete(DeserializeGuard(Ok(object))) => Some(Event::Delete(object)),
        Event::InitApply(DeserializeGuard(Err(unreadable))) => {
            complain::<K>(&unreadable.metadata);
            None
        }
        Event::Apply(DeserializeGuard(Err(unreadable)))
        | Event::Delete(DeserializeGuard(Err(unreadable))) => {
            complain::<K>(&unreadable.metadata);
            let object = ObjectRef::new(unreadable.metadata.name.as_deref()?)
                .within(unreadable.metadata.namespace.as_deref().unwrap_or_default());
            known.get(&object).map(|object| Event::Delete((*object).clone()))
        }
    }
}

/// Names the object; why it cannot be read is not said, because that may quote it.
fn complain<K: Resource<DynamicType = ()>>(metadata: &ObjectMeta) {
    tracing::warn!(kind = %K::kind(&()), namespace = metadata.namespace, name = metadata.name, "unreadable object");
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
    use keylend_crds::Secret;
    use kube::{ResourceExt as _, runtime::reflector};
    use serde_json::{Value, json};

    use super::*;

    fn secret(name: &str, type_: &str) -> Value {
        json!({
            "apiVersion": "keylend.dev/v1alpha1",
            "kind": "Secret",
            "metadata": { "name": name, "namespace": "payments" },
            "spec": { "type": type_ },
        })
    }

    fn guarded(object: Value) -> DeserializeGuard<Secret> {
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn what_only_weighs_is_not_kept() {
        let mut heavy: Secret = serde_json::from_value(secret("one", "String")).unwrap();
        heavy.annotations_mut().insert("kubectl.kubernetes.io/last-applied-configuration".into(), "x".into());
        heavy.managed_fields_mut().push(ManagedFieldsEntry::default());
        heavy.finalizers_mut().push("keylend.dev/stop".into());
        slim(&mut heavy);
        assert!(heavy.annotations().is_empty() && heavy.managed_fields().is_empty());
        assert_eq!(heavy.finalizers(), ["keylend.dev/stop"]);
    }

    #[test]
    fn an_unreadable_object_is_not_there_and_the_others_are() {
        let (reader, mut writer) = reflector::store::<Secret>();
        let events = [
            Event::Init,
            Event::InitApply(guarded(secret("one", "String"))),
            Event::InitApply(guarded(secret("two", "String"))),
            Event::InitApply(guarded(secret("newer", "NotKnownHere"))),
            Event::InitDone,
            Event::Apply(guarded(secret("newer-too", "NotKnownHere"))),
            Event::Apply(guarded(secret("two", "NotKnownHere"))),
            Event::Apply(guarded(secret("three", "String"))),
        ];
        for event in events {
            if let Some(event) = readable(event, &reader) {
                writer.apply_watcher_event(&event);
            }
        }
        let mut names: Vec<String> = reader.state().iter().map(|secret| secret.name_any()).collect();
        names.sort();
        assert_eq!(names, ["one", "three"]);
    }
}
