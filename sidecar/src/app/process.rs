//! What the process promises about itself: no core files, no reading of its memory by others of its user, and no word in
//! a log that came from a value.

use std::{
    io::{self, Write},
    panic,
};

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use tracing::level_filters::LevelFilter;

use crate::fault::Fault;

/// Makes the process undumpable and lets panics say where, never what.
///
/// # Errors
/// [`Fault`] if the kernel refuses.
pub fn close() -> Result<(), Fault> {
    const DOING: &str = "closing the process to others";
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|error| Fault::new(DOING, error))?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .map_err(|error| Fault::new(DOING, error))?;
    panic::set_hook(Box::new(|panicked| {
        // The message may quote what was being worked on; the place is a constant of the build.
        let (file, line) = panicked.location().map_or(("", 0), |place| (place.file(), place.line()));
        let text =
            format!("{{\"level\":\"ERROR\",\"message\":\"panicked\",\"file\":\"{file}\",\"line\":{line}}}\n");
        // Nothing is left to tell it to.
        let _ = io::stderr().write_all(text.as_bytes());
    }));
    Ok(())
}

/// Sends the log to standard error as JSON lines, at a level nobody can change.
///
/// # Errors
/// [`Fault`] if something else has been told to take the log.
pub fn log() -> Result<(), Fault> {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_ansi(false)
        .with_max_level(LevelFilter::INFO)
        .with_writer(io::stderr)
        .try_init()
        .map_err(|error| Fault::new("opening the log", error))
}
