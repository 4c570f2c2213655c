//! The app in a recipient's pod: a real Go client, told by its control listener what to call.

use std::{collections::HashMap, io, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::within;

/// How long a process takes at most until it listens.
const LISTENS: Duration = Duration::from_secs(10);

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
    /// The status line's reason, the status before it.
    pub reason: String,
    /// The fields of the head, where the run included them.
    pub headers: Value,
    /// The trailers, where the run included them.
    pub trailers: Value,
    /// The body, as text.
    pub body: String,
    /// Why there was no answer.
    pub error: String,
    /// The call's trace.
    pub trace_id: String,
}

/// One thing that happened to a call whose pieces are told as they come.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
#[derive(Default)]
pub struct Event {
    /// "begin", "sent" (a piece of the request's body), "head", "chunk" (of the response's body), or "end".
    pub event: String,
    /// When; nanoseconds since 1970.
    pub time: i64,
    /// The call's trace, at its beginning.
    pub trace_id: String,
    /// Why the response did not come whole, at its end.
    pub error: String,
}

/// What a run came to, all calls together.
#[derive(Debug, Clone, Deserialize)]
pub struct Summary {
    /// How many calls there were.
    pub calls: u64,
    /// How many had which HTTP status.
    pub by_status: HashMap<String, u64>,
    /// How many ended each second.
    pub per_second: f64,
    /// Half of those that were answered took no longer, in microseconds.
    pub p50_us: f64,
    /// 99 of 100 took no longer, in microseconds.
    pub p99_us: f64,
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

    /// Runs what `wish` says, and gives back only what all calls together came to.
    ///
    /// # Panics
    /// When the run was cut off.
    #[track_caller]
    #[must_use]
    #[expect(clippy::expect_used, reason = "a run that was not cut off ends with its summary")]
    pub fn summary(&self, wish: &Value) -> Summary {
        let mut wish = wish.clone();
        wish["quiet"] = Value::Bool(true);
        let text = post(&format!("{}/run", self.control), &wish);
        let mut last: HashMap<String, Summary> =
            serde_json::from_str(&text).expect("a quiet run tells its summary");
        last.remove("summary").expect("a quiet run tells its summary")
    }

    /// Makes the one call that `wish` says (see `e2e/peers`) and tells all that happened to it, in order.
    ///
    /// # Panics
    /// When the call was not told to its end.
    #[track_caller]
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test without its app cannot go on")]
    pub fn stream(&self, wish: &Value) -> Vec<Event> {
        let lines = post(&format!("{}/stream", self.control), wish);
        let events: Vec<Event> =
            lines.lines().map(|line| serde_json::from_str(line).expect("an event is JSON")).collect();
        assert!(events.last().is_some_and(|last| last.event == "end"), "the stream was cut off: {events:?}");
        events
    }

    /// Begins no more calls, in any run.
    ///
    /// # Panics
    /// When the app does not answer.
    #[track_caller]
    pub fn stop(&self) {
        post(&format!("{}/stop", self.control), &Value::Null);
    }
}

/// Posts JSON to a control listener and gives back the text of the answer.
///
/// # Panics
/// When there is no answer, or it is an error.
#[track_caller]
#[expect(clippy::panic, clippy::expect_used, reason = "a test without its peers cannot go on")]
#[expect(clippy::must_use_candidate, reason = "often it is enough that it was taken")]
pub fn post(url: &str, body: &Value) -> String {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_mins(11)))
        .http_status_as_error(false)
        .build()
        .into();
    // A container runs a moment before its process listens.
    let listening = within(LISTENS, || match agent.post(url).send_json(body) {
        Err(ureq::Error::Io(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Err(format!("{url}: {error}"))
        }
        answer => Ok(answer),
    });
    match listening {
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
    serde_json::from_str(&text(url)?).map_err(|error| format!("{url}: {error}"))
}

/// Gets text by plain HTTP.
///
/// # Errors
/// When there is no answer, or it is an error.
pub fn text(url: &str) -> Result<String, String> {
    let mut reply = ureq::get(url).call().map_err(|error| format!("{url}: {error}"))?;
    let body = reply.body_mut().with_config().limit(256 * 1024 * 1024);
    body.read_to_string().map_err(|error| format!("{url}: {error}"))
}
