//! The keys that values are sealed to on a client: public halves for everyone, the private one for the operator alone.
//!
//! A key pair is one of DHKEM(P-256, HKDF-SHA256) (RFC 9180, 7.1). What is sealed to it is a [blob](crate::blob).

use std::{collections::BTreeMap, fmt};

use aws_lc_rs::{
    agreement::{ECDH_P256, ParsedPublicKey, UnparsedPublicKey},
    digest,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rustls::crypto::{
    aws_lc_rs::hpke::DH_KEM_P256_HKDF_SHA256_AES_256 as HPKE,
    hpke::{Hpke as _, HpkePrivateKey},
};
use serde::{Deserialize, Serialize};

use crate::hexadecimal::hexadecimal;

/// The length of a key's name.
pub(crate) const KEY_ID_BYTES: usize = 8;
/// The length of an uncompressed P-256 point (SEC 1, 2.3.3), and its first byte.
pub(crate) const POINT_BYTES: usize = 65;
const UNCOMPRESSED: u8 = 4;
const ID_LABEL: &[u8] = b"keylend sealing key";

/// A key's name: the first eight bytes of SHA-256 over its label and its public half.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SealingKeyId(pub(crate) [u8; KEY_ID_BYTES]);

/// The public half of a sealing key pair: an uncompressed P-256 point (SEC 1).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SealingPublicKey(pub(crate) Vec<u8>);

/// The private half of a sealing key pair; only the operator has one.
pub struct SealingPrivateKey(pub(crate) HpkePrivateKey);

/// The operator's public halves as they stand in a `ConfigMap`, or in a file for sealing offline.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SealingKeys {
    /// The name of the key to seal to.
    pub primary: String,
    /// The keys by name.
    pub keys: BTreeMap<String, SealingPublicKey>,
}

/// Why a text or a list is not of sealing keys, or none is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealingKeyError {
    /// Not a point, or not listed under its own name.
    #[error("this is not a sealing key; fetch the operator's keys again")]
    NotAKey,
    /// The random generator failed.
    #[error("making a sealing key: the random generator failed")]
    NotMade,
}

/// Makes a key pair.
///
/// # Errors
/// [`SealingKeyError::NotMade`] when the random generator fails.
pub fn generate_sealing_key() -> Result<(SealingPublicKey, SealingPrivateKey), SealingKeyError> {
    let (public, private) = HPKE.generate_key_pair().map_err(|_| SealingKeyError::NotMade)?;
    Ok((SealingPublicKey(public.0), SealingPrivateKey(private)))
}

impl SealingPublicKey {
    /// The key's name.
    #[must_use]
    pub fn id(&self) -> SealingKeyId {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(ID_LABEL);
        context.update(&self.0);
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&context.finish().as_ref()[..KEY_ID_BYTES]);
        SealingKeyId(id)
    }
}

impl SealingPrivateKey {
    /// Takes the bytes of [`Self::expose`] back in.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(HpkePrivateKey::from(bytes.to_vec()))
    }

    /// Lends the bytes to `borrow`, for wrapping.
    pub fn expose<R>(&self, borrow: impl FnOnce(&[u8]) -> R) -> R {
        borrow(self.0.secret_bytes())
    }
}

impl SealingKeys {
    /// The key to seal to.
    ///
    /// # Errors
    /// [`SealingKeyError::NotAKey`] if it is not listed, or listed under a name that is not its own.
    pub fn primary(&self) -> Result<&SealingPublicKey, SealingKeyError> {
        let key = self.keys.get(&self.primary).ok_or(SealingKeyError::NotAKey)?;
        if key.id().to_string() == self.primary { Ok(key) } else { Err(SealingKeyError::NotAKey) }
    }
}

impl TryFrom<String> for SealingPublicKey {
    type Error = SealingKeyError;

    fn try_from(text: String) -> Result<Self, SealingKeyError> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| SealingKeyError::NotAKey)?;
        if bytes.len() != POINT_BYTES || bytes[0] != UNCOMPRESSED {
            return Err(SealingKeyError::NotAKey);
        }
        // Sealing to a point that is not on the curve fails.
        ParsedPublicKey::try_from(UnparsedPublicKey::new(&ECDH_P256, &bytes))
            .map_err(|_| SealingKeyError::NotAKey)?;
        Ok(Self(bytes))
    }
}

impl From<SealingPublicKey> for String {
    fn from(key: SealingPublicKey) -> Self {
        BASE64_URL_SAFE_NO_PAD.encode(key.0)
    }
}

impl fmt::Display for SealingKeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hexadecimal(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_primary_key_stands_under_its_own_name() {
        let (public, _) = generate_sealing_key().unwrap();
        let id = public.id().to_string();
        let keys = SealingKeys { primary: id.clone(), keys: [(id.clone(), public.clone())].into() };
        let read: SealingKeys = serde_json::from_str(&serde_json::to_string(&keys).unwrap()).unwrap();
        assert_eq!(read.primary().unwrap(), &public);
        let swapped = SealingKeys { primary: "00".into(), keys: [("00".to_owned(), public)].into() };
        assert_eq!(swapped.primary().err(), Some(SealingKeyError::NotAKey));
    }

    #[test]
    fn a_public_half_is_a_point_of_the_curve() {
        let (public, _) = generate_sealing_key().unwrap();
        let point = |change: fn(&mut Vec<u8>)| {
            let mut bytes = public.0.clone();
            change(&mut bytes);
            SealingPublicKey::try_from(String::from(SealingPublicKey(bytes)))
        };
        assert_eq!(point(|_| {}), Ok(public.clone()));
        let changes: [fn(&mut Vec<u8>); 4] = [
            |bytes| bytes[POINT_BYTES - 1] ^= 1,
            |bytes| bytes[1..].fill(0),
            |bytes| bytes[0] = 2,
            |bytes| bytes.truncate(POINT_BYTES - 1),
        ];
        for change in changes {
            assert_eq!(point(change), Err(SealingKeyError::NotAKey));
        }
    }
}
