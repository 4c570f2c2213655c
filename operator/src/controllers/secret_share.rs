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

use jiff::Timestamp;
use keylend_crds::{Reason, STOP_FINALIZER, Secret, SecretShare, secret::ShareReference};
use kube::{
    Api, Client, ResourceExt as _,
    core::DeserializeGuard,
    runtime::{
        Controller,
        controller::Action,
        events::EventType,
        reflector::{ObjectRef, Store, store::WriterDropped},
    },
};

use self::plan::{Plan, Progress, Step, View, plan};
use super::{
    apply::{Outcome, add_finalizer, drop_finalizer, patch_status},
    namespace_uid,
    tell::{News, Teller, named},
    watch,
};
use crate::{
    audit::row::{Change, Write},
    fault::with_causes,
    revocation::{Incarnation, Stop, stop_of},
    world::Watched,
};

pub mod plan;

/// How soon a share is looked at again after something failed, or the object had moved on.
const AGAIN: Duration = Duration::from_millis(300);

/// What the controller works with.
pub struct Context {
    /// Writes, and reads what is pinned.
    pub client: Client,
    /// What the watches have seen.
    pub watched: Watched,
    /// Tells of stops, and of what keeps a share from being used.
    pub teller: Teller,
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
    controller.watches(Api::<DeserializeGuard<Secret>>::all(client.clone()), watch::config(), move |secret| {
        secret.0.map_or_else(|_unreadable| Vec::new(), |secret| concerned(&shares, &secret))
    })
}

/// Runs until the process ends.
pub async fn run(controller: Controller<SecretShare>, context: Arc<Context>) {
    watch::run(controller, reconcile, AGAIN, context).await;
}

/// The shares that a changed secret concerns: those it links to and that are for its namespace, or those that lend it.
fn concerned(shares: &Store<SecretShare>, secret: &Secret) -> Vec<ObjectRef<SecretShare>> {
    if let Some(link) = &secret.spec.link {
        let reference = |share: &ShareReference| ObjectRef::new(&share.name).within(&share.namespace);
        let named = link.shares.iter().map(|share| reference(&share.share_ref));
        let ours = |share: &ObjectRef<SecretShare>| {
            let recipient = shares.get(share).map(|share| share.spec.recipient.namespace.name.clone());
            recipient.is_some() && recipient == secret.metadata.namespace
        };
        return named.filter(ours).collect();
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
    if outcome == Outcome::Written {
        context.tell(&share, &step, now);
    }
    Ok(Action::requeue(if outcome == Outcome::Conflict { AGAIN } else { again }))
}

/// A status that only announces what the object already says may fail: the stop goes on without it.
fn announced_or(step: &Step, progress: Progress, error: kube::Error) -> Result<Outcome, kube::Error> {
    if matches!((step, progress), (Step::Status(_), Progress::Waiting(_))) {
        tracing::warn!(error = with_causes(&error), "a stop goes on though its status cannot be written");
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
        if !incarnation.has_read(uid, stop) {
            self.record(share, accepted(stop, share));
        }
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
        let pinned = share.recipient_namespace_uid().is_some();
        let namespace_uid = if pinned || !accepted {
            world.namespace_uid(&recipient.name)
        } else {
            namespace_uid(&self.client, &recipient.name).await?
        };
        Ok(Seen { secret, namespace_uid, accepted })
    }

    /// Tells what `step`, now that it is written, says of `share`.
    fn tell(&self, share: &SecretShare, step: &Step, now: Timestamp) {
        if step.completes(share) {
            self.record(share, Change::ShareStopped);
            let (reason, note) = match stop_of(share, now) {
                Some(Stop::Expired { .. }) => (Reason::Expired, "the share has expired"),
                Some(Stop::Final) | None => (Reason::Stopped, "the share was stopped"),
            };
            let note = format!("{note}; nothing that was granted under it can still be open");
            self.teller.tell(share, News { type_: EventType::Normal, reason, note });
        }
        if let Step::Status(status) = step {
            let before = share.status.as_ref().map(|status| &status.conditions[..]).unwrap_or_default();
            self.teller.warn(share, before, &status.conditions);
        }
    }

    fn record(&self, share: &SecretShare, change: Change) {
        let environment = Some(share.spec.environment.as_str().into());
        self.teller.record(Write { environment, ..Write::of(change, named("SecretShare", share)) });
    }
}

/// What an owner, or the time, did to `share`.
fn accepted(stop: Stop, share: &SecretShare) -> Change {
    match stop {
        Stop::Expired { .. } => Change::ShareExpired,
        Stop::Final if share.metadata.deletion_timestamp.is_some() => Change::ShareDeleted,
        Stop::Final => Change::ShareRevoked,
    }
}

#[cfg(test)]
mod tests;
