//! The local key provider: key encryption keys in one core Secret of the operator's namespace.
//!
//! Each wrap has its own key, HKDF-SHA256 over the key encryption key, a random salt and the binding, so there is no
//! limit on how often one key wraps. The keys are read with `GET` at most once a second while in use and nothing older is
//! used: that second is the delay of the owner's switch. Whoever asks which keys work has them read anew. `local` does not
//! withstand a dump of etcd, where its keys are. Must never be added: a longer memory, or making a key while anything is
//! sealed under a lost one.
//!
//! A wrapped key is `format 1 | key id 8 | salt 32 | nonce 12 | ciphertext and tag 48`. This format is for ever.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::{digest, hkdf, rand};
use k8s_openapi::{ByteString, api::core::v1::Secret as CoreSecret};
use kube::{
    Api, Client,
    api::{ListParams, ObjectMeta, PostParams},
};
use tokio::{sync::Mutex, time::Instant};
use zeroize::Zeroizing;

use keylend_contract::hexadecimal::hexadecimal;

use crate::{
    fault::spoken,
    keys::{KeyError, KeyProvider},
    storage::{
        ENVELOPE_TYPE, NAMESPACE,
        envelope::{
            Binding, DataKey, EnvelopeError, KEY_BYTES, NONCE_BYTES, Provider, Sealed, TAG_BYTES, open, seal,
        },
    },
};

/// The core Secret that holds the keys: `id -> 32 bytes`, and `primary`, the id to wrap under.
pub const KEK_SECRET: &str = "keylend-local-kek";

const PRIMARY: &str = "primary";
const MAX_AGE: Duration = Duration::from_secs(1);
const FORMAT: u8 = 1;
const ID_BYTES: usize = 8;
const SALT_BYTES: usize = 32;
const WRAPPED_BYTES: usize = 1 + ID_BYTES + SALT_BYTES + NONCE_BYTES + KEY_BYTES + TAG_BYTES;
const ID_LABEL: &[u8] = b"kek-id";
const WRAP_LABEL: &[u8] = b"keylend local wrap v1";

/// Key encryption keys in a core Secret.
pub struct LocalKeys {
    secrets: Api<CoreSecret>,
    last: Mutex<Option<Reading>>,
}

/// Why there are no local keys.
#[derive(Debug, thiserror::Error)]
pub enum LocalKeysError {
    /// Making a key now would leave what is sealed under the lost one unreadable for ever.
    #[error(
        "the core Secret {NAMESPACE}/{KEK_SECRET} is gone, but values are sealed under it; restore it from a backup, or, to give those values up, delete the core Secrets of type {ENVELOPE_TYPE} first"
    )]
    Lost,
    /// The API server did not do as asked.
    #[error("making the local key: {0}")]
    Cluster(String),
    /// The random generator failed.
    #[error("making the local key: the random generator failed")]
    Cryptography,
}

/// A key's name: the first eight bytes of SHA-256 over a label and the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct KekId([u8; ID_BYTES]);

type Kek = Zeroizing<Vec<u8>>;

struct Keyring {
    primary: String,
    keys: BTreeMap<KekId, Kek>,
}

/// One `GET` of the keys.
struct Reading {
    sent: Instant,
    ended: Instant,
    outcome: Result<Arc<Keyring>, KeyError>,
}

impl LocalKeys {
    /// Makes the first key where there is none, and reads keys with `deciding` from then on.
    ///
    /// # Errors
    /// [`LocalKeysError::Lost`] when there is no key while something is sealed under one.
    pub async fn load_or_create(client: &Client, deciding: &Client) -> Result<Self, LocalKeysError> {
        let secrets: Api<CoreSecret> = Api::namespaced(client.clone(), NAMESPACE);
        let cluster = |error: kube::Error| LocalKeysError::Cluster(spoken(&error));
        if secrets.get_metadata_opt(KEK_SECRET).await.map_err(cluster)?.is_none() {
            let any = ListParams::default().fields(&format!("type={ENVELOPE_TYPE}")).limit(1);
            if !secrets.list_metadata(&any).await.map_err(cluster)?.items.is_empty() {
                return Err(LocalKeysError::Lost);
            }
            match secrets.create(&PostParams::default(), &first_key()?).await {
                Ok(_) => {}
                // Another replica was first; its key is as good.
                Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                Err(error) => return Err(cluster(error)),
            }
        }
        Ok(Self { secrets: Api::namespaced(deciding.clone(), NAMESPACE), last: Mutex::new(None) })
    }

    /// The keys as they are now, or were at most a second ago.
    async fn keyring(&self) -> Result<Arc<Keyring>, KeyError> {
        self.reading(Reading::is_young).await
    }

    /// The keys by the last reading, if it `serves` whoever comes now, or by a new one. Those who wait for one share it.
    async fn reading(&self, serves: fn(&Reading, Instant) -> bool) -> Result<Arc<Keyring>, KeyError> {
        let arrived = Instant::now();
        let mut last = self.last.lock().await;
        if let Some(reading) = &*last
            && serves(reading, arrived)
        {
            return reading.outcome.clone();
        }
        // A cancelled reading must not leave an older one to be used.
        *last = None;
        let sent = Instant::now();
        let outcome = self.read().await.map(Arc::new);
        *last = Some(Reading { sent, ended: Instant::now(), outcome: outcome.clone() });
        outcome
    }

    async fn read(&self) -> Result<Keyring, KeyError> {
        let secret = self
            .secrets
            .get_opt(KEK_SECRET)
            .await
            .map_err(|error| KeyError::Unreachable { cause: spoken(&error) })?;
        Ok(secret.and_then(|secret| secret.data).map_or_else(Keyring::none, Keyring::of))
    }
}

impl KeyProvider for LocalKeys {
    const PROVIDER: Provider = Provider::Local;

    async fn wrap(&self, key: &DataKey, binding: &Binding) -> Result<Vec<u8>, KeyError> {
        let keyring = self.keyring().await?;
        let (id, kek) = keyring.primary()?;
        wrap(id, kek, key, binding)
    }

    async fn unwrap(&self, wrapped: &[u8], binding: &Binding) -> Result<DataKey, KeyError> {
        let wrapped = Wrapped::parse(wrapped).ok_or(KeyError::Integrity)?;
        let keyring = self.keyring().await?;
        let kek = keyring.key(wrapped.id)?;
        let opened =
            open(&one_time_key(kek, &wrapped.salt, binding)?[..], &wrapped.sealed, &context(binding));
        DataKey::from_bytes(&opened.map_err(key_error)?).ok_or(KeyError::Integrity)
    }

    fn wrapped_under(wrapped: &[u8]) -> Result<String, KeyError> {
        Wrapped::parse(wrapped).map(|wrapped| wrapped.id.name()).ok_or(KeyError::Integrity)
    }

    async fn working(&self) -> Result<BTreeSet<String>, KeyError> {
        let keyring = self.reading(Reading::is_new).await?;
        Ok(keyring.keys.keys().map(|id| id.name()).collect())
    }
}

impl Reading {
    /// Whether it was sent after `arrived`, or failed while they waited for it who came then.
    fn is_new(&self, arrived: Instant) -> bool {
        match self.outcome {
            Ok(_) => self.sent >= arrived,
            Err(_) => self.ended >= arrived,
        }
    }

    /// Whether it is young, or failed while they waited for it who came at `arrived`.
    fn is_young(&self, arrived: Instant) -> bool {
        match self.outcome {
            Ok(_) => self.sent.elapsed() < MAX_AGE,
            Err(_) => self.ended >= arrived,
        }
    }
}

impl Keyring {
    fn none() -> Self {
        Self { primary: PRIMARY.to_owned(), keys: BTreeMap::new() }
    }

    /// An entry that is not a key under its own name is not there.
    fn of(mut data: BTreeMap<String, ByteString>) -> Self {
        let primary = data.remove(PRIMARY).map(|name| String::from_utf8_lossy(&name.0).trim().to_owned());
        let keys = data.into_iter().filter_map(|(name, bytes)| {
            let kek = Zeroizing::new(bytes.0);
            let id = KekId::of(&kek);
            (kek.len() == KEY_BYTES && id.name() == name).then_some((id, kek))
        });
        Self { primary: primary.unwrap_or_else(|| PRIMARY.to_owned()), keys: keys.collect() }
    }

    fn primary(&self) -> Result<(KekId, &Kek), KeyError> {
        let named = self.keys.iter().find(|(id, _)| id.name() == self.primary);
        named.map(|(id, kek)| (*id, kek)).ok_or_else(|| KeyError::Sealed { key: self.primary.clone() })
    }

    fn key(&self, id: KekId) -> Result<&Kek, KeyError> {
        self.keys.get(&id).ok_or_else(|| KeyError::Sealed { key: id.name() })
    }
}

impl KekId {
    fn of(kek: &[u8]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(ID_LABEL);
        context.update(kek);
        let mut id = [0; ID_BYTES];
        id.copy_from_slice(&context.finish().as_ref()[..ID_BYTES]);
        Self(id)
    }

    fn name(self) -> String {
        hexadecimal(&self.0)
    }
}

/// A wrapped key, parsed but not opened.
struct Wrapped {
    id: KekId,
    salt: [u8; SALT_BYTES],
    sealed: Sealed,
}

impl Wrapped {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; WRAPPED_BYTES] = bytes.try_into().ok()?;
        let (&[format], rest) = bytes.split_first_chunk::<1>()?;
        let (id, rest) = rest.split_first_chunk::<ID_BYTES>()?;
        let (salt, rest) = rest.split_first_chunk::<SALT_BYTES>()?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_BYTES>()?;
        let sealed = Sealed { nonce: *nonce, ciphertext: ciphertext.to_vec() };
        (format == FORMAT).then_some(Self { id: KekId(*id), salt: *salt, sealed })
    }
}

fn wrap(id: KekId, kek: &Kek, key: &DataKey, binding: &Binding) -> Result<Vec<u8>, KeyError> {
    let mut salt = [0; SALT_BYTES];
    rand::fill(&mut salt).map_err(|_| KeyError::Cryptography)?;
    let one_time = one_time_key(kek, &salt, binding)?;
    let sealed = key.expose(|key| seal(&one_time[..], key, &context(binding))).map_err(key_error)?;
    Ok([&[FORMAT][..], &id.0, &salt, &sealed.nonce, &sealed.ciphertext].concat())
}

fn one_time_key(kek: &Kek, salt: &[u8; SALT_BYTES], binding: &Binding) -> Result<Kek, KeyError> {
    let mut key = Zeroizing::new(vec![0; KEY_BYTES]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
        .extract(kek)
        .expand(&[&context(binding)], &aws_lc_rs::aead::AES_256_GCM)
        .and_then(|material| material.fill(&mut key))
        .map_err(|_| KeyError::Cryptography)?;
    Ok(key)
}

fn context(binding: &Binding) -> Vec<u8> {
    [WRAP_LABEL, &binding.wrap_context()].concat()
}

fn key_error(error: EnvelopeError) -> KeyError {
    match error {
        EnvelopeError::Malformed | EnvelopeError::Integrity => KeyError::Integrity,
        EnvelopeError::Cryptography => KeyError::Cryptography,
    }
}

fn first_key() -> Result<CoreSecret, LocalKeysError> {
    let mut kek = vec![0; KEY_BYTES];
    rand::fill(&mut kek).map_err(|_| LocalKeysError::Cryptography)?;
    let id = KekId::of(&kek).name();
    let data = [(PRIMARY.to_owned(), ByteString(id.clone().into_bytes())), (id, ByteString(kek))];
    Ok(CoreSecret {
        metadata: ObjectMeta {
            name: Some(KEK_SECRET.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(data.into()),
        ..CoreSecret::default()
    })
}

#[cfg(test)]
mod tests;
