//! Something of ours broke: logged with its cause, shown as one opaque sentence.

use std::error::Error;

use keylend_contract::refusal::Refusal;

const UNREADABLE: &str = "what was read is not what it should be";

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

/// An error with everything that caused it, as one line for the log.
#[must_use]
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let all = || std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
    // What is around such an error may quote it.
    if all().any(is_unreadable) {
        let ours = all().filter(|error| error.is::<Fault>()).map(ToString::to_string);
        return ours.chain([UNREADABLE.to_owned()]).collect::<Vec<_>>().join(": ");
    }
    all().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What may be said of `error`: what cannot be read may be a key, and is not quoted.
#[must_use]
pub fn spoken(error: &(dyn Error + 'static)) -> String {
    if is_unreadable(error) { UNREADABLE.to_owned() } else { error.to_string() }
}

fn is_unreadable(error: &(dyn Error + 'static)) -> bool {
    let of_the_api = error.downcast_ref::<kube::Error>();
    matches!(of_the_api, Some(kube::Error::SerdeError(_) | kube::Error::FromUtf8(_)))
        || error.is::<serde_json::Error>()
}

impl Fault {
    /// A fault while `doing` something, such as "reading a share".
    pub fn new(doing: &'static str, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { doing, cause: cause.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_told_every_cause() {
        let fault = Fault::new("enrolling", Fault::new("reading a pod", "no such host"));
        assert_eq!(with_causes(&fault), "enrolling: reading a pod: no such host");
    }

    #[test]
    fn the_log_is_not_told_what_could_not_be_read() {
        let unreadable = serde_json::from_str::<u8>("\"kl-test-0123456789abcdef\"").unwrap_err();
        assert!(unreadable.to_string().contains("kl-test"));
        let fault = Fault::new("reading a key", kube::Error::SerdeError(unreadable));
        assert_eq!(with_causes(&fault), format!("reading a key: {UNREADABLE}"));
        let unreadable = serde_json::from_str::<u8>("\"kl-test-0123456789abcdef\"").unwrap_err();
        let around = kube::runtime::watcher::Error::WatchFailed(kube::Error::SerdeError(unreadable));
        assert!(around.to_string().contains("kl-test"), "what is around it quotes it");
        assert_eq!(with_causes(&around), UNREADABLE);
    }
}
