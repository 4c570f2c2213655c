//! Reads shares and secrets for a decision. The one place that knows how fresh they are.
//!
//! Promises: each read is a `GET` without a resourceVersion, which the API server answers from a quorum of etcd, and it
//! is sent after the question arrived, because it is sent by being called. The share is read *after* its secret: who
//! sees a value therefore also sees every stop that was accepted before that value became live. Nothing is kept from one
//! decision to the next, nothing is retried, and what could not be read in time is not there, which refuses.
//!
//! [`Reader::read`] takes all that one decision needs at once, so that questions for the same key could later share one
//! read that begins after all of them arrived. Never add a LIST, a watch cache or an older read for the decision to allow.

use std::{collections::HashSet, time::Duration};

use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use keylend_contract::refusal::Refusal;
use keylend_crds::{Secret, SecretShare};
use kube::{Api, Client, Resource, core::NamespaceResourceScope};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use crate::{
    fault::with_causes,
    resolve::{
        caller::Caller,
        grant::{Reading, Readings},
        wish::Pin,
    },
    world::World,
};

/// How long after its arrival a question may still be read for: its sidecar gives up soon after.
pub const READ_TIME: Duration = Duration::from_millis(1500);

/// How many reads one decision has under way at once.
const AT_ONCE: usize = 32;

/// Reads for decisions.
#[derive(Clone)]
pub struct Reader {
    deciding: Client,
    world: World,
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("the API server did not answer in time")]
    Late,
    #[error("the API server cannot be read")]
    Unreachable(#[source] kube::Error),
    /// Without its cause, which may quote the object.
    #[error("the object is not one that this version understands")]
    Unreadable,
}

impl Reader {
    /// Reads by `deciding`, a client that retries nothing and gives up early.
    #[must_use]
    pub fn new(deciding: Client, world: World) -> Self {
        Self { deciding, world }
    }

    /// Reads each share and its secret; one that cannot be read by `deadline` is left out.
    pub async fn read(&self, pins: HashSet<Pin>, deadline: Instant) -> Readings {
        let reads = pins.into_iter().map(|pin| async move {
            let read = timeout_at(deadline, self.share_after_secret(&pin)).await;
            match read.unwrap_or(Err(ReadError::Late)) {
                Ok(reading) => Some((pin, reading)),
                Err(error) => {
                    tracing::warn!(
                        namespace = pin.reference.namespace,
                        share = pin.reference.name,
                        error = with_causes(&error),
                        "nothing is granted: a share or its secret could not be read",
                    );
                    None
                }
            }
        });
        stream::iter(reads).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await
    }

    /// Whether the caller's pod runs: by the watch, or, for one too young for it, by a read; and no alarm was raised.
    ///
    /// # Errors
    /// [`Refusal::CallerUnknown`] if there is no such pod or its container is denied, [`Refusal::OperatorUnreachable`] if that cannot be told.
    pub async fn runs(&self, caller: &Caller, deadline: Instant) -> Result<(), Refusal> {
        if self.world.denies(caller) {
            return Err(Refusal::CallerUnknown);
        }
        if self.world.runs(caller) {
            return Ok(());
        }
        let pods: Api<Pod> = Api::namespaced(self.deciding.clone(), caller.namespace());
        match timeout_at(deadline, pods.get_metadata_opt(caller.pod())).await {
            Ok(Ok(Some(pod))) if pod.metadata.uid.as_deref() == Some(caller.pod_uid()) => Ok(()),
            Ok(Ok(_)) => Err(Refusal::CallerUnknown),
            Ok(Err(error)) => {
                let error = with_causes(&error);
                tracing::warn!(
                    error,
                    namespace = caller.namespace(),
                    pod = caller.pod(),
                    "a pod could not be read"
                );
                Err(Refusal::OperatorUnreachable)
            }
            Err(_late) => Err(Refusal::OperatorUnreachable),
        }
    }

    /// The secret's name comes from the watch where that has seen the very share that was pinned: it cannot change.
    async fn share_after_secret(&self, pin: &Pin) -> Result<Reading, ReadError> {
        let seen = match self.world.share(pin) {
            Some(share) => Some(share.spec.secret_ref.name.clone()),
            None => self.share(pin).await?.map(|share| share.spec.secret_ref.name),
        };
        let Some(name) = seen else { return Ok(Reading::default()) };
        let secret = self.get::<Secret>(&pin.reference.namespace, &name).await?;
        let share = self.share(pin).await?;
        let names_it = share.as_ref().is_some_and(|share| share.spec.secret_ref.name == name);
        Ok(Reading { share, secret: secret.filter(|_| names_it) })
    }

    async fn share(&self, pin: &Pin) -> Result<Option<SecretShare>, ReadError> {
        self.get(&pin.reference.namespace, &pin.reference.name).await
    }

    async fn get<K>(&self, namespace: &str, name: &str) -> Result<Option<K>, ReadError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        if !is_one_segment(namespace) || !is_one_segment(name) {
            return Ok(None);
        }
        Api::namespaced(self.deciding.clone(), namespace).get_opt(name).await.map_err(|error| {
            if matches!(error, kube::Error::SerdeError(_)) {
                ReadError::Unreadable
            } else {
                ReadError::Unreachable(error)
            }
        })
    }
}

/// Whether `name` can be the name of an object. The client puts names into a URL as they are: anything else might ask
/// for something else, or for an older answer (`?resourceVersion=0`).
fn is_one_segment(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    !name.is_empty() && name.bytes().all(inner) && !name.starts_with('.') && !name.ends_with('.')
}
