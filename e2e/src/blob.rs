//! Blobs made by hand, by the format's description alone: of any plaintext, stamp and scope, which no client of ours makes.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rustls::crypto::{
    aws_lc_rs::{default_provider, hpke::DH_KEM_P256_HKDF_SHA256_AES_256 as HPKE},
    hpke::{Hpke as _, HpkePublicKey},
};
use serde_json::Value;

use crate::operator;

const SCOPE_LABEL: &str = "keylend blob v1";

/// Everything that goes into a blob; a test changes one thing of it.
#[derive(Debug, Clone)]
pub struct Blob {
    /// The format's version.
    pub format: u8,
    /// The name of the key it is sealed to.
    pub key: Vec<u8>,
    /// The public half of that key.
    pub public: Vec<u8>,
    /// When it says it was sealed, in milliseconds since 1970.
    pub sealed_at_ms: u64,
    /// Namespace, name, type, environment and field.
    pub scope: [String; 5],
    /// What it opens to.
    pub plaintext: Vec<u8>,
}

impl Blob {
    /// A blob of `plaintext` for the production value of a String, to the key that the operator has published.
    ///
    /// # Panics
    /// When there is no such key.
    #[track_caller]
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test without sealing keys cannot go on")]
    pub fn new(namespace: &str, name: &str, sealed_at_ms: u64, plaintext: &[u8]) -> Self {
        let published = operator::kubectl().json("configmap", "keylend-sealing-keys");
        let keys = published["data"]["keys.json"].as_str().unwrap_or_default();
        let keys: Value = serde_json::from_str(keys).expect("the published keys are JSON");
        let key = keys["primary"].as_str().expect("one key is to be sealed to");
        let public = keys["keys"][key].as_str().expect("its public half is there");
        Self {
            format: 1,
            key: hexadecimal(key),
            public: BASE64_URL_SAFE_NO_PAD.decode(public).expect("a public half is base64url"),
            sealed_at_ms,
            scope: [namespace, name, "String", "production", "value"].map(str::to_owned),
            plaintext: plaintext.to_vec(),
        }
    }

    /// The bytes before they are written as text.
    ///
    /// # Panics
    /// When the library fails.
    #[must_use]
    #[expect(clippy::expect_used, reason = "sealing by hand does not fail")]
    pub fn bytes(&self) -> Vec<u8> {
        let mut id = [0; 16];
        default_provider().secure_random.fill(&mut id).expect("there is randomness");
        let suite = [0x00, 0x10, 0x00, 0x01, 0x00, 0x02];
        let stamp = self.sealed_at_ms.to_be_bytes();
        let mut bytes = [&[self.format], &suite[..], &self.key, &id, &stamp].concat();
        let (encapsulated, ciphertext) = HPKE
            .seal(&self.info(), &bytes, &self.plaintext, &HpkePublicKey(self.public.clone()))
            .expect("HPKE seals");
        bytes.extend(encapsulated.0);
        bytes.extend(ciphertext);
        bytes
    }

    /// The blob as it stands in a resource.
    #[must_use]
    pub fn text(&self) -> String {
        text(&self.bytes())
    }

    fn info(&self) -> Vec<u8> {
        let parts = [SCOPE_LABEL].into_iter().chain(self.scope.iter().map(String::as_str));
        parts.flat_map(|part| [&(part.len() as u64).to_be_bytes(), part.as_bytes()].concat()).collect()
    }
}

/// Bytes of a blob as text.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    format!("kl1.{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

#[expect(clippy::expect_used, reason = "a key's name is hexadecimal")]
fn hexadecimal(text: &str) -> Vec<u8> {
    let pairs = (0..text.len()).step_by(2).filter_map(|at| text.get(at..at + 2));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("two hexadecimal digits")).collect()
}
