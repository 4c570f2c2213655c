//! How a value comes in: a blob in the specification is judged, opened once, and rests as an envelope under the next
//! version, and is put on record. Making that version the live one is the controller's: the pointer in the status moves by
//! compare-and-set, after this and never before.
//!
//! Whoever waits for a value to be live compares the blob's digest with the first of
//! `status.environments[].fields[].digests`, once `status.observedGeneration` has reached the generation of the write:
//! equal means live; otherwise the conditions `Ready` and `SourceStale` of that generation say why not. Must never be
//! added: a blob that is taken in though it is not newer than the live one.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt as _;

use keylend_contract::{
    blob::{Blob, BlobDigest, Scope},
    plaintext::Plaintext,
};
use keylend_crds::{
    Secret,
    secret::{EnvironmentValue, FieldStatus, VALUE_FIELD},
};

use crate::{
    audit::{
        AuditFault, AuditLog, Position,
        row::{Change, Write},
    },
    controllers::tell::named,
    sealing::{SealingKeyring, UnsealError},
    storage::{PutError, Storage, envelope::Binding},
};

/// How far ahead of our clock a blob may say it was sealed.
const MAX_AHEAD_MS: u64 = 5 * 60 * 1000;
/// How many versions that others began and did not finish are passed over at once.
const MAX_TAKEN: i64 = 16;

/// How a blob stands to the live value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It is the live one.
    Live,
    /// It was taken in before, or was sealed no later than the live one.
    Stale,
    /// It says it was sealed in the future.
    Ahead,
    /// It is to be taken in.
    New,
}

/// What one environment of the specification comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The environment is listed without a blob: its live value stays.
    NoBlob,
    /// The blob is the live one.
    Live,
    /// The blob is not newer than the live one.
    Stale,
    /// The blob cannot be a value here; why, safe to show.
    Refused(String),
    /// The value rests, and waits to be made live.
    TakenIn(TakenIn),
    /// The KMS key is disabled or gone.
    KeySealed {
        /// The key's name.
        key: String,
    },
    /// Something of ours broke; what, for the log.
    Failed {
        /// What was said.
        cause: String,
    },
}

/// A value that rests and is not live yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TakenIn {
    /// Its version.
    pub version: i64,
    /// The key that it is sealed under.
    pub key: String,
    /// Its blob.
    pub digest: BlobDigest,
    /// When its blob says it was sealed.
    pub sealed_at_ms: i64,
}

/// Takes values in.
pub struct Intake {
    sealing: SealingKeyring,
    storage: Arc<Storage>,
    cluster_uid: String,
    audit: AuditLog,
}

/// How `blob` stands to the `live` value.
#[must_use]
pub fn standing(live: Option<&FieldStatus>, blob: &Blob, now: Timestamp) -> Standing {
    let digest = blob.digest();
    if live.is_some_and(|live| live.digests.first() == Some(&digest)) {
        return Standing::Live;
    }
    let now_ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
    if blob.sealed_at_ms() > now_ms.saturating_add(MAX_AHEAD_MS) {
        return Standing::Ahead;
    }
    let known = live.is_some_and(|live| live.digests.contains(&digest));
    let newest = live.map(|live| u64::try_from(live.sealed_at_ms).unwrap_or(0));
    if known || newest.is_some_and(|newest| blob.sealed_at_ms() <= newest) {
        return Standing::Stale;
    }
    Standing::New
}

/// The highest version that any value of this secret was given.
#[must_use]
pub fn last_version(secret: &Secret) -> i64 {
    let Some(status) = &secret.status else { return 0 };
    let live =
        status.environments.iter().flat_map(|environment| &environment.fields).map(|field| field.version);
    live.chain(status.last_version).max().unwrap_or(0)
}

impl Intake {
    /// Takes in for the secrets of one cluster.
    #[must_use]
    pub fn new(sealing: SealingKeyring, storage: Arc<Storage>, cluster_uid: String, audit: AuditLog) -> Self {
        Self { sealing, storage, cluster_uid, audit }
    }

    /// The key pairs it opens with.
    #[must_use]
    pub fn sealing(&self) -> &SealingKeyring {
        &self.sealing
    }

    /// Looks at every environment of `secret`'s specification, and lets what is new rest.
    pub async fn take_in(&self, secret: &Secret, now: Timestamp) -> Vec<(String, Outcome)> {
        let mut last = last_version(secret);
        let mut outcomes = Vec::new();
        for environment in secret.spec.environments.iter().flatten() {
            let outcome = self.take_in_one(secret, environment, last, now).await;
            if let Outcome::TakenIn(taken) = &outcome {
                last = taken.version;
            }
            outcomes.push((environment.name.clone(), outcome));
        }
        outcomes
    }

    async fn take_in_one(
        &self,
        secret: &Secret,
        environment: &EnvironmentValue,
        last: i64,
        now: Timestamp,
    ) -> Outcome {
        let Some(sealed) = &environment.sealed else { return Outcome::NoBlob };
        let blob: Blob = match sealed.value.parse() {
            Ok(blob) => blob,
            Err(error) => return Outcome::Refused(error.to_string()),
        };
        match standing(secret.resting(&environment.name), &blob, now) {
            Standing::Live => return Outcome::Live,
            Standing::Stale => return Outcome::Stale,
            Standing::Ahead => return Outcome::Refused(AHEAD.to_owned()),
            Standing::New => {}
        }
        let value = match self.open(secret, &environment.name, &blob).await {
            Ok(value) => value,
            Err(error) => return error.into(),
        };
        let (version, key) = match self.rest(secret, &environment.name, &value, last).await {
            Ok(rested) => rested,
            Err(error) => return error.into(),
        };
        match self.record(secret, &environment.name, version).await {
            Ok(_position) => Outcome::TakenIn(TakenIn {
                version,
                key,
                digest: blob.digest(),
                sealed_at_ms: i64::try_from(blob.sealed_at_ms()).unwrap_or(i64::MAX),
            }),
            Err(fault) => Outcome::Failed { cause: fault.to_string() },
        }
    }

    /// A value is acknowledged only once it is on record that it came in.
    async fn record(&self, secret: &Secret, environment: &str, version: i64) -> Result<Position, AuditFault> {
        let row = Write {
            environment: Some(environment.into()),
            field: Some(VALUE_FIELD.into()),
            version: Some(version),
            ..Write::of(Change::ValueTakenIn, named("Secret", secret))
        };
        self.audit.write(row).await
    }

    async fn open(&self, secret: &Secret, environment: &str, blob: &Blob) -> Result<Plaintext, UnsealError> {
        let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name_any());
        let scope = Scope {
            namespace: &namespace,
            name: &name,
            secret_type: secret.spec.type_.as_str(),
            environment,
            field: VALUE_FIELD,
        };
        self.sealing.open(blob, &scope).await
    }

    /// Lets `value` rest under the first version after `last` that is free, or holds the same value; which one, and under
    /// which key.
    async fn rest(
        &self,
        secret: &Secret,
        environment: &str,
        value: &Plaintext,
        last: i64,
    ) -> Result<(i64, String), PutError> {
        for version in last + 1..=last + MAX_TAKEN {
            match self.storage.put(&self.binding(secret, environment, version, 1), value).await {
                Ok(key) => return Ok((version, key)),
                Err(PutError::Taken) => {}
                Err(error) => return Err(error),
            }
        }
        Err(PutError::Taken)
    }

    /// What a value of `secret` is sealed for.
    #[must_use]
    pub fn binding(&self, secret: &Secret, environment: &str, version: i64, wrap_generation: i64) -> Binding {
        Binding {
            cluster_uid: self.cluster_uid.clone(),
            namespace: secret.namespace().unwrap_or_default(),
            name: secret.name_any(),
            uid: secret.uid().unwrap_or_default(),
            secret_type: secret.spec.type_.as_str().to_owned(),
            environment: environment.to_owned(),
            field: VALUE_FIELD.to_owned(),
            version: u64::try_from(version).unwrap_or(0),
            wrap_generation: u64::try_from(wrap_generation).unwrap_or(0),
        }
    }
}

const AHEAD: &str = "this sealed value says it was made more than five minutes from now; set the clock of the machine that sealed it, and seal it again";

impl From<UnsealError> for Outcome {
    fn from(error: UnsealError) -> Self {
        match error {
            UnsealError::KeyUnknown { .. } | UnsealError::Blob(_) => Self::Refused(error.to_string()),
            UnsealError::KeySealed { key } => Self::KeySealed { key },
            UnsealError::Failed { .. } => Self::Failed { cause: error.to_string() },
        }
    }
}

impl From<PutError> for Outcome {
    fn from(error: PutError) -> Self {
        match error {
            PutError::KeySealed { key } => Self::KeySealed { key },
            PutError::Taken | PutError::Failed { .. } => Self::Failed { cause: error.to_string() },
        }
    }
}

#[cfg(test)]
mod tests;
