//! Bytes to envelope and back, and what an envelope is bound to.
//!
//! An envelope is
//!
//! ```text
//! format 1 | provider | wrapped key length u16 | wrapped key | nonce 12 | ciphertext and tag
//! ```
//!
//! The ciphertext is AES-256-GCM under a data key that seals this one value; its additional data is the [`Binding`], and
//! so is the context under which the provider wraps the data key. An envelope copied to another place therefore does not
//! open there. This format is for ever. No IO may be added here.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey},
    digest, rand,
};
use zeroize::Zeroizing;

use keylend_contract::{hexadecimal::hexadecimal, plaintext::MAX_VALUE_BYTES};

const FORMAT: u8 = 1;
const VALUE_LABEL: &[u8] = b"keylend envelope v1";
const WRAP_LABEL: &[u8] = b"keylend wrapped key v1";
const NAME_LABEL: &[u8] = b"keylend envelope name v1";
const HEAD_BYTES: usize = 4;
/// The longest wrapped key that a provider may make, in bytes.
const MAX_WRAPPED_BYTES: usize = 8 * 1024;

pub(crate) const KEY_BYTES: usize = 32;
pub(crate) const NONCE_BYTES: usize = 12;
pub(crate) const TAG_BYTES: usize = 16;

/// Everything an envelope is bound to; no part of it is secret.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Binding {
    /// The UID of the namespace `kube-system`: the cluster.
    pub cluster_uid: String,
    /// The secret's namespace.
    pub namespace: String,
    /// The secret's name.
    pub name: String,
    /// The secret's UID.
    pub uid: String,
    /// The secret's type, such as `String`.
    pub secret_type: String,
    /// The environment.
    pub environment: String,
    /// The field, such as `value`.
    pub field: String,
    /// Grows with each value of the secret; never given twice.
    pub version: u64,
    /// Grows each time the same value is wrapped anew.
    pub wrap_generation: u64,
}

/// A key that seals one value; wiped when dropped.
pub struct DataKey(Box<Zeroizing<[u8; KEY_BYTES]>>);

/// Who wrapped the data key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Provider {
    /// [`crate::keys::local`].
    Local,
}

/// A sealed value as it rests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    provider: Provider,
    wrapped: Vec<u8>,
    sealed: Sealed,
}

/// A ciphertext with its tag, and the nonce it was made with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sealed {
    pub(crate) nonce: [u8; NONCE_BYTES],
    pub(crate) ciphertext: Vec<u8>,
}

/// Why bytes are no envelope, or one does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Truncated, too long, or of a format or provider that is not known here.
    #[error("reading an envelope: it is not one that this version writes")]
    Malformed,
    /// Altered, or made for another place.
    #[error("opening an envelope: it was altered, or made for another place")]
    Integrity,
    /// The cryptographic library failed.
    #[error("sealing an envelope: the cryptographic library failed")]
    Cryptography,
}

impl Binding {
    /// The name of the core Secret that the envelope rests in.
    #[must_use]
    pub fn envelope_name(&self) -> String {
        let encoded = encode(&[
            NAME_LABEL,
            self.uid.as_bytes(),
            self.environment.as_bytes(),
            self.field.as_bytes(),
            &self.version.to_be_bytes(),
            &self.wrap_generation.to_be_bytes(),
        ]);
        format!("envelope-{}", hexadecimal(digest::digest(&digest::SHA256, &encoded).as_ref()))
    }

    /// The additional data of the value's encryption.
    fn value_context(&self) -> Vec<u8> {
        self.tuple(VALUE_LABEL)
    }

    /// The context under which a provider wraps the data key.
    #[must_use]
    pub fn wrap_context(&self) -> Vec<u8> {
        let mut context = self.tuple(WRAP_LABEL);
        context.extend_from_slice(&encode(&[&self.wrap_generation.to_be_bytes()]));
        context
    }

    fn tuple(&self, label: &[u8]) -> Vec<u8> {
        encode(&[
            label,
            self.cluster_uid.as_bytes(),
            self.namespace.as_bytes(),
            self.name.as_bytes(),
            self.uid.as_bytes(),
            self.secret_type.as_bytes(),
            self.environment.as_bytes(),
            self.field.as_bytes(),
            &self.version.to_be_bytes(),
        ])
    }
}

impl DataKey {
    /// A fresh key.
    ///
    /// # Errors
    /// [`EnvelopeError::Cryptography`] when the random generator fails.
    pub fn generate() -> Result<Self, EnvelopeError> {
        let mut key = Self(Box::new(Zeroizing::new([0; KEY_BYTES])));
        rand::fill(&mut key.0[..]).map_err(|_| EnvelopeError::Cryptography)?;
        Ok(key)
    }

    /// The key that a provider unwrapped, if it has the length of one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut key = Self(Box::new(Zeroizing::new([0; KEY_BYTES])));
        if bytes.len() != KEY_BYTES {
            return None;
        }
        key.0.copy_from_slice(bytes);
        Some(key)
    }

    /// Lends the bytes to `borrow`, for wrapping.
    pub fn expose<R>(&self, borrow: impl FnOnce(&[u8]) -> R) -> R {
        borrow(&self.0[..])
    }

    /// Seals `value` for `binding`.
    ///
    /// # Errors
    /// [`EnvelopeError::Cryptography`] when the library fails.
    pub fn seal(
        &self,
        value: &[u8],
        binding: &Binding,
        provider: Provider,
        wrapped: Vec<u8>,
    ) -> Result<Envelope, EnvelopeError> {
        let sealed = self.expose(|key| seal(key, value, &binding.value_context()))?;
        Ok(Envelope { provider, wrapped, sealed })
    }

    /// Opens `envelope` for `binding`.
    ///
    /// # Errors
    /// [`EnvelopeError::Integrity`] for any other binding or key.
    pub fn open(&self, envelope: &Envelope, binding: &Binding) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        self.expose(|key| open(key, &envelope.sealed, &binding.value_context()))
    }
}

impl Envelope {
    /// Who wrapped the data key.
    #[must_use]
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// The wrapped data key, as its provider made it.
    #[must_use]
    pub fn wrapped(&self) -> &[u8] {
        &self.wrapped
    }

    /// The bytes that rest.
    ///
    /// # Errors
    /// [`EnvelopeError::Malformed`] when the wrapped key is longer than a provider may make it.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EnvelopeError> {
        let length = u16::try_from(self.wrapped.len()).map_err(|_| EnvelopeError::Malformed)?;
        let mut bytes = vec![FORMAT, self.provider.code()];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&self.wrapped);
        bytes.extend_from_slice(&self.sealed.nonce);
        bytes.extend_from_slice(&self.sealed.ciphertext);
        Ok(bytes)
    }

    /// Reads what [`Self::to_bytes`] wrote, and nothing else.
    ///
    /// # Errors
    /// [`EnvelopeError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let (&[format, provider, high, low], rest) =
            bytes.split_first_chunk::<HEAD_BYTES>().ok_or(EnvelopeError::Malformed)?;
        let provider = Provider::of(provider).filter(|_| format == FORMAT).ok_or(EnvelopeError::Malformed)?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length == 0 || length > MAX_WRAPPED_BYTES {
            return Err(EnvelopeError::Malformed);
        }
        let (wrapped, rest) = rest.split_at_checked(length).ok_or(EnvelopeError::Malformed)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(EnvelopeError::Malformed)?;
        if ciphertext.len() <= TAG_BYTES || ciphertext.len() > MAX_VALUE_BYTES + TAG_BYTES {
            return Err(EnvelopeError::Malformed);
        }
        let sealed = Sealed { nonce: *nonce, ciphertext: ciphertext.to_vec() };
        Ok(Self { provider, wrapped: wrapped.to_vec(), sealed })
    }
}

impl Provider {
    fn code(self) -> u8 {
        match self {
            Self::Local => 1,
        }
    }

    fn of(code: u8) -> Option<Self> {
        (code == Self::Local.code()).then_some(Self::Local)
    }
}

/// AES-256-GCM with a random nonce.
pub(crate) fn seal(key: &[u8], value: &[u8], context: &[u8]) -> Result<Sealed, EnvelopeError> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| EnvelopeError::Cryptography)?;
    // Room for the tag, so that appending it never moves the value.
    let mut buffer = Zeroizing::new(Vec::with_capacity(value.len() + TAG_BYTES));
    buffer.extend_from_slice(value);
    let nonce = key
        .seal_in_place_append_tag(Aad::from(context), &mut *buffer)
        .map_err(|_| EnvelopeError::Cryptography)?;
    Ok(Sealed { nonce: *nonce.as_ref(), ciphertext: std::mem::take(&mut *buffer) })
}

/// The counterpart of [`seal`].
pub(crate) fn open(key: &[u8], sealed: &Sealed, context: &[u8]) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| EnvelopeError::Cryptography)?;
    let mut buffer = Zeroizing::new(sealed.ciphertext.clone());
    let nonce = Nonce::assume_unique_for_key(sealed.nonce);
    let length = key
        .open_in_place(nonce, Aad::from(context), &mut buffer)
        .map_err(|_| EnvelopeError::Integrity)?
        .len();
    buffer.truncate(length);
    Ok(buffer)
}

/// Each part behind its length, so that no two lists of parts share an encoding.
fn encode(parts: &[&[u8]]) -> Vec<u8> {
    let mut encoded = Vec::new();
    for part in parts {
        encoded.extend_from_slice(&(part.len() as u64).to_be_bytes());
        encoded.extend_from_slice(part);
    }
    encoded
}

#[cfg(test)]
pub(crate) mod tests;
