//! What is malformed, too much or no longer the same is refused with its field and what to do, and nothing is lost.
#![expect(clippy::unwrap_used, reason = "a test whose peers or cluster are gone cannot go on")]

use keylend_e2e::{App, Kubectl, Outcome, Stage, app};
use serde_json::{Value, json};

mod anew;
mod blobs;
mod invalid;
mod malformed;

const VALUE: &str = "kl-test-e5c20b7d94a1f638";
const SECRET: &str = "stripe-api-key";

/// A kind and a name in a namespace.
type Object<'a> = (&'a Kubectl, &'a str, &'a str);

/// Replaces an object by itself with one field changed, or removed.
fn edit(object: Object<'_>, pointer: &str, value: Value) -> Outcome {
    let (kubectl, kind, name) = object;
    let mut edited = kubectl.json(kind, name);
    // kubectl keeps what it applied there, which has a bound of its own.
    edited["metadata"].as_object_mut().unwrap().remove("annotations");
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = edited.pointer_mut(parent).unwrap();
    if value.is_null() {
        parent.as_object_mut().unwrap().remove(field);
    } else {
        parent[field] = value.clone();
    }
    let replaced = kubectl.run_with_input(&["replace", "--filename", "-"], &edited.to_string());
    // Between reading and writing the operator may have written a status.
    if replaced.stderr.contains("object has been modified") { edit(object, pointer, value) } else { replaced }
}

/// The next good call carries `value`.
fn nothing_is_lost(stage: &Stage, caller: &App, value: &str) {
    let control = stage.upstream().control().to_owned();
    app::post(&format!("{control}/expect"), &json!({"authorization": format!("Bearer {value}")}));
    let call = caller.call("/stripe/v1/charges");
    assert_eq!(call.status, 200, "{call:?}");
}
