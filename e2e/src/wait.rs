//! Waiting for the world to become as it should be.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Asks `attempt` again and again until it is `Ok`, for at most `limit`; panics with the last complaint.
///
/// # Panics
/// When the time is over.
#[track_caller]
#[expect(clippy::panic, reason = "this is a test's own assertion")]
pub fn within<T>(limit: Duration, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(complaint) if began.elapsed() > limit => panic!("still not so after {limit:?}: {complaint}"),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// [`within`] a minute, for what usually takes a moment.
#[track_caller]
pub fn eventually<T>(attempt: impl FnMut() -> Result<T, String>) -> T {
    within(Duration::from_mins(1), attempt)
}

/// The wall clock, in nanoseconds since 1970; the peers and the packet capture read the same one.
///
/// # Panics
/// When that cannot be told in 64 bits.
#[must_use]
#[expect(clippy::expect_used, reason = "the clock of a test machine stands after 1970 and before 2262")]
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    i64::try_from(since.as_nanos()).expect("it is before 2262")
}
