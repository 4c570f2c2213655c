//! The operator's sealing key pairs: clients seal to the public half, the operator alone opens.
//!
//! Private halves rest as envelopes in the core Secret `keylend-sealing-keys`, under the same provider as the values, and
//! are unwrapped on each use and never kept: the owner's switch kills blobs too. Public halves stand in a `ConfigMap` that
//! authenticated users may read. Must never be added: opening a blob for another scope than its own.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret as CoreSecret},
};
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::json;
use zeroize::Zeroizing;

use keylend_contract::{
    blob::{Blob, BlobError, Scope},
    plaintext::Plaintext,
    sealing_key::{self, SealingKeyError, SealingKeys, SealingPrivateKey, SealingPublicKey},
};

use crate::{
    controllers::apply::FIELD_MANAGER,
    fault::spoken,
    keys::local::LocalKeys,
    storage::{
        self, ENVELOPE_TYPE, NAMESPACE, OpenError, PutError,
        envelope::{Binding, Envelope},
    },
};

/// The core Secret of the private halves, and the `ConfigMap` of the public ones.
pub const SEALING_KEYS: &str = "keylend-sealing-keys";
/// Where in the `ConfigMap` the public halves are, as [`SealingKeys`].
pub const PUBLISHED_KEY: &str = "keys.json";

const PRIMARY: &str = "primary";

/// The sealing key pairs.
pub struct SealingKeyring {
    secrets: Api<CoreSecret>,
    published: Api<ConfigMap>,
    keys: Arc<LocalKeys>,
    cluster_uid: String,
}

/// Why there are no sealing keys.
#[derive(Debug, thiserror::Error)]
pub enum SealingError {
    /// The API server did not do as asked.
    #[error("reading the sealing keys: {0}")]
    Cluster(String),
    /// The core Secret does not hold what we wrote.
    #[error(
        "reading the sealing keys: the core Secret {NAMESPACE}/{SEALING_KEYS} is damaged; restore it from a backup"
    )]
    Damaged,
    /// No key pair could be made.
    #[error(transparent)]
    Key(#[from] SealingKeyError),
    /// The private half could not be sealed.
    #[error("keeping a sealing key: {0}")]
    Put(#[from] PutError),
}

/// Why a blob does not open.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// Sealed to a key that is not here.
    #[error(
        "it is sealed to the key {key}, which this operator does not have; fetch the operator's keys and seal it again"
    )]
    KeyUnknown {
        /// The key's name.
        key: String,
    },
    /// It is not for this scope, or holds no value.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The KMS key is disabled or gone: the owner's switch.
    #[error("the key '{key}' is not there")]
    KeySealed {
        /// The key's name.
        key: String,
    },
    /// Something is out of reach, or broke.
    #[error("opening a sealed value: {cause}")]
    Failed {
        /// What was said.
        cause: String,
    },
}

impl SealingKeyring {
    /// Makes the first key pair where there is none, and publishes the public halves.
    ///
    /// # Errors
    /// [`SealingError`].
    pub async fn load_or_create(
        client: &Client,
        keys: Arc<LocalKeys>,
        cluster_uid: &str,
    ) -> Result<Self, SealingError> {
        let keyring = Self {
            secrets: Api::namespaced(client.clone(), NAMESPACE),
            published: Api::namespaced(client.clone(), NAMESPACE),
            keys,
            cluster_uid: cluster_uid.to_owned(),
        };
        if keyring.stored().await.map_err(SealingError::Cluster)?.is_none() {
            match keyring.secrets.create(&PostParams::default(), &keyring.first_pair().await?).await {
                Ok(_) => {}
                // Another replica was first; its key pair is as good.
                Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                Err(error) => return Err(SealingError::Cluster(spoken(&error))),
            }
        }
        keyring.publish().await?;
        Ok(keyring)
    }

    /// Makes the `ConfigMap` say what the core Secret holds.
    ///
    /// # Errors
    /// [`SealingError`].
    pub async fn publish(&self) -> Result<(), SealingError> {
        let stored = self.stored().await.map_err(SealingError::Cluster)?.ok_or(SealingError::Damaged)?;
        let keys = public_halves(&stored).ok_or(SealingError::Damaged)?;
        let keys = serde_json::to_string(&keys).map_err(|_| SealingError::Damaged)?;
        let published = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": SEALING_KEYS },
            "data": { PUBLISHED_KEY: keys },
        });
        let ours = PatchParams::apply(FIELD_MANAGER).force();
        match self.published.patch(SEALING_KEYS, &ours, &Patch::Apply(published)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(SealingError::Cluster(spoken(&error))),
        }
    }

    /// Opens `blob` for `scope`.
    ///
    /// # Errors
    /// [`UnsealError`].
    pub async fn open(&self, blob: &Blob, scope: &Scope<'_>) -> Result<Plaintext, UnsealError> {
        let key = blob.key().to_string();
        let stored = self.stored().await.map_err(|cause| UnsealError::Failed { cause })?.unwrap_or_default();
        let Some(sealed) = stored.get(&private_entry(&key)) else {
            return Err(UnsealError::KeyUnknown { key });
        };
        let envelope = Envelope::parse(&sealed.0).map_err(OpenError::from)?;
        let private = storage::unseal(&*self.keys, &self.binding(&key), &envelope).await?;
        Ok(blob.open(scope, &SealingPrivateKey::from_bytes(&private))?)
    }

    async fn stored(&self) -> Result<Option<BTreeMap<String, ByteString>>, String> {
        let secret = self.secrets.get_opt(SEALING_KEYS).await.map_err(|error| spoken(&error))?;
        Ok(secret.map(|secret| secret.data.unwrap_or_default()))
    }

    async fn first_pair(&self) -> Result<CoreSecret, SealingError> {
        let (public, private) = sealing_key::generate_sealing_key()?;
        let id = public.id().to_string();
        let private = private.expose(|bytes| Zeroizing::new(bytes.to_vec()));
        let sealed = storage::seal(&*self.keys, &self.binding(&id), &private).await?;
        let data = [
            (PRIMARY.to_owned(), ByteString(id.clone().into_bytes())),
            (public_entry(&id), ByteString(String::from(public).into_bytes())),
            (private_entry(&id), ByteString(sealed.to_bytes().map_err(PutError::from)?)),
        ];
        Ok(CoreSecret {
            metadata: ObjectMeta {
                name: Some(SEALING_KEYS.to_owned()),
                namespace: Some(NAMESPACE.to_owned()),
                ..ObjectMeta::default()
            },
            // It holds envelopes, so no new local key is made while it is there.
            type_: Some(ENVELOPE_TYPE.to_owned()),
            data: Some(data.into()),
            ..CoreSecret::default()
        })
    }

    /// What a private half is sealed for: a place that no secret's value can have.
    fn binding(&self, key: &str) -> Binding {
        Binding {
            cluster_uid: self.cluster_uid.clone(),
            namespace: NAMESPACE.to_owned(),
            name: SEALING_KEYS.to_owned(),
            uid: String::new(),
            secret_type: "SealingKey".to_owned(),
            environment: String::new(),
            field: key.to_owned(),
            version: 1,
            wrap_generation: 1,
        }
    }
}

fn public_entry(key: &str) -> String {
    format!("{key}.public")
}

fn private_entry(key: &str) -> String {
    format!("{key}.private")
}

/// Nothing if an entry is not a key under its own name, or the primary is missing.
fn public_halves(stored: &BTreeMap<String, ByteString>) -> Option<SealingKeys> {
    let text = |bytes: &ByteString| String::from_utf8(bytes.0.clone()).ok();
    let mut keys = BTreeMap::new();
    for (entry, bytes) in stored {
        let Some(id) = entry.strip_suffix(".public") else { continue };
        let public = SealingPublicKey::try_from(text(bytes)?).ok()?;
        if public.id().to_string() != id {
            return None;
        }
        keys.insert(id.to_owned(), public);
    }
    let published = SealingKeys { primary: text(stored.get(PRIMARY)?)?, keys };
    published.primary().is_ok().then_some(published)
}

impl From<OpenError> for UnsealError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::KeySealed { key } => Self::KeySealed { key },
            OpenError::Missing | OpenError::Integrity | OpenError::Unreachable { .. } => {
                Self::Failed { cause: error.to_string() }
            }
        }
    }
}

#[cfg(test)]
mod tests;
