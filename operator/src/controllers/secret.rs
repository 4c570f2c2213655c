//! Takes values in and makes them live; accepts shares for linked secrets; removes envelopes with their secret.
//!
//! Every replica runs this. Order keeps it safe, not a leader: finalizer, then envelope, then pointer by
//! compare-and-set; the envelope that the pointer left goes after a grace. Two replicas that take in the same blob rest
//! the same value under the same version and one pointer wins. Must never be added: a pointer written without
//! comparison, or an envelope removed before the pointer has left it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt as _,
    core::DeserializeGuard,
    runtime::{
        Controller,
        controller::Action,
        events::EventType,
        reflector::{ObjectRef, Store},
    },
};

use keylend_crds::{
    ENVELOPE_FINALIZER, Reason, Secret, SecretShare, SecretStatus,
    secret::{LinkedShare, SecretType},
};

use self::{
    link::Recipient,
    value::{Plan, Pointer},
};
use super::{
    apply::{Outcome as Written, add_finalizer, drop_finalizer, has_finalizer, patch_status},
    namespace_uid,
    tell::{News, Teller},
    watch,
};
use crate::{
    fault::with_causes,
    intake::{Intake, Outcome},
    keys::working::WorkingKeys,
    storage::Storage,
};

pub mod link;
pub mod sweep;
pub mod value;

/// How long an envelope outlives the pointer that named it.
pub const GRACE: Duration = Duration::from_secs(30);

/// How soon a secret that had moved on is looked at again.
const SOON: Duration = Duration::from_millis(300);
/// How soon what failed is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// How soon a refused blob is looked at again: clocks move, and keys come back.
const LATER: Duration = Duration::from_mins(1);
const LONGEST: Duration = Duration::from_secs(30);
const BETWEEN_SWEEPS: Duration = Duration::from_mins(5);

/// What the controller works with.
pub struct Context {
    /// Writes, and reads the shares that linked secrets name.
    pub client: Client,
    /// How values come in.
    pub intake: Intake,
    /// Where they rest.
    pub storage: Arc<Storage>,
    /// Which of the keys they rest under work.
    pub keys: Arc<WorkingKeys>,
    /// Tells what is live, and what is not and why.
    pub teller: Teller,
}

/// Why a secret could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The API server did not do as asked.
    #[error("writing a secret or reading what it names")]
    Api(#[from] kube::Error),
    /// The status cannot be written as JSON.
    #[error("writing a secret's status")]
    Status(#[from] serde_json::Error),
    /// It took too long.
    #[error("looking at a secret took too long")]
    TimedOut,
}

/// The controller before it runs, so that its store can be shared. All secrets are looked at again when `keys` change.
#[must_use]
pub fn controller(client: &Client, keys: &WorkingKeys) -> Controller<Secret> {
    let controller = watch::controller::<Secret>(client);
    let secrets = controller.store();
    controller
        .watches(Api::<DeserializeGuard<SecretShare>>::all(client.clone()), watch::config(), move |share| {
            linking(&secrets, &share.namespace().unwrap_or_default(), &share.name_any())
        })
        .reconcile_all_on(watch::changes(keys.subscribe()))
}

/// Runs until the process ends.
pub async fn run(controller: Controller<Secret>, context: Arc<Context>) {
    let sweeping = sweep_for_ever(controller.store(), context.clone());
    futures_util::future::join(watch::run(controller, reconcile, AGAIN, context), sweeping).await;
}

async fn reconcile(secret: Arc<Secret>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let now = Timestamp::now();
    let looking = look_at(&secret, &context, now);
    tokio::time::timeout(LONGEST, looking).await.map_err(|_| ReconcileError::TimedOut)?
}

/// The story of one look at a secret.
async fn look_at(secret: &Secret, context: &Context, now: Timestamp) -> Result<Action, ReconcileError> {
    let secrets = Api::namespaced(context.client.clone(), &secret.namespace().unwrap_or_default());
    if secret.metadata.deletion_timestamp.is_some() {
        return let_go(secret, &secrets, &context.storage).await;
    }
    match secret.spec.type_ {
        SecretType::Linked => {
            let found = named_shares(secret, &context.client).await?;
            let name = &secret.namespace().unwrap_or_default();
            let uid = &namespace_uid(&context.client, name).await?.unwrap_or_default();
            let status = link::plan(secret, Recipient { name, uid }, &found, now);
            let written = write_status(&secrets, secret, &status).await?;
            if written == Written::Written {
                tell(secret, &status, &[], context);
            }
            Ok(next(written, Action::await_change()))
        }
        SecretType::String => {
            if !has_finalizer(secret, ENVELOPE_FINALIZER) {
                let written = add_finalizer(&secrets, secret, ENVELOPE_FINALIZER).await?;
                // The write itself brings the secret here again.
                return Ok(next(written, Action::await_change()));
            }
            let working = working_keys(secret, &context.keys).await;
            let outcomes = context.intake.take_in(secret, now).await;
            let plan = value::plan(secret, &outcomes, working.as_ref(), now);
            let written = write_status(&secrets, secret, &plan.status).await?;
            if written == Written::Written {
                tell(secret, &plan.status, &outcomes, context);
                clear_away(secret, plan, context);
            }
            Ok(next(written, when(secret, &outcomes)))
        }
    }
}

/// The names of the keys that work. Where `secret` says otherwise than the last look, another replica may have looked
/// later: we look again before we contradict it, so that two never write in turns.
async fn working_keys(secret: &Secret, keys: &WorkingKeys) -> Option<BTreeSet<String>> {
    match keys.last().filter(|working| value::is_marked_by(secret, working)) {
        Some(working) => Some(working),
        None => keys.look().await,
    }
}

/// Removes the envelopes of a secret that is being deleted, then lets it go.
async fn let_go(secret: &Secret, secrets: &Api<Secret>, storage: &Storage) -> Result<Action, ReconcileError> {
    if !has_finalizer(secret, ENVELOPE_FINALIZER) {
        return Ok(Action::await_change());
    }
    storage.forget_all(&secret.uid().unwrap_or_default()).await?;
    let written = drop_finalizer(secrets, secret, ENVELOPE_FINALIZER).await?;
    Ok(next(written, Action::await_change()))
}

/// Each entry of the link, with the share that stands under its name now.
async fn named_shares(
    secret: &Secret,
    client: &Client,
) -> Result<Vec<(LinkedShare, Option<SecretShare>)>, ReconcileError> {
    let mut found = Vec::new();
    for link in secret.spec.link.iter().flat_map(|link| &link.shares) {
        let shares: Api<SecretShare> = Api::namespaced(client.clone(), &link.share_ref.namespace);
        found.push((link.clone(), shares.get_opt(&link.share_ref.name).await?));
    }
    Ok(found)
}

async fn write_status(
    secrets: &Api<Secret>,
    secret: &Secret,
    status: &SecretStatus,
) -> Result<Written, ReconcileError> {
    Ok(patch_status(secrets, secret, serde_json::to_value(status)?).await?)
}

/// Tells what `status`, now that it is written, says of `secret`.
fn tell(secret: &Secret, status: &SecretStatus, outcomes: &[(String, Outcome)], context: &Context) {
    let before = secret.status.as_ref().map(|status| &status.conditions[..]).unwrap_or_default();
    context.teller.warn(secret, before, &status.conditions);
    let live = outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::TakenIn(_)));
    let live: Vec<&str> = live.map(|(environment, _)| environment.as_str()).collect();
    if !live.is_empty() {
        let note = format!("a new value is live: {}", live.join(", "));
        context.teller.tell(secret, News { type_: EventType::Normal, reason: Reason::Live, note });
    }
}

/// Removes what nothing points to any more. What is not removed here, because the process ends, the sweep finds.
fn clear_away(secret: &Secret, plan: Plan, context: &Context) {
    let binding = |pointer: &Pointer| {
        context.intake.binding(secret, &pointer.environment, pointer.version, pointer.wrap_generation)
    };
    for (pointers, grace) in [(plan.removed, Duration::ZERO), (plan.superseded, GRACE)] {
        for binding in pointers.iter().map(binding) {
            let storage = context.storage.clone();
            tokio::spawn(async move {
                tokio::time::sleep(grace).await;
                if let Err(error) = storage.forget(&binding).await {
                    tracing::warn!(
                        error = with_causes(&error),
                        "an envelope that nothing points to stays until the next sweep"
                    );
                }
            });
        }
    }
}

/// When to look again, if nothing changes.
fn when(secret: &Secret, outcomes: &[(String, Outcome)]) -> Action {
    let mut action = Action::await_change();
    for (environment, outcome) in outcomes {
        match outcome {
            Outcome::Failed { cause } => {
                let (namespace, name) = (secret.namespace(), secret.name_any());
                tracing::warn!(namespace, name, environment, cause, "a value could not be taken in");
                return Action::requeue(AGAIN);
            }
            Outcome::KeySealed { .. } => return Action::requeue(AGAIN),
            Outcome::Refused(_) => action = Action::requeue(LATER),
            Outcome::NoBlob | Outcome::Live | Outcome::Stale | Outcome::TakenIn(_) => {}
        }
    }
    action
}

fn next(written: Written, otherwise: Action) -> Action {
    match written {
        Written::Conflict => Action::requeue(SOON),
        Written::Written | Written::Unchanged => otherwise,
    }
}

/// The linked secrets that name a share.
fn linking(secrets: &Store<Secret>, namespace: &str, name: &str) -> Vec<ObjectRef<Secret>> {
    let names = |secret: &Secret| {
        let links = secret.spec.link.iter().flat_map(|link| &link.shares);
        links.map(|link| &link.share_ref).any(|share| share.namespace == namespace && share.name == name)
    };
    secrets.state_filter(names).iter().map(|secret| ObjectRef::from_obj(&**secret)).collect()
}

async fn sweep_for_ever(known: Store<Secret>, context: Arc<Context>) {
    loop {
        tokio::time::sleep(BETWEEN_SWEEPS).await;
        if let Err(error) = sweep::sweep(&context.client, &known, &context.storage).await {
            tracing::warn!(error = with_causes(&error), "envelopes could not be swept");
        }
        if let Err(error) = context.intake.sealing().publish().await {
            tracing::warn!(error = with_causes(&error), "sealing keys could not be published");
        }
    }
}

#[cfg(test)]
mod tests;
