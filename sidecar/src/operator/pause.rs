//! How long to wait between tries: twice as long each time, within bounds.

use std::time::Duration;

/// The next wait, and its bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pause {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Pause {
    /// Starts with `first` and never waits longer than `most`.
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    /// How long to wait now.
    pub(crate) fn next(&mut self) -> Duration {
        let now = self.next;
        self.next = (now * 2).min(self.most);
        now
    }

    /// Starts anew, after a success.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_within_its_bounds_and_starts_anew_after_a_success() {
        let mut pause = Pause::new(Duration::from_millis(200), Duration::from_secs(2));
        let waits: Vec<_> = (0..6).map(|_| pause.next().as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1_600, 2_000, 2_000]);
        pause.reset();
        assert_eq!(pause.next().as_millis(), 200);
    }
}
