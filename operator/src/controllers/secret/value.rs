//! What a secret that keeps values should say, as a pure rule.
//!
//! The pointer of an environment moves to what was taken in, or stays; it goes when the environment is no longer listed.
//! An environment that is listed without a blob keeps its live value, so a manifest needs to hold none.

use std::collections::BTreeSet;

use jiff::Timestamp;

use keylend_crds::{
    ConditionType, Reason, Secret, SecretStatus,
    condition::ConditionStatus,
    secret::{EnvironmentStatus, FieldStatus, VALUE_FIELD},
};

use crate::{
    controllers::apply::{conditioned, rfc3339},
    intake::{Outcome, TakenIn, last_version},
};

/// How many digests of blobs are kept.
const MAX_DIGESTS: usize = 32;

/// What to write, and which envelopes nothing will point to once it is written.
#[derive(Debug, PartialEq)]
pub struct Plan {
    /// The whole status.
    pub status: SecretStatus,
    /// Envelopes that a newer value took the place of: readers may still be on their way to them.
    pub superseded: Vec<Pointer>,
    /// Envelopes whose environment is no longer listed.
    pub removed: Vec<Pointer>,
}

/// Where a value rested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// The environment.
    pub environment: String,
    /// The version.
    pub version: i64,
    /// The wrap generation.
    pub wrap_generation: i64,
}

/// Decides what `secret`'s status becomes, given what came of each environment of its specification, and the names of the
/// keys that work if those could be seen.
#[must_use]
pub fn plan(
    secret: &Secret,
    outcomes: &[(String, Outcome)],
    working: Option<&BTreeSet<String>>,
    now: Timestamp,
) -> Plan {
    let previous = secret.status.clone().unwrap_or_default();
    let mut plan = Plan { status: SecretStatus::default(), superseded: vec![], removed: vec![] };
    for (name, outcome) in outcomes {
        let live = previous.environments.iter().find(|one| one.name == *name);
        let Outcome::TakenIn(taken) = outcome else {
            plan.status.environments.extend(live.map(|live| marked(live, working)));
            continue;
        };
        let (fields, superseded) = pointed_to(taken, live, now);
        plan.superseded.extend(superseded);
        plan.status.environments.push(EnvironmentStatus { name: name.clone(), fields });
    }
    for gone in previous.environments.iter().filter(|one| !outcomes.iter().any(|(name, _)| *name == one.name))
    {
        plan.removed.extend(gone.fields.iter().map(|field| pointer(&gone.name, field)));
    }
    let generation = secret.metadata.generation.unwrap_or(0);
    let conditions = [ready(outcomes, &plan.status.environments), source_stale(outcomes)];
    let last = plan.status.environments.iter().flat_map(|one| &one.fields).map(|field| field.version).max();
    plan.status.last_version = last.max(Some(last_version(secret))).filter(|last| *last > 0);
    plan.status.conditions = conditioned(&previous.conditions, &conditions, generation, now);
    plan.status.observed_generation = Some(generation);
    plan
}

/// Whether every mark of `secret` is as `working` says.
#[must_use]
pub fn is_marked_by(secret: &Secret, working: &BTreeSet<String>) -> bool {
    let live = secret.status.iter().flat_map(|status| &status.environments);
    live.flat_map(|one| &one.fields).all(|field| field.key_sealed == is_sealed(field, working))
}

/// The live value, marked if its key does not work. What nobody could see stays as it was told.
fn marked(live: &EnvironmentStatus, working: Option<&BTreeSet<String>>) -> EnvironmentStatus {
    let mut live = live.clone();
    if let Some(working) = working {
        for field in &mut live.fields {
            field.key_sealed = is_sealed(field, working);
        }
    }
    live
}

fn is_sealed(field: &FieldStatus, working: &BTreeSet<String>) -> bool {
    field.key.as_ref().is_some_and(|key| !working.contains(key))
}

fn pointed_to(
    taken: &TakenIn,
    live: Option<&EnvironmentStatus>,
    now: Timestamp,
) -> (Vec<FieldStatus>, Option<Pointer>) {
    let old = live.and_then(|live| live.fields.iter().find(|field| field.name == VALUE_FIELD));
    let known = old.iter().flat_map(|old| &old.digests).cloned();
    let field = FieldStatus {
        name: VALUE_FIELD.to_owned(),
        version: taken.version,
        wrap_generation: 1,
        key: Some(taken.key.clone()),
        key_sealed: false,
        updated_at: rfc3339(now),
        sealed_at_ms: taken.sealed_at_ms,
        digests: std::iter::once(taken.digest.clone()).chain(known).take(MAX_DIGESTS).collect(),
    };
    let superseded = old.zip(live).map(|(old, live)| pointer(&live.name, old));
    (vec![field], superseded)
}

fn pointer(environment: &str, field: &FieldStatus) -> Pointer {
    Pointer {
        environment: environment.to_owned(),
        version: field.version,
        wrap_generation: field.wrap_generation,
    }
}

type Wanted = (ConditionType, ConditionStatus, Reason, String);

/// The worst complaint names the reason; the message has them all.
fn ready(outcomes: &[(String, Outcome)], live: &[EnvironmentStatus]) -> Wanted {
    let not = |reason, message| (ConditionType::Ready, ConditionStatus::False, reason, message);
    let mut complaints: Vec<(Reason, String)> =
        outcomes.iter().filter_map(not_taken_in).chain(live.iter().filter_map(not_usable)).collect();
    let worst = [Reason::KeySealed, Reason::StorageFailed, Reason::BlobRefused];
    complaints.sort_by_key(|(reason, _)| worst.iter().position(|one| one == reason));
    if let Some((reason, _)) = complaints.first() {
        let messages: Vec<&str> = complaints.iter().map(|(_, message)| message.as_str()).collect();
        return not(*reason, messages.join("; "));
    }
    if live.is_empty() {
        let message = "no environment has a value; set one with 'kubectl keylend put'".to_owned();
        return not(Reason::NoValue, message);
    }
    (ConditionType::Ready, ConditionStatus::True, Reason::Live, live_message(outcomes, live))
}

fn not_taken_in((environment, outcome): &(String, Outcome)) -> Option<(Reason, String)> {
    let field = field(environment);
    match outcome {
        Outcome::KeySealed { key } => Some((
            Reason::KeySealed,
            format!("{field} is not taken in: the key '{key}' is disabled or gone; enable it again"),
        )),
        Outcome::Failed { .. } => Some((
            Reason::StorageFailed,
            format!("{field} is not taken in yet; this is tried again by itself"),
        )),
        Outcome::Refused(why) => Some((Reason::BlobRefused, format!("{field}: {why}"))),
        Outcome::NoBlob | Outcome::Live | Outcome::Stale | Outcome::TakenIn(_) => None,
    }
}

fn not_usable(live: &EnvironmentStatus) -> Option<(Reason, String)> {
    let sealed = live.fields.iter().find(|field| field.key_sealed)?;
    let message = format!(
        "spec.environments[{}]: calls are refused, for the key '{}' of the live value is disabled or gone; enable it again",
        live.name,
        sealed.key.as_deref().unwrap_or_default()
    );
    Some((Reason::KeySealed, message))
}

fn live_message(outcomes: &[(String, Outcome)], live: &[EnvironmentStatus]) -> String {
    let unset = |name: &&String| !live.iter().any(|one| one.name == **name);
    let unset: Vec<&str> = outcomes.iter().map(|(name, _)| name).filter(unset).map(String::as_str).collect();
    if unset.is_empty() {
        return "every environment has its value".to_owned();
    }
    format!("every value of the specification is live; without a value: {}", unset.join(", "))
}

fn source_stale(outcomes: &[(String, Outcome)]) -> Wanted {
    let stale = outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::Stale);
    let stale: Vec<String> = stale.map(|(environment, _)| field(environment)).collect();
    if stale.is_empty() {
        let message = "no sealed value is older than the live one".to_owned();
        return (ConditionType::SourceStale, ConditionStatus::False, Reason::InSync, message);
    }
    let message = format!(
        "{} was sealed before the live value and is not taken in; take the live one's blob into the source, or seal the value again to return to it",
        stale.join(", ")
    );
    (ConditionType::SourceStale, ConditionStatus::True, Reason::OlderThanLive, message)
}

fn field(environment: &str) -> String {
    format!("spec.environments[{environment}].sealed.{VALUE_FIELD}")
}

#[cfg(test)]
mod tests;
