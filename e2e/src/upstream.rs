//! The upstream of a test: a real Go server that tells what it saw.

use serde_json::{Value, json};

use crate::app;

/// The kubelet's address, with the colon before its port.
const NODE: &str = "10.244.0.1:";

/// One upstream, by the address of its control listener.
#[derive(Clone, Debug)]
pub struct Upstream {
    control: String,
}

impl Upstream {
    /// The upstream whose control listener has `address`.
    #[must_use]
    pub fn at(address: &str) -> Self {
        Self { control: format!("http://{address}:8081") }
    }

    /// The URL of its control listener, for what has no method here.
    #[must_use]
    pub fn control(&self) -> &str {
        &self.control
    }

    /// The digest by which hits tell `authorization`, the whole header value.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test without its upstream cannot go on")]
    pub fn digest(&self, authorization: &str) -> String {
        let wish = json!({"authorization": authorization});
        let expected = app::post(&format!("{}/expect", self.control), &wish);
        let expected: Value = serde_json::from_str(&expected).expect("what is expected is told as JSON");
        expected["sha256"].as_str().expect("it has a digest").to_owned()
    }

    /// Every request it saw.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    #[must_use]
    #[expect(clippy::panic, reason = "a test without its upstream cannot go on")]
    pub fn hits(&self) -> Vec<Value> {
        match app::get(&format!("{}/hits", self.control)) {
            Ok(Value::Array(hits)) => hits,
            other => panic!("hits are a list: {other:?}"),
        }
    }

    /// How many connections it has accepted, ever, but for those of the node's own probes.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    #[must_use]
    pub fn accepted(&self) -> usize {
        let connections = self.connections();
        let node = |one: &&Value| one["remote"].as_str().is_some_and(|remote| remote.starts_with(NODE));
        let all = connections.as_array().into_iter().flatten();
        all.filter(|one| !node(one)).count()
    }

    /// Every connection it accepted, with or without a request.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    #[must_use]
    #[expect(clippy::panic, reason = "a test without its upstream cannot go on")]
    pub fn connections(&self) -> Value {
        app::get(&format!("{}/connections", self.control)).unwrap_or_else(|error| panic!("{error}"))
    }
}
