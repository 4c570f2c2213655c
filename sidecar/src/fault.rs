//! The two ways a call can fail, and what a fault is.
//!
//! A fault is ours: something broke that no decision foresaw. It is logged with its cause and shown to an app as one
//! opaque sentence. It never holds a value, a path or a header; nothing that quotes input may become its cause.

use std::error::Error;

use keylend_contract::refusal::Refusal;

/// Something of ours broke while it was `doing` something.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub struct Fault {
    doing: &'static str,
    #[source]
    cause: Box<dyn Error + Send + Sync>,
}

impl Fault {
    /// A fault met while `doing` something, such as "reading the token".
    pub fn new(doing: &'static str, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { doing, cause: cause.into() }
    }
}

/// Why a call was not carried.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A decision to say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Something of ours broke.
    #[error(transparent)]
    Broke(#[from] Fault),
}

/// An error with everything that caused it, as one line for the log.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_says_what_was_being_done_and_keeps_its_cause() {
        let fault = Fault::new("reading the token", "no such file");
        assert_eq!(fault.to_string(), "reading the token");
        assert_eq!(fault.source().map(ToString::to_string).as_deref(), Some("no such file"));
        let around = Fault::new("enrolling", fault);
        assert_eq!(with_causes(&around), "enrolling: reading the token: no such file");
    }
}
