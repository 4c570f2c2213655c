//! The inner encryption of what the operator answers over one connection.
//!
//! TLS and HTTP/2 keep what they received in buffers that outlive the call and that nobody can wipe. Under the veil these
//! never hold a value that can be read: only whoever asked lifts it, into memory that is wiped. The key is exported from
//! the connection's own TLS (RFC 8446, 7.5), so there is nothing to agree on. Never a replacement for TLS.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use zeroize::Zeroizing;

/// What [`Veil::new`]'s key is exported under; no context goes with it.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-keylend-veil";

/// How long that key is, in bytes.
pub const KEY_BYTES: usize = 32;

/// How much longer a message is under the veil, in bytes.
pub const VEIL_BYTES: usize = 16 + NONCE_LEN;

/// AES-256-GCM by a key that the two ends of one connection have; ciphertext, tag, and a random nonce.
pub struct Veil(RandomizedNonceKey);

/// Why a message cannot be veiled or read. Nothing of it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VeilError {
    /// The key has another length.
    #[error("the veil's key is not one")]
    Key,
    /// The cryptographic library failed.
    #[error("veiling failed")]
    Cover,
    /// Too short, altered, or of another connection.
    #[error("what came is not under this connection's veil")]
    Lift,
}

impl Veil {
    /// The veil of the connection that `key` was exported from.
    ///
    /// # Errors
    /// [`VeilError::Key`].
    pub fn new(key: &[u8; KEY_BYTES]) -> Result<Self, VeilError> {
        RandomizedNonceKey::new(&AES_256_GCM, key).map(Self).map_err(|_| VeilError::Key)
    }

    /// Covers `message`.
    ///
    /// # Errors
    /// [`VeilError::Cover`].
    pub fn cover(&self, message: &[u8]) -> Result<Vec<u8>, VeilError> {
        // A vector that grows leaves its first bytes behind, in the clear.
        let mut covered = Zeroizing::new(Vec::with_capacity(message.len() + VEIL_BYTES));
        covered.extend_from_slice(message);
        let nonce = self.0.seal_in_place_append_tag(Aad::empty(), &mut *covered);
        covered.extend_from_slice(nonce.map_err(|_| VeilError::Cover)?.as_ref());
        Ok(std::mem::take(&mut *covered))
    }

    /// Gives back what was covered, in the memory in which it came.
    ///
    /// # Errors
    /// [`VeilError::Lift`].
    pub fn lift(&self, mut covered: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, VeilError> {
        let (sealed, nonce) = covered.split_last_chunk_mut::<NONCE_LEN>().ok_or(VeilError::Lift)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.0.open_in_place(nonce, Aad::empty(), sealed).map_err(|_| VeilError::Lift)?.len();
        covered.truncate(length);
        Ok(covered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn veil(byte: u8) -> Veil {
        Veil::new(&[byte; KEY_BYTES]).unwrap()
    }

    fn covered(message: &[u8]) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(veil(1).cover(message).unwrap())
    }

    #[test]
    fn only_the_same_connection_lifts_it() {
        for message in [b"".as_slice(), b"kl-test-value"] {
            assert_eq!(covered(message).len(), message.len() + VEIL_BYTES);
            assert_eq!(veil(1).lift(covered(message)).unwrap().as_slice(), message);
            assert_eq!(veil(2).lift(covered(message)).unwrap_err(), VeilError::Lift);
        }
        assert!(!covered(b"kl-test-value").windows(8).any(|window| window == b"kl-test-"));
        assert_ne!(covered(b"kl-test-value"), covered(b"kl-test-value"));
    }

    #[test]
    fn what_is_short_or_altered_is_not_lifted() {
        let whole = covered(b"kl-test-value");
        for length in 0..whole.len() {
            assert!(veil(1).lift(Zeroizing::new(whole[..length].to_vec())).is_err(), "{length}");
            let mut altered = whole.clone();
            altered[length] ^= 1;
            assert!(veil(1).lift(altered).is_err(), "{length}");
        }
    }
}
