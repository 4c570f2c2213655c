//! From a grant to the values it lends. The only way to a value for a call, and it needs a [`Grant`].

use keylend_contract::{plaintext::Plaintext, refusal::Refusal};

use super::grant::{Grant, Hold};
use crate::storage::{OpenError, Storage};

/// Why a grant's values could not be had.
#[derive(Debug)]
pub enum UnsealError {
    /// An envelope is not where the secret pointed when it was read: the pointer has moved on, or a value is lost.
    Moved,
    /// An envelope is not what was sealed under its name.
    Altered(AlteredEnvelope),
    /// The key, or whoever keeps it, says no.
    Refused(Refusal),
}

/// Which envelope is not what was sealed under its name.
#[derive(Debug)]
pub struct AlteredEnvelope {
    /// The namespace of the secret.
    pub namespace: String,
    /// The secret.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// Opens the values that `grant` lends, in the order of its holds. One that cannot be opened yields none.
///
/// # Errors
/// [`UnsealError`].
pub async fn unseal(grant: &Grant, storage: &Storage) -> Result<Vec<Plaintext>, UnsealError> {
    let mut values = Vec::with_capacity(grant.holds().len());
    for hold in grant.holds() {
        values.push(storage.open(hold.binding()).await.map_err(|error| unopened(hold, error))?);
    }
    Ok(values)
}

fn unopened(hold: &Hold, error: OpenError) -> UnsealError {
    match error {
        OpenError::Missing => UnsealError::Moved,
        OpenError::Integrity => UnsealError::Altered(AlteredEnvelope {
            namespace: hold.binding().namespace.clone(),
            name: hold.binding().name.clone(),
            uid: hold.binding().uid.clone(),
        }),
        OpenError::KeySealed { key } => {
            tracing::warn!(key, "nothing is lent: the key is not there");
            UnsealError::Refused(Refusal::KeySealed { secret: hold.name().to_owned() })
        }
        OpenError::Unreachable { cause } => {
            tracing::warn!(cause, "nothing is lent: an envelope or its key could not be read");
            UnsealError::Refused(Refusal::OperatorUnreachable)
        }
    }
}
