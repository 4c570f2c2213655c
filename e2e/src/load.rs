//! Load: many calls from many pods, under way while a test does something else.

use std::thread::JoinHandle;

use serde_json::Value;

use crate::{App, Call};

/// Runs under way, one in each app.
pub struct Load(Vec<(App, JoinHandle<Vec<Call>>)>);

impl Load {
    /// Begins in every app the run that `wish` says (see `e2e/peers`), which has to bound itself.
    #[must_use]
    pub fn begin(apps: impl IntoIterator<Item = App>, wish: &Value) -> Self {
        let begin = |app: App| {
            let (runner, wish) = (app.clone(), wish.clone());
            (app, std::thread::spawn(move || runner.run(&wish)))
        };
        Self(apps.into_iter().map(begin).collect())
    }

    /// Begins no more calls, waits for those under way, and tells every app's.
    ///
    /// # Panics
    /// When a run was cut off.
    #[track_caller]
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test without its calls cannot go on")]
    pub fn end(self) -> Vec<Vec<Call>> {
        self.0.iter().for_each(|(app, _)| app.stop());
        self.0.into_iter().map(|(_, run)| run.join().expect("a run is told to its end")).collect()
    }
}
