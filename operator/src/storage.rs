//! Where envelopes rest: each in an immutable core Secret of the operator's namespace, named by what it is bound to.
//!
//! An envelope is created once and never written again. Only [`Storage::open`] hands a value out, to whoever
//! already decided that it may be used. Must never be added: a memory of values or data keys, and a read that takes
//! another envelope than the one its binding names.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    ByteString,
    api::core::v1::{Namespace, Secret as CoreSecret},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, ObjectMeta, PartialObjectMeta, PostParams},
};
use zeroize::Zeroizing;

use keylend_contract::plaintext::Plaintext;

use crate::{
    fault::spoken,
    keys::{KeyError, KeyProvider, local::LocalKeys},
    storage::envelope::{Binding, DataKey, Envelope, EnvelopeError},
};

pub mod envelope;

/// The operator's namespace.
pub const NAMESPACE: &str = "keylend-system";
/// The type of a core Secret whose data are envelopes.
pub const ENVELOPE_TYPE: &str = "keylend.dev/envelope";
/// The label that names the UID of the secret an envelope belongs to.
pub const SECRET_UID_LABEL: &str = "keylend.dev/secret-uid";

const VERSION_LABEL: &str = "keylend.dev/version";
const SECRET_ANNOTATION: &str = "keylend.dev/secret";
const ENVELOPE_KEY: &str = "envelope";

/// Keeps sealed values.
pub struct Storage {
    writing: Api<CoreSecret>,
    deciding: Api<CoreSecret>,
    keys: Arc<LocalKeys>,
}

/// An envelope as a listing shows it, without its content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resting {
    /// The core Secret's name: [`Binding::envelope_name`].
    pub envelope: String,
    /// The secret's namespace.
    pub namespace: String,
    /// The secret's name.
    pub name: String,
    /// The secret's UID.
    pub uid: String,
    /// The version.
    pub version: i64,
}

/// Why a value is not stored.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// Another value rests there: the next version is free.
    #[error("storing a value: another one rests under this version")]
    Taken,
    /// The key is disabled or gone.
    #[error("storing a value: the key '{key}' is not there")]
    KeySealed {
        /// The key's name.
        key: String,
    },
    /// Something is out of reach, or broke.
    #[error("storing a value: {cause}")]
    Failed {
        /// What was said.
        cause: String,
    },
}

/// Why a value does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No envelope: the pointer may have moved.
    #[error("opening a value: there is no envelope")]
    Missing,
    /// The key is disabled or gone: the owner's switch.
    #[error("opening a value: the key '{key}' is not there")]
    KeySealed {
        /// The key's name.
        key: String,
    },
    /// Altered, or made for another place. Never the owner's switch.
    #[error("opening a value: its envelope was altered, or made for another place")]
    Integrity,
    /// The API server or the key provider did not answer.
    #[error("opening a value: {cause}")]
    Unreachable {
        /// What was said.
        cause: String,
    },
}

impl Storage {
    /// Writes with `client`, reads for a decision with `deciding`.
    #[must_use]
    pub fn new(client: &Client, deciding: &Client, keys: Arc<LocalKeys>) -> Self {
        let (writing, deciding) = (client.clone(), deciding.clone());
        Self {
            writing: Api::namespaced(writing, NAMESPACE),
            deciding: Api::namespaced(deciding, NAMESPACE),
            keys,
        }
    }

    /// Seals `value` and lets it rest under `binding`. The same value resting there already is as good. Returns the name
    /// of the key that it is sealed under.
    ///
    /// # Errors
    /// [`PutError::Taken`] when another value rests there.
    pub async fn put(&self, binding: &Binding, value: &Plaintext) -> Result<String, PutError> {
        let sealed = value.expose(|bytes| Zeroizing::new(bytes.to_vec()));
        let envelope = seal(&*self.keys, binding, &sealed).await?;
        let core_secret = core_secret(binding, envelope.to_bytes()?);
        let resting = match self.writing.create(&PostParams::default(), &core_secret).await {
            Ok(_) => envelope,
            Err(kube::Error::Api(status)) if status.is_already_exists() => self.same(binding, value).await?,
            Err(error) => return Err(PutError::Failed { cause: spoken(&error) }),
        };
        Ok(LocalKeys::wrapped_under(resting.wrapped())?)
    }

    /// Opens the value under `binding`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(&self, binding: &Binding) -> Result<Plaintext, OpenError> {
        self.read(binding).await.map(|(value, _)| value)
    }

    /// The value under `binding`, and its envelope.
    async fn read(&self, binding: &Binding) -> Result<(Plaintext, Envelope), OpenError> {
        let secret = self
            .deciding
            .get_opt(&binding.envelope_name())
            .await
            .map_err(|error| OpenError::Unreachable { cause: spoken(&error) })?
            .ok_or(OpenError::Missing)?;
        let bytes =
            secret.data.as_ref().and_then(|data| data.get(ENVELOPE_KEY)).ok_or(OpenError::Integrity)?;
        let envelope = Envelope::parse(&bytes.0)?;
        let value = unseal(&*self.keys, binding, &envelope).await?;
        Ok((Plaintext::parse(value).map_err(|_| OpenError::Integrity)?, envelope))
    }

    /// Removes the envelope of `binding`; one that is gone already is as good.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn forget(&self, binding: &Binding) -> Result<(), kube::Error> {
        self.remove(&binding.envelope_name()).await
    }

    /// Removes every envelope of the secret with this UID.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn forget_all(&self, uid: &str) -> Result<(), kube::Error> {
        let of_secret = ListParams::default().labels(&format!("{SECRET_UID_LABEL}={uid}"));
        for envelope in self.writing.list_metadata(&of_secret).await?.items {
            self.remove(&envelope.name_any()).await?;
        }
        Ok(())
    }

    /// Every envelope that rests.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn resting(&self) -> Result<Vec<Resting>, kube::Error> {
        let mut resting = Vec::new();
        let mut page = ListParams::default().labels(SECRET_UID_LABEL).limit(500);
        loop {
            let listed = self.writing.list_metadata(&page).await?;
            resting.extend(listed.items.iter().filter_map(Resting::of));
            match listed.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(resting),
            }
        }
    }

    /// Removes an envelope that [`Self::resting`] listed.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn remove(&self, envelope: &str) -> Result<(), kube::Error> {
        match self.writing.delete(envelope, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The envelope that rests under `binding`, if `value` is in it.
    async fn same(&self, binding: &Binding, value: &Plaintext) -> Result<Envelope, PutError> {
        let (resting, envelope) = match self.read(binding).await {
            Ok(resting) => resting,
            Err(OpenError::Missing | OpenError::Integrity) => return Err(PutError::Taken),
            Err(OpenError::KeySealed { key }) => return Err(PutError::KeySealed { key }),
            Err(OpenError::Unreachable { cause }) => return Err(PutError::Failed { cause }),
        };
        let same = resting.expose(|one| {
            value.expose(|other| aws_lc_rs::constant_time::verify_slices_are_equal(one, other))
        });
        same.map(|()| envelope).map_err(|_| PutError::Taken)
    }
}

impl Resting {
    /// Nothing for a core Secret whose labels are not ours: it is left alone.
    fn of(object: &PartialObjectMeta<CoreSecret>) -> Option<Self> {
        let (namespace, name) = object.annotations().get(SECRET_ANNOTATION)?.split_once('/')?;
        Some(Self {
            envelope: object.name_any(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: object.labels().get(SECRET_UID_LABEL)?.clone(),
            version: object.labels().get(VERSION_LABEL)?.parse().ok()?,
        })
    }
}

/// Seals `value` under a fresh data key, and wraps that key.
pub(crate) async fn seal<P: KeyProvider>(
    keys: &P,
    binding: &Binding,
    value: &[u8],
) -> Result<Envelope, PutError> {
    let key = DataKey::generate()?;
    let wrapped = keys.wrap(&key, binding).await?;
    Ok(key.seal(value, binding, P::PROVIDER, wrapped)?)
}

/// The counterpart of [`seal`].
pub(crate) async fn unseal<P: KeyProvider>(
    keys: &P,
    binding: &Binding,
    envelope: &Envelope,
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    if envelope.provider() != P::PROVIDER {
        return Err(OpenError::Integrity);
    }
    let key = keys.unwrap(envelope.wrapped(), binding).await?;
    Ok(key.open(envelope, binding)?)
}

/// The UID of the namespace `kube-system`, which stands for the cluster.
///
/// # Errors
/// What the API server said.
pub async fn cluster_uid(client: &Client) -> Result<String, kube::Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    Ok(namespaces.get_metadata("kube-system").await?.uid().unwrap_or_default())
}

fn core_secret(binding: &Binding, envelope: Vec<u8>) -> CoreSecret {
    let labels = [
        (SECRET_UID_LABEL.to_owned(), binding.uid.clone()),
        (VERSION_LABEL.to_owned(), binding.version.to_string()),
    ];
    let secret = format!("{}/{}", binding.namespace, binding.name);
    CoreSecret {
        metadata: ObjectMeta {
            name: Some(binding.envelope_name()),
            namespace: Some(NAMESPACE.to_owned()),
            labels: Some(labels.into()),
            annotations: Some([(SECRET_ANNOTATION.to_owned(), secret)].into()),
            ..ObjectMeta::default()
        },
        type_: Some(ENVELOPE_TYPE.to_owned()),
        immutable: Some(true),
        data: Some(BTreeMap::from([(ENVELOPE_KEY.to_owned(), ByteString(envelope))])),
        ..CoreSecret::default()
    }
}

impl From<KeyError> for PutError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Sealed { key } => Self::KeySealed { key },
            KeyError::Integrity | KeyError::Unreachable { .. } | KeyError::Cryptography => {
                Self::Failed { cause: error.to_string() }
            }
        }
    }
}

impl From<EnvelopeError> for PutError {
    fn from(error: EnvelopeError) -> Self {
        Self::Failed { cause: error.to_string() }
    }
}

impl From<KeyError> for OpenError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Sealed { key } => Self::KeySealed { key },
            KeyError::Integrity => Self::Integrity,
            KeyError::Unreachable { .. } | KeyError::Cryptography => {
                Self::Unreachable { cause: error.to_string() }
            }
        }
    }
}

impl From<EnvelopeError> for OpenError {
    fn from(error: EnvelopeError) -> Self {
        match error {
            EnvelopeError::Malformed | EnvelopeError::Integrity => Self::Integrity,
            EnvelopeError::Cryptography => Self::Unreachable { cause: error.to_string() },
        }
    }
}

#[cfg(test)]
mod tests;
