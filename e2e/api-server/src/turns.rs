//! Tests that take turns, each on its own thread.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

static TAKEN: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());
/// A test that takes a second turn within its own would wait for itself.
const PATIENCE: Duration = Duration::from_mins(5);

/// Nobody else has one until this is dropped.
pub(super) struct Turn(());

impl Turn {
    pub(super) fn take() -> Self {
        let (taken, freed) = &TAKEN;
        let before = taken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = freed.wait_timeout_while(before, PATIENCE, |taken| *taken);
        let (mut taken, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!waited.timed_out(), "another test, or this one, has the API server");
        *taken = true;
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *TAKEN.0.lock().unwrap_or_else(PoisonError::into_inner) = false;
        TAKEN.1.notify_one();
    }
}
