//! What a pod's specification says, read as it came from the API server.
//!
//! Nothing is parsed into types that know the fields of one Kubernetes version: those would drop a field that a later one
//! added, and what is dropped cannot be refused.

use serde_json::{Value, json};

use super::inject::{CONTAINER, SIDECAR_UID, TOKEN_VOLUME};

/// The one capability that an injected pod's containers may add: it opens low ports, and nobody else's memory.
const HARMLESS_CAPABILITY: &str = "NET_BIND_SERVICE";

/// The entries of a list, none if there is no such list.
pub(super) fn items<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    object[field].as_array().into_iter().flatten()
}

/// Every container but the first init container, which is where the sidecar stands.
pub(super) fn others(spec: &Value) -> impl Iterator<Item = &Value> {
    items(spec, "initContainers").skip(1).chain(items(spec, "containers"))
}

/// What would let other processes look into the sidecar, reach its listener, or stand between it and an upstream, if there is
/// such a thing. Whoever answers the sidecar's questions for names can hold back what a call sent until after a stop.
pub(super) fn exposure(spec: &Value) -> Option<&'static str> {
    let shared = ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"];
    let shared = shared.into_iter().find(|field| spec[field] == json!(true));
    let containers = ["initContainers", "containers"].into_iter().flat_map(|kind| items(spec, kind));
    shared
        .or_else(|| names_of_its_own(spec))
        .or_else(|| containers.map(|container| &container["securityContext"]).find_map(power))
}

fn names_of_its_own(spec: &Value) -> Option<&'static str> {
    let aliases = items(spec, "hostAliases").next().map(|_| "hostAliases");
    aliases.or_else(|| items(&spec["dnsConfig"], "nameservers").next().map(|_| "dnsConfig.nameservers"))
}

fn power(context: &Value) -> Option<&'static str> {
    if context["privileged"] == json!(true) {
        return Some("a privileged container");
    }
    if items(&context["capabilities"], "add").any(|capability| capability != HARMLESS_CAPABILITY) {
        return Some("an added capability");
    }
    let proc_mount = &context["procMount"];
    (!proc_mount.is_null() && proc_mount != "Default").then_some("a procMount other than Default")
}

/// Whether anything but the sidecar runs as the sidecar's user, as far as the specification says.
pub(super) fn runs_as_sidecar(spec: &Value) -> bool {
    let contexts = others(spec).map(|container| &container["securityContext"]);
    contexts.chain([&spec["securityContext"]]).any(|context| context["runAsUser"] == json!(SIDECAR_UID))
}

/// Whether anything but the sidecar mounts the sidecar's token.
pub(super) fn shares_token(spec: &Value) -> bool {
    let mounts = |container| items(container, "volumeMounts").chain(items(container, "volumeDevices"));
    others(spec).flat_map(mounts).any(|mount| mount["name"] == TOKEN_VOLUME)
}

/// Whether anything but the first init container has the sidecar's name.
pub(super) fn takes_name(spec: &Value) -> bool {
    others(spec).any(|container| container["name"] == CONTAINER)
}

/// Whether any text anywhere in `value` contains `words`.
pub(super) fn mentions(value: &Value, words: &str) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => text.contains(words),
        Value::Array(items) => items.iter().any(|item| mentions(item, words)),
        Value::Object(fields) => fields.values().any(|field| mentions(field, words)),
    }
}
