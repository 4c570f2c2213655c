//! A small API server in memory, for tests: objects by path, `resourceVersion`s, conflicts, finalizers, and a log.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use kube::{Client, client::Body};
use serde_json::{Value, json};

/// The server; clones are the same server.
#[derive(Clone, Default)]
pub(crate) struct FakeApi(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    log: Vec<String>,
    failing: Option<(String, u16)>,
}

type Answer = (StatusCode, Value);

impl FakeApi {
    pub(crate) fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let (status, answer) = server.0.lock().unwrap().serve(&head, &body);
                let body = Full::new(bytes::Bytes::from(answer.to_string()));
                Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
            }
        });
        Client::new(service, "default")
    }

    /// The object at `path`, as it is stored.
    pub(crate) fn object(&self, path: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.get(path).cloned()
    }

    /// Every object whose path begins with `prefix`.
    pub(crate) fn under(&self, prefix: &str) -> Vec<Value> {
        let state = self.0.lock().unwrap();
        let under = state.objects.iter().filter(|(path, _)| path.starts_with(prefix));
        under.map(|(_, object)| object.clone()).collect()
    }

    /// Stores `object` at `path`, whatever is there, as someone else would.
    pub(crate) fn set(&self, path: &str, object: Value) {
        self.0.lock().unwrap().store(path, object);
    }

    /// Removes the object at `path`, whatever protects it.
    pub(crate) fn unset(&self, path: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.remove(path)
    }

    /// Answers `status` to every request whose log line begins with `prefix`, from now on.
    pub(crate) fn fail(&self, prefix: &str, status: u16) {
        self.0.lock().unwrap().failing = Some((prefix.to_owned(), status));
    }

    /// Answers everything again.
    pub(crate) fn heal(&self) {
        self.0.lock().unwrap().failing = None;
    }

    /// `METHOD path` of every request so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.0.lock().unwrap().log.clone()
    }
}

impl State {
    fn serve(&mut self, head: &http::request::Parts, body: &[u8]) -> Answer {
        let path = head.uri.path().to_owned();
        let line = format!("{} {path}", head.method);
        self.log.push(line.clone());
        if let Some((_, status)) = self.failing.as_ref().filter(|(prefix, _)| line.starts_with(prefix)) {
            return refusal(*status, "InternalError");
        }
        match head.method.as_str() {
            "GET" if is_collection(&path) => self.list(&path, head.uri.query().unwrap_or_default()),
            "GET" => {
                self.objects.get(&path).map_or(refusal(404, "NotFound"), |o| (StatusCode::OK, o.clone()))
            }
            "POST" => self.create(&path, serde_json::from_slice(body).unwrap()),
            "PATCH" => self.patch(&path, serde_json::from_slice(body).unwrap()),
            "DELETE" => self.delete(&path),
            other => unreachable!("{other}"),
        }
    }

    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.insert("resourceVersion".into(), json!(self.version.to_string()));
        metadata.entry("uid").or_insert(json!(format!("uid-{}", self.version)));
        metadata.entry("creationTimestamp").or_insert(json!("2026-01-01T00:00:00Z"));
        self.objects.insert(path.to_owned(), object.clone());
        object
    }

    fn list(&self, path: &str, query: &str) -> Answer {
        let query = query.replace("%3D", "=").replace("%2F", "/");
        let selector =
            |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)).map(ToOwned::to_owned);
        let (labels, fields) = (selector("labelSelector="), selector("fieldSelector="));
        let chosen = |object: &&Value| {
            let label = labels.as_ref().is_none_or(|wanted| {
                let (name, value) =
                    wanted.split_once('=').map_or((wanted.as_str(), None), |(n, v)| (n, Some(v)));
                let found = object["metadata"]["labels"][name].as_str();
                value.map_or(found.is_some(), |value| found == Some(value))
            });
            let field = fields.as_ref().is_none_or(|wanted| {
                wanted.strip_prefix("type=").is_some_and(|type_| object["type"] == type_)
            });
            label && field
        };
        let within = |item: &str| {
            // A list of every namespace leaves the namespace out.
            let (group, plural) = path.rsplit_once('/').unwrap();
            let rest = item.strip_prefix(group).and_then(|rest| rest.strip_prefix("/namespaces/"));
            let anywhere = rest.is_some_and(|rest| rest.split('/').nth(1) == Some(plural));
            anywhere || item.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
        };
        let items = self.objects.iter().filter(|(path, _)| within(path)).map(|(_, object)| object);
        let items: Vec<&Value> = items.filter(chosen).collect();
        (StatusCode::OK, json!({ "metadata": {}, "items": items }))
    }

    /// A review is not stored: it is answered by what stands at its path.
    fn create(&mut self, path: &str, object: Value) -> Answer {
        if let Some(answer) = self.objects.get(path) {
            return (StatusCode::CREATED, answer.clone());
        }
        let path = format!("{path}/{}", object["metadata"]["name"].as_str().unwrap());
        if self.objects.contains_key(&path) {
            return refusal(409, "AlreadyExists");
        }
        (StatusCode::CREATED, self.store(&path, object))
    }

    fn patch(&mut self, path: &str, change: Value) -> Answer {
        let item = path.strip_suffix("/status").unwrap_or(path);
        let current = self.objects.get(item).cloned();
        if change.is_object() {
            let expected = &change["metadata"]["resourceVersion"];
            let found = current.as_ref().map(|current| &current["metadata"]["resourceVersion"]);
            if !expected.is_null() && found != Some(expected) {
                return refusal(409, "Conflict");
            }
            let mut applied = current.unwrap_or_else(|| json!({}));
            json_patch::merge(&mut applied, &change);
            return (StatusCode::OK, self.store(item, applied));
        }
        let Some(current) = current else { return refusal(404, "NotFound") };
        let mut patched = current.clone();
        let change: json_patch::Patch = serde_json::from_value(change).unwrap();
        json_patch::patch(&mut patched, &change).unwrap();
        if patched["metadata"]["resourceVersion"] != current["metadata"]["resourceVersion"] {
            return refusal(409, "Conflict");
        }
        if item != path {
            patched["spec"] = current["spec"].clone();
            patched["metadata"] = current["metadata"].clone();
        }
        let stored = self.store(item, patched);
        self.finish(item);
        (StatusCode::OK, stored)
    }

    fn delete(&mut self, path: &str) -> Answer {
        let Some(mut object) = self.objects.get(path).cloned() else { return refusal(404, "NotFound") };
        object["metadata"]["deletionTimestamp"] = json!("2026-02-02T00:00:00Z");
        let stored = self.store(path, object);
        self.finish(path);
        (StatusCode::OK, stored)
    }

    /// A deleting object without finalizers goes.
    fn finish(&mut self, path: &str) {
        let metadata = &self.objects[path]["metadata"];
        let held = metadata["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty());
        if !metadata["deletionTimestamp"].is_null() && !held {
            self.objects.remove(path);
        }
    }
}

fn is_collection(path: &str) -> bool {
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let from = if segments[0] == "api" { 2 } else { 3 };
    matches!(&segments[from..], [_] | ["namespaces", _, _])
}

fn refusal(status: u16, reason: &str) -> Answer {
    let body =
        json!({ "kind": "Status", "status": "Failure", "message": reason, "reason": reason, "code": status });
    (StatusCode::from_u16(status).unwrap(), body)
}
