//! Putting back what a test broke, also when the test fails: the next test has the same cluster.

/// Runs its function when it goes.
#[must_use = "what it puts back is put back at once if nobody holds it"]
pub struct Undo<F: FnMut()>(F);

impl<F: FnMut()> Undo<F> {
    /// Will run `put_back`, which must not panic.
    pub fn by(put_back: F) -> Self {
        Self(put_back)
    }
}

impl<F: FnMut()> Drop for Undo<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
