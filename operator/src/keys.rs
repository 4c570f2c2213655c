//! Key providers: whoever can wrap a data key so that only they unwrap it.
//!
//! A key is unwrapped on each use and never kept: disabling the provider's key is the owner's switch. No value passes
//! through here, only the keys that seal one.

use std::collections::BTreeSet;

use crate::storage::envelope::{Binding, DataKey, Provider};

pub mod local;
pub mod working;

/// Wraps and unwraps data keys. Each context is authenticated: a wrapped key opens for its own binding alone.
#[expect(async_fn_in_trait, reason = "called on concrete providers, whose futures are known to be Send")]
pub trait KeyProvider {
    /// What this provider's envelopes carry.
    const PROVIDER: Provider;

    /// Wraps `key` for `binding` under the primary key.
    ///
    /// # Errors
    /// [`KeyError`].
    async fn wrap(&self, key: &DataKey, binding: &Binding) -> Result<Vec<u8>, KeyError>;

    /// Unwraps what [`Self::wrap`] made for `binding`.
    ///
    /// # Errors
    /// [`KeyError`].
    async fn unwrap(&self, wrapped: &[u8], binding: &Binding) -> Result<DataKey, KeyError>;

    /// The name of the key that `wrapped` was wrapped under.
    ///
    /// # Errors
    /// [`KeyError::Integrity`].
    fn wrapped_under(wrapped: &[u8]) -> Result<String, KeyError>;

    /// The names of the keys that unwrap now, and not a moment ago.
    ///
    /// # Errors
    /// [`KeyError::Unreachable`].
    async fn working(&self) -> Result<BTreeSet<String>, KeyError>;
}

/// Why a data key is not wrapped or unwrapped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The key is disabled or gone: the owner's switch.
    #[error("the key '{key}' is not there")]
    Sealed {
        /// The key's name.
        key: String,
    },
    /// The wrapped key was altered, or made for another binding.
    #[error("unwrapping a data key: it was altered, or made for another place")]
    Integrity,
    /// The provider did not answer.
    #[error("reaching the key provider: {cause}")]
    Unreachable {
        /// What the client said.
        cause: String,
    },
    /// The cryptographic library failed.
    #[error("wrapping a data key: the cryptographic library failed")]
    Cryptography,
}
