//! What the process promises about itself: no core files, no reading of its memory by others of its user, no word in a log
//! that came from a value, and an end in good order.

use std::panic;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::{filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::fault::Fault;

/// Makes core files and other processes' views impossible, and panics silent about what they saw.
///
/// # Errors
/// [`Fault`] if the kernel refuses.
pub fn close() -> Result<(), Fault> {
    const DOING: &str = "closing the process to others";
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|error| Fault::new(DOING, error))?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .map_err(|error| Fault::new(DOING, error))?;
    panic::set_hook(Box::new(|panicked| {
        let place = panicked.location().map(ToString::to_string);
        tracing::error!(place, "a request ended in a panic");
    }));
    Ok(())
}

/// Logs to standard error. The API client says what it could not read at its level WARN, and that may be a key.
pub fn log() {
    let quiet = Targets::new()
        .with_default(tracing::Level::INFO)
        .with_target("kube_client::client", tracing::Level::ERROR);
    let lines = tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(lines).with(quiet).init();
}

/// The two signals that end a process in good order.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Fault> {
        let listen = |kind| signal(kind).map_err(|e| Fault::new("listening for signals", e));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    pub(super) async fn told_to_stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
