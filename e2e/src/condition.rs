//! What an object's condition says once the operator has looked at its newest generation.

use serde::Deserialize;
use serde_json::Value;

use crate::{Kubectl, eventually};

/// One condition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word.
    pub reason: String,
    /// Why, and what to do.
    pub message: String,
}

/// The condition of `type_` as it is for the newest generation.
///
/// # Panics
/// When the operator has not looked at that generation within a minute.
#[track_caller]
#[must_use]
pub fn of(kubectl: &Kubectl, kind: &str, name: &str, type_: &str) -> Condition {
    eventually(|| {
        let object = kubectl.json(kind, name);
        newest(&object, type_)
            .ok_or_else(|| format!("{kind}/{name} has no {type_} yet: {}", object["status"]))
    })
}

/// Waits until the condition `Ready` of the newest generation has `reason`, and gives back its message.
///
/// # Panics
/// When that does not come about within a minute.
#[track_caller]
#[must_use]
pub fn ready_because(kubectl: &Kubectl, kind: &str, name: &str, reason: &str) -> String {
    eventually(|| {
        let ready = of(kubectl, kind, name, "Ready");
        if ready.reason == reason { Ok(ready.message) } else { Err(format!("{kind}/{name}: {ready:?}")) }
    })
}

fn newest(object: &Value, type_: &str) -> Option<Condition> {
    let conditions = object["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == type_)?;
    let looked = found["observedGeneration"] == object["metadata"]["generation"];
    serde_json::from_value(found.clone()).ok().filter(|_| looked)
}
