//! Something of ours broke: logged with its cause, shown as one opaque sentence.

use std::error::Error;

use keylend_contract::refusal::Refusal;

/// A failure that is ours. Its cause goes to the log, never to a caller.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub struct Fault {
    doing: &'static str,
    #[source]
    cause: Box<dyn Error + Send + Sync>,
}

/// What can come of a request besides an answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A decision to say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Something of ours broke.
    #[error(transparent)]
    Broke(#[from] Fault),
}

impl Fault {
    /// A fault while `doing` something, such as "reading a share".
    pub fn new(doing: &'static str, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { doing, cause: cause.into() }
    }
}
