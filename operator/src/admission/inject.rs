//! What an injected pod looks like: the one place that says so.
//!
//! No annotation changes the image, command, user, volumes or security context: whoever could choose those could choose
//! to see the value. [`super::verify`] compares a live pod with the same output.

use keylend_contract::injected::{
    self, PROBE, PROBE_TIMEOUT, PROGRAM, READY, ROOTS_VARIABLE, RUN, STARTED, TOKEN_DIRECTORY, TOKEN_FILE,
    URL_VARIABLE,
};
use serde_json::{Value, json};

use super::spec::{exposure, runs_as_sidecar, shares_token};

/// The sidecar's container.
pub const CONTAINER: &str = "keylend-sidecar";
/// The volume with the token that enrols.
pub const TOKEN_VOLUME: &str = "keylend-token";
/// The audience of that token.
pub const AUDIENCE: &str = "keylend.dev/sidecar";
/// The user the sidecar runs as; nobody else in the pod may.
pub const SIDECAR_UID: i64 = 2102;
/// The label by which the operator watches injected pods.
pub const INJECTED_LABEL: &str = "keylend.dev/injected";

/// What the operator knows and a pod does not choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectionSettings {
    /// The sidecar's image; by digest, outside of trials.
    pub image: String,
    /// When the kubelet pulls it.
    pub image_pull_policy: String,
    /// The operator's roots, pinned in each pod.
    pub operator_roots_pem: String,
}

/// Why a pod cannot be injected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InjectError {
    /// Others could look into the sidecar, or stand between it and an upstream.
    #[error(
        "Keylend does not inject a pod with {0}, because others could then look into the sidecar or come between it and an upstream"
    )]
    Exposed(&'static str),
    /// A name or user of ours is taken.
    #[error("Keylend does not inject this pod: {0} is reserved for the sidecar")]
    Reserved(&'static str),
    /// Not a pod.
    #[error("Keylend cannot read this pod: {0} is missing or has another type")]
    Malformed(&'static str),
}

impl InjectionSettings {
    /// The digest that pins the image, if one does.
    #[must_use]
    pub fn image_digest(&self) -> Option<&str> {
        self.image.rsplit_once('@').map(|(_, digest)| digest)
    }
}

/// The sidecar's container, with every field the API server would default, so that it reads back as it was written.
#[must_use]
pub fn sidecar_container(settings: &InjectionSettings) -> Value {
    json!({
        "name": CONTAINER,
        "image": settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": [PROGRAM],
        "args": [RUN],
        "env": [{"name": ROOTS_VARIABLE, "value": settings.operator_roots_pem}],
        "restartPolicy": "Always",
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "32Mi"}},
        "startupProbe": probe(STARTED, 1, 600),
        "readinessProbe": probe(READY, 10, 3),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "privileged": false,
            "readOnlyRootFilesystem": true,
            "runAsGroup": SIDECAR_UID,
            "runAsNonRoot": true,
            "runAsUser": SIDECAR_UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "volumeMounts": [{"mountPath": TOKEN_DIRECTORY, "name": TOKEN_VOLUME, "readOnly": true}],
    })
}

fn probe(question: &str, period_seconds: u32, failure_threshold: u32) -> Value {
    json!({
        "exec": {"command": [PROGRAM, PROBE, question]},
        "failureThreshold": failure_threshold,
        "periodSeconds": period_seconds,
        "successThreshold": 1,
        "timeoutSeconds": PROBE_TIMEOUT.as_secs(),
    })
}

pub(super) fn token_volume() -> Value {
    json!({
        "name": TOKEN_VOLUME,
        "projected": {
            "defaultMode": 420,
            "sources": [{"serviceAccountToken": {"audience": AUDIENCE, "expirationSeconds": 3600, "path": TOKEN_FILE}}],
        },
    })
}

/// Makes the injected pod out of `pod`. Doing it twice is doing it once.
///
/// # Errors
/// [`InjectError`], with a sentence for the person whose pod it is.
pub fn inject(pod: &Value, settings: &InjectionSettings) -> Result<Value, InjectError> {
    let mut pod = pod.clone();
    label(&mut pod)?;
    let spec = pod.get_mut("spec").ok_or(InjectError::Malformed("spec"))?;
    if let Some(exposure) = exposure(spec) {
        return Err(InjectError::Exposed(exposure));
    }
    let init_containers = list(spec, "initContainers")?;
    init_containers.retain(|container| container["name"] != CONTAINER);
    init_containers.insert(0, sidecar_container(settings));
    let volumes = list(spec, "volumes")?;
    volumes.retain(|volume| volume["name"] != TOKEN_VOLUME);
    volumes.push(token_volume());
    for kind in ["initContainers", "containers"] {
        for container in list(spec, kind)?.iter_mut().filter(|container| container["name"] != CONTAINER) {
            tell_where_the_sidecar_listens(container)?;
        }
    }
    if list(spec, "containers")?.iter().any(|container| container["name"] == CONTAINER) {
        return Err(InjectError::Reserved("the container name keylend-sidecar"));
    }
    refuse_intruders(spec)?;
    Ok(pod)
}

fn label(pod: &mut Value) -> Result<(), InjectError> {
    let metadata = pod.get_mut("metadata").ok_or(InjectError::Malformed("metadata"))?;
    let metadata = metadata.as_object_mut().ok_or(InjectError::Malformed("metadata"))?;
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    if labels.is_null() {
        *labels = json!({});
    }
    let labels = labels.as_object_mut().ok_or(InjectError::Malformed("metadata.labels"))?;
    labels.insert(INJECTED_LABEL.to_owned(), json!("true"));
    Ok(())
}

fn list<'a>(spec: &'a mut Value, field: &'static str) -> Result<&'a mut Vec<Value>, InjectError> {
    let spec = spec.as_object_mut().ok_or(InjectError::Malformed("spec"))?;
    let list = spec.entry(field).or_insert_with(|| json!([]));
    if list.is_null() {
        *list = json!([]);
    }
    list.as_array_mut().ok_or(InjectError::Malformed(field))
}

fn refuse_intruders(spec: &Value) -> Result<(), InjectError> {
    if runs_as_sidecar(spec) {
        return Err(InjectError::Reserved("the user 2102"));
    }
    if shares_token(spec) {
        return Err(InjectError::Reserved("the volume keylend-token"));
    }
    Ok(())
}

fn tell_where_the_sidecar_listens(container: &mut Value) -> Result<(), InjectError> {
    let env = list(container, "env")?;
    if !env.iter().any(|variable| variable["name"] == URL_VARIABLE) {
        env.push(json!({"name": URL_VARIABLE, "value": injected::url()}));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const DIGEST: &str = "sha256:0123";

    pub(crate) fn settings() -> InjectionSettings {
        InjectionSettings {
            image: format!("registry.example/keylend-sidecar@{DIGEST}"),
            image_pull_policy: "IfNotPresent".into(),
            operator_roots_pem: "-----BEGIN CERTIFICATE-----".into(),
        }
    }

    pub(crate) fn app() -> Value {
        json!({
            "metadata": {"name": "checkout", "annotations": {"keylend.dev/inject": "true"}},
            "spec": {
                "initContainers": [{"name": "migrate", "image": "app"}],
                "containers": [{"name": "app", "image": "app", "env": [{"name": "A", "value": "b"}]}],
                "volumes": [{"name": "data", "emptyDir": {}}],
                "futureField": {"kept": true},
            },
        })
    }

    #[test]
    fn the_sidecar_comes_first_and_the_rest_stays() {
        let pod = inject(&app(), &settings()).unwrap();
        assert_eq!(pod["spec"]["initContainers"][0], sidecar_container(&settings()));
        assert_eq!(pod["spec"]["initContainers"][1]["name"], "migrate");
        assert_eq!(pod["spec"]["futureField"], json!({"kept": true}));
        let url = json!({"name": "KEYLEND_URL", "value": "http://127.0.0.1:7180"});
        assert_eq!(pod["spec"]["containers"][0]["env"], json!([{"name": "A", "value": "b"}, url]));
        assert_eq!(pod["spec"]["initContainers"][1]["env"], json!([url]));
    }

    #[test]
    fn injecting_twice_is_injecting_once() {
        let once = inject(&app(), &settings()).unwrap();
        assert_eq!(inject(&once, &settings()).unwrap(), once);
    }

    #[test]
    fn an_app_that_sets_the_variable_keeps_its_own() {
        let mut pod = app();
        pod["spec"]["containers"][0]["env"] =
            json!([{"name": "KEYLEND_URL", "value": "http://localhost:7180"}]);
        let injected = inject(&pod, &settings()).unwrap();
        assert_eq!(injected["spec"]["containers"][0]["env"], pod["spec"]["containers"][0]["env"]);
    }

    #[test]
    fn a_pod_that_exposes_the_sidecar_is_not_injected() {
        for (pointer, value) in [
            ("/spec/hostNetwork", json!(true)),
            ("/spec/hostPID", json!(true)),
            ("/spec/hostIPC", json!(true)),
            ("/spec/shareProcessNamespace", json!(true)),
            ("/spec/hostAliases", json!([{"ip": "192.0.2.1", "hostnames": ["a.test"]}])),
            ("/spec/dnsConfig", json!({"nameservers": ["192.0.2.1"]})),
            ("/spec/containers/0/securityContext", json!({"privileged": true})),
            ("/spec/containers/0/securityContext", json!({"capabilities": {"add": ["SYS_PTRACE"]}})),
            ("/spec/initContainers/0/securityContext", json!({"procMount": "Unmasked"})),
            ("/spec/securityContext", json!({"runAsUser": 2102})),
            ("/spec/containers/0/securityContext", json!({"runAsUser": 2102})),
            ("/spec/containers/0/name", json!("keylend-sidecar")),
            ("/spec/containers/0/volumeMounts", json!([{"name": "keylend-token", "mountPath": "/t"}])),
            ("/spec/containers", json!("none")),
        ] {
            let mut pod = app();
            set(&mut pod, pointer, value);
            assert!(inject(&pod, &settings()).is_err(), "{pointer}");
        }
    }

    pub(crate) fn set(pod: &mut Value, pointer: &str, value: Value) {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = pod.pointer_mut(parent).unwrap();
        match parent {
            Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
            Value::Object(fields) => {
                fields.insert(key.to_owned(), value);
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => unreachable!(),
        }
    }
}
