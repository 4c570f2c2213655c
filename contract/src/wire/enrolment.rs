//! How a sidecar proves which container it is, and the certificate it gets for it.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use super::WireError;
use crate::refusal::Refusal;

/// A sidecar's proof of which container it is.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Enrol {
    /// See [`WIRE_VERSION`](super::WIRE_VERSION).
    pub version: u16,
    /// The projected service account token of our audience.
    pub token: String,
    /// The container's public key: `SubjectPublicKeyInfo` (RFC 5280), DER in base64.
    pub public_key: String,
    /// ECDSA P-256 SHA-256 signature (ASN.1, base64) over [`enrolment_statement`], by that key.
    pub proof: String,
}

/// The answer to an [`Enrol`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum EnrolAnswer {
    /// The certificate chain, leaf first, DER in base64, and how long it is valid.
    Enrolled {
        /// Leaf first.
        chain: Vec<String>,
        /// Seconds from now.
        valid_for_seconds: u64,
    },
    /// No, or not yet.
    Refused(Refusal),
}

/// What an enrolling key signs: so that a token cannot be presented with somebody else's key.
#[must_use]
pub fn enrolment_statement(token: &str, public_key: &[u8]) -> Vec<u8> {
    let mut statement = b"keylend enrolment v1\0".to_vec();
    statement.extend_from_slice(&(public_key.len() as u64).to_be_bytes());
    statement.extend_from_slice(public_key);
    statement.extend_from_slice(token.as_bytes());
    statement
}

/// Reads base64 as it stands in messages.
///
/// # Errors
/// [`WireError::Form`].
pub fn base64_bytes(text: &str) -> Result<Vec<u8>, WireError> {
    BASE64_STANDARD.decode(text).map_err(|_| WireError::Form)
}

/// Writes base64 as it stands in messages.
#[must_use]
pub fn base64_text(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}
