//! A value sealed on a client: the only form in which one enters the cluster.
//!
//! HPKE (RFC 9180), base mode, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. The text is `kl1.` and base64url
//! without padding of
//!
//! ```text
//! format 1 | kem u16 | kdf u16 | aead u16 | key id 8 | random id 16 | sealed at u64 (ms since 1970) | enc 65 | ciphertext
//! ```
//!
//! The header, everything before `enc`, is authenticated as additional data; `info` is the [`Scope`], so a blob opens
//! for exactly one field of one secret and a copy elsewhere does not. This format is for ever.

use std::{fmt, ops::Range, str::FromStr};

use aws_lc_rs::{digest, rand};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rustls::crypto::{
    aws_lc_rs::hpke::DH_KEM_P256_HKDF_SHA256_AES_256 as HPKE,
    hpke::{EncapsulatedSecret, Hpke as _, HpkePublicKey},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    hexadecimal::hexadecimal,
    plaintext::{MAX_VALUE_BYTES, Plaintext, PlaintextError},
    sealing_key::{KEY_ID_BYTES, POINT_BYTES, SealingKeyId, SealingPrivateKey, SealingPublicKey},
};

const PREFIX: &str = "kl1.";
const FORMAT: u8 = 1;
/// DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM (RFC 9180, 7).
const SUITE: [u8; 6] = [0x00, 0x10, 0x00, 0x01, 0x00, 0x02];
/// Where in a blob what is; `enc` and the ciphertext follow the header.
const FORMAT_AT: usize = 0;
const SUITE_AT: Range<usize> = 1..7;
const KEY_ID_AT: Range<usize> = 7..15;
const RANDOM_ID_AT: Range<usize> = 15..31;
const SEALED_AT: Range<usize> = 31..39;
const HEADER_BYTES: usize = SEALED_AT.end;
const TAG_BYTES: usize = 16;
const SCOPE_LABEL: &[u8] = b"keylend blob v1";

/// The longest blob, in characters.
pub const MAX_BLOB_CHARACTERS: usize =
    PREFIX.len() + (HEADER_BYTES + POINT_BYTES + TAG_BYTES + MAX_VALUE_BYTES).div_ceil(3) * 4;

/// What a blob opens for, and nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scope<'a> {
    /// The secret's namespace.
    pub namespace: &'a str,
    /// The secret's resource name.
    pub name: &'a str,
    /// The secret's type, such as `String`.
    pub secret_type: &'a str,
    /// The environment.
    pub environment: &'a str,
    /// The field, such as `value`.
    pub field: &'a str,
}

/// A sealed field as it travels, parsed but not opened.
#[derive(Clone, PartialEq, Eq)]
pub struct Blob {
    bytes: Vec<u8>,
}

/// SHA-256 over a blob, in hexadecimal: what the resource keeps so that a blob is taken in once.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BlobDigest(String);

/// Why a text is not a blob, or a blob does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// Not `kl1.` and base64url, or shorter or longer than a blob can be.
    #[error("this is not a sealed value; make one with 'kubectl keylend seal'")]
    Malformed,
    /// A format or suite that is not spoken here.
    #[error("this sealed value has a format that this version does not know; seal it again")]
    FormatUnknown,
    /// Sealed for another namespace, name, type, environment, field or key, or altered.
    #[error(
        "this sealed value was made for another namespace, name, type, environment or field, or was altered; seal it again for this one"
    )]
    DoesNotOpen,
    /// It opens to something that cannot be a value.
    #[error("{0}")]
    Plaintext(#[from] PlaintextError),
    /// The cryptographic library failed.
    #[error("sealing failed")]
    Sealing,
}

impl Scope<'_> {
    /// Length-prefixed, so that no two scopes share an encoding.
    fn info(&self) -> Vec<u8> {
        let parts = [
            SCOPE_LABEL,
            self.namespace.as_bytes(),
            self.name.as_bytes(),
            self.secret_type.as_bytes(),
            self.environment.as_bytes(),
            self.field.as_bytes(),
        ];
        let mut info = Vec::new();
        for part in parts {
            info.extend_from_slice(&(part.len() as u64).to_be_bytes());
            info.extend_from_slice(part);
        }
        info
    }
}

impl SealingPublicKey {
    /// Seals `value` for `scope`; `sealed_at_ms` is the time since 1970 in milliseconds.
    ///
    /// # Errors
    /// [`BlobError::Sealing`] when the library or the random generator fails.
    pub fn seal(&self, scope: &Scope<'_>, value: &Plaintext, sealed_at_ms: u64) -> Result<Blob, BlobError> {
        let mut id = [0; RANDOM_ID_AT.end - RANDOM_ID_AT.start];
        rand::fill(&mut id).map_err(|_| BlobError::Sealing)?;
        let mut bytes = vec![FORMAT];
        bytes.extend_from_slice(&SUITE);
        bytes.extend_from_slice(&self.id().0);
        bytes.extend_from_slice(&id);
        bytes.extend_from_slice(&sealed_at_ms.to_be_bytes());
        let (encapsulated, ciphertext) = value
            .expose(|value| HPKE.seal(&scope.info(), &bytes, value, &HpkePublicKey(self.0.clone())))
            .map_err(|_| BlobError::Sealing)?;
        bytes.extend_from_slice(&encapsulated.0);
        bytes.extend_from_slice(&ciphertext);
        Ok(Blob { bytes })
    }
}

impl Blob {
    /// The key it is sealed to.
    #[must_use]
    pub fn key(&self) -> SealingKeyId {
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&self.bytes[KEY_ID_AT]);
        SealingKeyId(id)
    }

    /// When it says it was sealed, in milliseconds since 1970; authenticated when it opens.
    #[must_use]
    pub fn sealed_at_ms(&self) -> u64 {
        let mut stamp = [0; 8];
        stamp.copy_from_slice(&self.bytes[SEALED_AT]);
        u64::from_be_bytes(stamp)
    }

    /// What the resource keeps of it.
    #[must_use]
    pub fn digest(&self) -> BlobDigest {
        let digest = digest::digest(&digest::SHA256, &self.bytes);
        BlobDigest(hexadecimal(digest.as_ref()))
    }

    /// Opens it for `scope`.
    ///
    /// # Errors
    /// [`BlobError::DoesNotOpen`] for any other scope or key, [`BlobError::Plaintext`] if it holds no value.
    pub fn open(&self, scope: &Scope<'_>, key: &SealingPrivateKey) -> Result<Plaintext, BlobError> {
        let (header, sealed) = self.bytes.split_at(HEADER_BYTES);
        let (encapsulated, ciphertext) = sealed.split_at(POINT_BYTES);
        let encapsulated = EncapsulatedSecret(encapsulated.to_vec());
        let opened = HPKE
            .open(&encapsulated, &scope.info(), header, ciphertext, &key.0)
            .map_err(|_| BlobError::DoesNotOpen)?;
        Ok(Plaintext::parse(Zeroizing::new(opened))?)
    }
}

impl FromStr for Blob {
    type Err = BlobError;

    fn from_str(text: &str) -> Result<Self, BlobError> {
        if text.len() > MAX_BLOB_CHARACTERS {
            return Err(BlobError::Malformed);
        }
        let encoded = text.strip_prefix(PREFIX).ok_or(BlobError::Malformed)?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(encoded).map_err(|_| BlobError::Malformed)?;
        if bytes.len() < HEADER_BYTES + POINT_BYTES + TAG_BYTES {
            return Err(BlobError::Malformed);
        }
        if bytes[FORMAT_AT] != FORMAT || bytes[SUITE_AT] != SUITE {
            return Err(BlobError::FormatUnknown);
        }
        Ok(Self { bytes })
    }
}

impl fmt::Display for Blob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(&self.bytes))
    }
}

impl fmt::Display for BlobDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sealing_key::generate_sealing_key;

    const SCOPE: Scope<'_> = Scope {
        namespace: "payments",
        name: "stripe-api-key",
        secret_type: "String",
        environment: "production",
        field: "value",
    };

    fn value() -> Plaintext {
        Plaintext::parse(Zeroizing::new(b"kl-test-value".to_vec())).unwrap()
    }

    #[test]
    fn a_blob_opens_for_its_own_scope_and_key_only() {
        let (public, private) = generate_sealing_key().unwrap();
        let blob: Blob =
            public.seal(&SCOPE, &value(), 1_700_000_000_123).unwrap().to_string().parse().unwrap();
        assert_eq!(blob.key(), public.id());
        assert_eq!(blob.sealed_at_ms(), 1_700_000_000_123);
        assert!(blob.open(&SCOPE, &private).unwrap().expose(|v| v == b"kl-test-value"));
        let elsewhere = [
            Scope { namespace: "payment", ..SCOPE },
            Scope { namespace: "paymentss", name: "tripe-api-key", ..SCOPE },
            Scope { name: "other", ..SCOPE },
            Scope { secret_type: "OAuth2", ..SCOPE },
            Scope { environment: "staging", ..SCOPE },
            Scope { field: "password", ..SCOPE },
        ];
        for scope in elsewhere {
            assert!(matches!(blob.open(&scope, &private), Err(BlobError::DoesNotOpen)), "{scope:?}");
        }
        let (_, other) = generate_sealing_key().unwrap();
        assert!(matches!(blob.open(&SCOPE, &other), Err(BlobError::DoesNotOpen)));
    }

    #[test]
    fn a_blob_sealed_long_ago_still_opens() {
        // Sealed once, to the key whose private half is the byte 1 over and over.
        let blob: Blob = concat!(
            "kl1.AQAQAAEAAsOtm1j8EJurlgWxEBLIxppj-IpEEC4YagAAAYvP5Wh7BGcpaqjUuP4ZDs2sgAQBurJaAYIWlJIVPfHEg6uoS8Lb",
            "It_BBmhFYalWJBi3KJODf1wrajk1Y0ahTTqh43osB80BX8BdoGIgLcuRsvyCN-zmCs9H2beb42wu23XuSQ",
        )
        .parse()
        .unwrap();
        assert_eq!(blob.key().to_string(), "c3ad9b58fc109bab");
        assert_eq!(blob.sealed_at_ms(), 1_700_000_000_123);
        let opened = blob.open(&SCOPE, &SealingPrivateKey::from_bytes(&[1; 32])).unwrap();
        assert!(opened.expose(|v| v == b"kl-test-value"));
    }

    #[test]
    fn an_altered_blob_does_not_open_at_any_byte() {
        let (public, private) = generate_sealing_key().unwrap();
        let private = private.expose(SealingPrivateKey::from_bytes);
        let blob = public.seal(&SCOPE, &value(), 1).unwrap();
        assert!(blob.open(&SCOPE, &private).is_ok());
        for at in 0..blob.bytes.len() {
            let mut bytes = blob.bytes.clone();
            bytes[at] ^= 1;
            assert!(Blob { bytes }.open(&SCOPE, &private).is_err(), "{at}");
        }
    }

    #[test]
    fn texts_that_are_no_blobs_are_refused() {
        let (public, _) = generate_sealing_key().unwrap();
        let text = public.seal(&SCOPE, &value(), 1).unwrap().to_string();
        for bad in
            ["", "kl1.", "kl-test-value", &text[1..], &text[..100], &format!("{text}=="), &format!(" {text}")]
        {
            assert_eq!(bad.parse::<Blob>().map(|_| ()), Err(BlobError::Malformed), "{bad}");
        }
        assert_eq!("kl1.".to_owned().parse::<Blob>().err(), Some(BlobError::Malformed));
        let mut newer = public.seal(&SCOPE, &value(), 1).unwrap();
        newer.bytes[FORMAT_AT] = 2;
        assert_eq!(newer.to_string().parse::<Blob>().err(), Some(BlobError::FormatUnknown));
    }

    #[test]
    fn a_hand_made_blob_of_something_that_is_no_value_is_refused() {
        let (public, private) = generate_sealing_key().unwrap();
        for bytes in [b"short".to_vec(), b"kl-test\r\nx: y".to_vec(), vec![b'x'; MAX_VALUE_BYTES + 1]] {
            let header = public.seal(&SCOPE, &value(), 1).unwrap().bytes[..HEADER_BYTES].to_vec();
            let (enc, sealed) =
                HPKE.seal(&SCOPE.info(), &header, &bytes, &HpkePublicKey(public.0.clone())).unwrap();
            let blob = Blob { bytes: [header, enc.0, sealed].concat() };
            assert!(matches!(blob.open(&SCOPE, &private), Err(BlobError::Plaintext(_))));
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_a_blob_reads_back_as_itself(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut framed = vec![FORMAT];
            framed.extend_from_slice(&SUITE);
            framed.extend_from_slice(&bytes);
            let text = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(&framed));
            if let Ok(blob) = text.parse::<Blob>() {
                prop_assert_eq!(blob.to_string(), text);
                let _ = (blob.key(), blob.sealed_at_ms(), blob.digest());
            }
        }
    }
}
