//! Removes envelopes that nothing points to and nothing ever will.
//!
//! Versions are never given twice and pointers move only to versions above the last one given, so an envelope at or
//! below it that no pointer names stays unnamed for ever, however old the status that says so. One above it may be on its
//! way in and is left alone. The secret is read again right before each removal.

use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Client,
    runtime::reflector::{ObjectRef, Store},
};

use keylend_crds::Secret;

use crate::{
    controllers::secret::GRACE,
    intake::last_version,
    storage::{Resting, Storage},
};

/// Looks at every envelope that rests, once. What is `known` of the secrets spares reading those that need theirs.
///
/// # Errors
/// What the API server said.
pub async fn sweep(client: &Client, known: &Store<Secret>, storage: &Storage) -> Result<(), kube::Error> {
    for resting in storage.resting().await? {
        let seen = known.get(&ObjectRef::new(&resting.name).within(&resting.namespace));
        if !left_over(&resting, seen.as_deref(), Timestamp::now()) {
            continue;
        }
        let secrets: Api<Secret> = Api::namespaced(client.clone(), &resting.namespace);
        let secret = secrets.get_opt(&resting.name).await?;
        if left_over(&resting, secret.as_ref(), Timestamp::now()) {
            storage.remove(&resting.envelope).await?;
        }
    }
    Ok(())
}

/// Whether nothing points to the envelope, nor ever will; `secret` is what stands under its secret's name now.
fn left_over(resting: &Resting, secret: Option<&Secret>, now: Timestamp) -> bool {
    let Some(secret) = secret.filter(|secret| secret.metadata.uid.as_deref() == Some(resting.uid.as_str()))
    else {
        return true;
    };
    let fields = secret.status.iter().flat_map(|status| &status.environments).flat_map(|one| &one.fields);
    let mut young = false;
    for field in fields {
        if field.version == resting.version {
            return false;
        }
        young |= is_young(&field.updated_at, now);
    }
    resting.version <= last_version(secret) && !young
}

/// Readers may still be on their way to what this value took the place of.
fn is_young(updated_at: &str, now: Timestamp) -> bool {
    let grace = SignedDuration::try_from(GRACE).unwrap_or(SignedDuration::MAX);
    updated_at.parse::<Timestamp>().is_ok_and(|updated| now.duration_since(updated) < grace)
}

#[cfg(test)]
mod tests;
