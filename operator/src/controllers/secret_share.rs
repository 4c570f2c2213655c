//! Takes charge of shares, and carries their stops through.
//!
//! Every replica runs this and any of them may finish what another began: each write is decided on the object as read and
//! is made only if that is still the object. A share gets our finalizer and its pins before anything is granted under it,
//! and loses the finalizer, or shows `Revoked=True`, only when [`crate::revocation`] says that the stop is complete.
//! Nothing here may hinder a stop: no lookup, no audit row and no status that fails.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use keylend_crds::{STOP_FINALIZER, Secret, SecretShare, secret::ShareReference};
use kube::{
    Api, Client, ResourceExt as _,
    core::DeserializeGuard,
    runtime::{
        Controller,
        controller::{Action, Config, Error},
        reflector::{ObjectRef, Store, store::WriterDropped},
    },
};

use self::plan::{Plan, Progress, Step, View, plan};
use super::{
    apply::{Outcome, add_finalizer, drop_finalizer, patch_status},
    watch,
};
use crate::{
    audit::{AuditLog, row},
    revocation::{Incarnation, stop_of},
    world::{Steady, Watched},
};

pub mod plan;

/// How many shares are looked at at once.
const CONCURRENCY: u16 = 16;
/// How soon a share is looked at again after something failed, or the object had moved on.
const AGAIN: Duration = Duration::from_millis(300);

/// What the controller works with.
pub struct Context {
    /// Writes, and reads what is pinned.
    pub client: Client,
    /// What the watches have seen.
    pub watched: Watched,
    /// Where stops are put on record.
    pub audit: AuditLog,
    /// When this run of this replica first read which stop.
    pub incarnation: Mutex<Incarnation>,
}

/// Why a share could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The API server.
    #[error("writing a share or reading what it names")]
    Api(#[from] kube::Error),
    /// The process is about to end.
    #[error("waiting for the watches")]
    Watches(#[from] WriterDropped),
}

/// The controller before it runs, so that its store can be shared.
#[must_use]
pub fn controller(client: &Client) -> Controller<SecretShare> {
    let controller = watch::controller::<SecretShare>(client);
    let shares = controller.store();
    controller.with_config(Config::default().concurrency(CONCURRENCY)).trigger_backoff(Steady).watches(
        Api::<DeserializeGuard<Secret>>::all(client.clone()),
        watch::config(),
        move |secret| secret.0.map_or_else(|_unreadable| Vec::new(), |secret| concerned(&shares, &secret)),
    )
}

/// Runs until the process ends.
pub async fn run(controller: Controller<SecretShare>, context: Arc<Context>) {
    controller
        .run(reconcile, |_, _, _| Action::requeue(AGAIN), context)
        .for_each(|result| async move {
            match result {
                // Gone before it was looked at again.
                Ok(_) | Err(Error::ObjectNotFound(_)) => {}
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, cause, "a share is looked at again");
                }
            }
        })
        .await;
}

/// The shares that a changed secret concerns: those it links to, or those that lend it.
fn concerned(shares: &Store<SecretShare>, secret: &Secret) -> Vec<ObjectRef<SecretShare>> {
    if let Some(link) = &secret.spec.link {
        let reference = |share: &ShareReference| ObjectRef::new(&share.name).within(&share.namespace);
        return link.shares.iter().map(|share| reference(&share.share_ref)).collect();
    }
    let lends = |share: &SecretShare| {
        share.metadata.namespace == secret.metadata.namespace
            && Some(&share.spec.secret_ref.name) == secret.metadata.name.as_ref()
    };
    shares.state_filter(lends).iter().map(|share| ObjectRef::from_obj(&**share)).collect()
}

async fn reconcile(share: Arc<SecretShare>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let now = Timestamp::now();
    let progress = context.progress(&share, now, Instant::now());
    let seen = match progress {
        Progress::NotStopped => context.look_up(&share).await?,
        Progress::Unrecorded(_) | Progress::Waiting(_) | Progress::Complete(_) => Seen::default(),
    };
    let Plan { step, again } = plan(&share, &seen.view(), progress, now);
    let api: Api<SecretShare> =
        Api::namespaced(context.client.clone(), &share.namespace().unwrap_or_default());
    let written = match &step {
        Step::AddFinalizer => add_finalizer(&api, &*share, STOP_FINALIZER).await,
        Step::DropFinalizer => drop_finalizer(&api, &*share, STOP_FINALIZER).await,
        Step::Status(status) => {
            let status = serde_json::to_value(status).map_err(kube::Error::SerdeError)?;
            patch_status(&api, &*share, status).await
        }
        Step::Nothing => Ok(Outcome::Unchanged),
    };
    let outcome = written.or_else(|error| announced_or(&step, progress, error))?;
    if outcome == Outcome::Written && step.completes(&share) {
        context.record_stop(&share).await;
    }
    Ok(Action::requeue(if outcome == Outcome::Conflict { AGAIN } else { again }))
}

/// A status that only announces what the object already says may fail: the stop goes on without it.
fn announced_or(step: &Step, progress: Progress, error: kube::Error) -> Result<Outcome, kube::Error> {
    if matches!((step, progress), (Step::Status(_), Progress::Waiting(_))) {
        tracing::warn!(%error, "a stop goes on though its status cannot be written");
        return Ok(Outcome::Unchanged);
    }
    Err(error)
}

/// What was looked up; nothing for a stop, which needs nothing.
#[derive(Default)]
struct Seen {
    secret: Option<Arc<Secret>>,
    namespace_uid: Option<String>,
    accepted: bool,
}

impl Seen {
    fn view(&self) -> View<'_> {
        View {
            secret: self.secret.as_deref(),
            namespace_uid: self.namespace_uid.as_deref(),
            accepted: self.accepted,
        }
    }
}

impl Context {
    /// How far the stop of `share` has come, if it was stopped. Noting it starts the wait.
    fn progress(&self, share: &SecretShare, now: Timestamp, instant: Instant) -> Progress {
        let Some(stop) = stop_of(share, now) else { return Progress::NotStopped };
        if stop.is_complete(share) {
            return Progress::Complete(stop);
        }
        if !stop.is_on_record(share) {
            return Progress::Unrecorded(stop);
        }
        let uid = share.metadata.uid.as_deref().unwrap_or_default();
        let mut incarnation = self.incarnation.lock().unwrap_or_else(PoisonError::into_inner);
        match incarnation.wait(uid, stop, instant) {
            Some(wait) => Progress::Waiting(wait),
            None => Progress::Complete(stop),
        }
    }

    /// What the share names. What is about to be pinned is read anew: a pin is for good, and a watch may lag.
    async fn look_up(&self, share: &SecretShare) -> Result<Seen, ReconcileError> {
        let world = self.watched.synced().await?;
        let namespace = share.namespace().unwrap_or_default();
        let status = share.status.as_ref();
        let recipient = &share.spec.recipient.namespace;
        let reference = ShareReference { namespace: namespace.clone(), name: share.name_any() };
        let uid = share.metadata.uid.as_deref().unwrap_or_default();
        let accepted = !world.links_to(&recipient.name, &reference, uid).is_empty();
        let secret = if status.is_some_and(|status| status.secret_uid.is_some()) {
            world.secret(&namespace, &share.spec.secret_ref.name)
        } else {
            let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &namespace);
            secrets.get_opt(&share.spec.secret_ref.name).await?.map(Arc::new)
        };
        let pinned =
            recipient.uid.is_some() || status.is_some_and(|status| status.recipient_namespace_uid.is_some());
        let namespace_uid = if pinned || !accepted {
            world.namespace_uid(&recipient.name)
        } else {
            let namespaces: Api<Namespace> = Api::all(self.client.clone());
            namespaces.get_metadata_opt(&recipient.name).await?.and_then(|found| found.metadata.uid)
        };
        Ok(Seen { secret, namespace_uid, accepted })
    }

    /// A stop stands whether or not there is room for its row.
    async fn record_stop(&self, share: &SecretShare) {
        let object = row::Object {
            kind: "SecretShare",
            namespace: share.namespace().unwrap_or_default().as_str().into(),
            name: share.name_any().as_str().into(),
            uid: share.uid().unwrap_or_default().as_str().into(),
        };
        let row = row::Write {
            change: row::Change::ShareStopped,
            object,
            environment: Some(share.spec.environment.as_str().into()),
            field: None,
            version: None,
        };
        if let Err(error) = self.audit.write(row).await {
            tracing::error!(%error, share = share.name_any(), "a stop is complete but not on record");
        }
    }
}

#[cfg(test)]
mod tests;
