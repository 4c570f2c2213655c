//! The app in a recipient's pod: a real Go client, told by its control listener what to call.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

/// One app, by the address of its control listener.
#[derive(Clone, Debug)]
pub struct App {
    control: String,
}

/// What one call came to, as the app saw it.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
#[derive(Default)]
pub struct Call {
    /// Taken just before the call began; nanoseconds since 1970.
    pub start: i64,
    /// Taken when it was over.
    pub end: i64,
    /// The HTTP status; 0 if there was no answer.
    pub status: u16,
    /// The field `Keylend-Refusal`, empty if there was none.
    pub refusal: String,
    /// The body, as text.
    pub body: String,
    /// Why there was no answer.
    pub error: String,
    /// The call's trace.
    pub trace_id: String,
}

impl App {
    /// The app whose pod has `address`.
    #[must_use]
    pub fn at(address: &str) -> Self {
        Self { control: format!("http://{address}:8080") }
    }

    /// The URL of its control listener, for what has no method here.
    #[must_use]
    pub fn control(&self) -> &str {
        &self.control
    }

    /// Calls `path` below the sidecar once.
    ///
    /// # Panics
    /// When the app does not answer.
    #[track_caller]
    #[must_use]
    #[expect(clippy::expect_used, reason = "a run of one call has one result")]
    pub fn call(&self, path: &str) -> Call {
        self.run(&json!({"url": path, "count": 1, "include_body": true}))
            .pop()
            .expect("one call has one result")
    }

    /// Runs what `wish` says (see `e2e/peers`) and gives back every call's result.
    ///
    /// # Panics
    /// When the run was cut off.
    #[track_caller]
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test without its app cannot go on")]
    pub fn run(&self, wish: &Value) -> Vec<Call> {
        let lines = post(&format!("{}/run", self.control), wish);
        let mut lines: Vec<&str> = lines.lines().collect();
        let last = lines.pop().unwrap_or_default();
        assert!(last.contains("\"summary\""), "the run was cut off: {last}");
        lines.iter().map(|line| serde_json::from_str(line).expect("a result is JSON")).collect()
    }
}

/// Posts JSON to a control listener and gives back the text of the answer.
///
/// # Panics
/// When there is no answer, or it is an error.
#[track_caller]
#[must_use]
#[expect(clippy::panic, clippy::expect_used, reason = "a test without its peers cannot go on")]
pub fn post(url: &str, body: &Value) -> String {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_mins(3)))
        .http_status_as_error(false)
        .build()
        .into();
    match agent.post(url).send_json(body) {
        Ok(mut reply) if reply.status().is_success() => reply
            .body_mut()
            .with_config()
            .limit(256 * 1024 * 1024)
            .read_to_string()
            .expect("a control listener answers in text"),
        Ok(mut reply) => {
            panic!("{url}: {} {}", reply.status(), reply.body_mut().read_to_string().unwrap_or_default())
        }
        Err(error) => panic!("{url}: {error}"),
    }
}

/// Gets JSON from a control listener.
///
/// # Errors
/// When there is no answer, or it is an error.
pub fn get(url: &str) -> Result<Value, String> {
    let mut reply = ureq::get(url).call().map_err(|error| format!("{url}: {error}"))?;
    reply
        .body_mut()
        .with_config()
        .limit(256 * 1024 * 1024)
        .read_json()
        .map_err(|error| format!("{url}: {error}"))
}
