//! What an injected pod looks like: the one place that says so, for making it and for recognising it.
//!
//! No annotation changes the image, command, user, volumes or security context: whoever could choose those could choose
//! to see the value. [`verify`] compares a live pod with the same output, so a hand-written pod enrols only if it is what
//! the injector would have made.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Volume};
use keylend_contract::wire::{TOKEN_DIRECTORY, TOKEN_FILE};
use serde_json::{Value, json};

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
/// The variable that tells an app where the sidecar listens.
pub const URL_VARIABLE: &str = "KEYLEND_URL";
/// Where the sidecar listens.
pub const URL: &str = "http://127.0.0.1:7180";

/// What the operator knows and a pod does not choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectionSettings {
    /// The sidecar's image, by digest.
    pub image: String,
    /// When the kubelet pulls it.
    pub image_pull_policy: String,
    /// The operator's roots, pinned in each pod.
    pub operator_roots_pem: String,
}

/// Why a pod cannot be injected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InjectError {
    /// Other processes of the pod or the node could look into the sidecar.
    #[error(
        "Keylend does not inject a pod with {0}, because other processes could then look into the sidecar"
    )]
    Exposed(&'static str),
    /// A name or user of ours is taken.
    #[error("Keylend does not inject this pod: {0} is reserved for the sidecar")]
    Reserved(&'static str),
    /// Not a pod.
    #[error("Keylend cannot read this pod: {0} is missing or has another type")]
    Malformed(&'static str),
}

/// In what a live pod differs from the one we would have made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// The sidecar's container is missing, not the first, doubled, or has another form.
    #[error("the container is not the one the injector makes")]
    Container,
    /// The token's volume is missing or has another form.
    #[error("the token volume is not the one the injector makes")]
    Volume,
    /// Something else in the pod can reach the token.
    #[error("another container or volume can reach the sidecar's token")]
    TokenShared,
    /// Something else in the pod runs as the sidecar's user, or is attached to it.
    #[error("another container could act as the sidecar or look into it")]
    Intruder,
    /// Shared process or host namespaces.
    #[error("the pod shares namespaces with others")]
    Namespaces,
    /// The label is missing.
    #[error("the pod lacks the label of injected pods")]
    Label,
}

/// The sidecar's container, with every field the API server would default, so that it reads back as it was written.
#[must_use]
pub fn sidecar_container(settings: &InjectionSettings) -> Value {
    json!({
        "name": CONTAINER,
        "image": settings.image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["/keylend-sidecar"],
        "args": ["run"],
        "env": [{"name": "KEYLEND_OPERATOR_ROOTS", "value": settings.operator_roots_pem}],
        "restartPolicy": "Always",
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "32Mi"}},
        "startupProbe": probe("started", 1, 600),
        "readinessProbe": probe("ready", 5, 3),
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
        "exec": {"command": ["/keylend-sidecar", "probe", question]},
        "failureThreshold": failure_threshold,
        "periodSeconds": period_seconds,
        "successThreshold": 1,
        "timeoutSeconds": 2,
    })
}

fn token_volume() -> Value {
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
    refuse_exposed(spec)?;
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

fn refuse_exposed(spec: &Value) -> Result<(), InjectError> {
    for field in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"] {
        if spec[field] == json!(true) {
            return Err(InjectError::Exposed(field));
        }
    }
    Ok(())
}

fn refuse_intruders(spec: &Value) -> Result<(), InjectError> {
    let typed: PodSpec = serde_json::from_value(spec.clone()).map_err(|_| InjectError::Malformed("spec"))?;
    if runs_as_sidecar(&typed) {
        return Err(InjectError::Reserved("the user 2102"));
    }
    if others(&typed).any(mounts_token) {
        return Err(InjectError::Reserved("the volume keylend-token"));
    }
    Ok(())
}

fn tell_where_the_sidecar_listens(container: &mut Value) -> Result<(), InjectError> {
    let env = list(container, "env")?;
    if !env.iter().any(|variable| variable["name"] == URL_VARIABLE) {
        env.push(json!({"name": URL_VARIABLE, "value": URL}));
    }
    Ok(())
}

/// Decides whether a live pod is what [`inject`] makes, so that its sidecar is ours and alone with its token.
///
/// `resources` are left out of the comparison: administrators bound them (`LimitRange`, resize), and they hold no power.
///
/// # Errors
/// The first [`Difference`].
pub fn verify(live: &Pod, settings: &InjectionSettings) -> Result<(), Difference> {
    let labels: Option<&BTreeMap<String, String>> = live.metadata.labels.as_ref();
    if labels.and_then(|labels| labels.get(INJECTED_LABEL)).map(String::as_str) != Some("true") {
        return Err(Difference::Label);
    }
    let spec = live.spec.as_ref().ok_or(Difference::Container)?;
    if [spec.host_network, spec.host_pid, spec.host_ipc, spec.share_process_namespace].contains(&Some(true)) {
        return Err(Difference::Namespaces);
    }
    verify_container(spec, settings)?;
    verify_volumes(spec)?;
    if others(spec).any(mounts_token) {
        return Err(Difference::TokenShared);
    }
    let attached = spec.ephemeral_containers.as_ref().is_some_and(|containers| !containers.is_empty());
    if attached || runs_as_sidecar(spec) {
        return Err(Difference::Intruder);
    }
    Ok(())
}

fn verify_container(spec: &PodSpec, settings: &InjectionSettings) -> Result<(), Difference> {
    let mut ours: Container =
        serde_json::from_value(sidecar_container(settings)).map_err(|_| Difference::Container)?;
    let mut first = spec
        .init_containers
        .as_ref()
        .and_then(|containers| containers.first())
        .cloned()
        .ok_or(Difference::Container)?;
    ours.resources = None;
    first.resources = None;
    let named = others(spec).any(|container| container.name == CONTAINER);
    if first == ours && !named { Ok(()) } else { Err(Difference::Container) }
}

fn verify_volumes(spec: &PodSpec) -> Result<(), Difference> {
    let ours: Volume = serde_json::from_value(token_volume()).map_err(|_| Difference::Volume)?;
    let volumes = spec.volumes.as_deref().unwrap_or_default();
    let mut named = volumes.iter().filter(|volume| volume.name == TOKEN_VOLUME);
    if named.next() != Some(&ours) || named.next().is_some() {
        return Err(Difference::Volume);
    }
    let elsewhere = volumes.iter().filter(|volume| volume.name != TOKEN_VOLUME).any(carries_our_audience);
    if elsewhere { Err(Difference::TokenShared) } else { Ok(()) }
}

fn carries_our_audience(volume: &Volume) -> bool {
    let sources = volume.projected.as_ref().and_then(|projected| projected.sources.as_ref());
    sources.is_some_and(|sources| {
        sources.iter().any(|source| {
            source.service_account_token.as_ref().and_then(|token| token.audience.as_deref())
                == Some(AUDIENCE)
        })
    })
}

/// Every container but the first init container, which is where the sidecar stands.
fn others(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().skip(1).chain(&spec.containers)
}

fn mounts_token(container: &Container) -> bool {
    container.volume_mounts.iter().flatten().any(|mount| mount.name == TOKEN_VOLUME)
}

fn runs_as_sidecar(spec: &PodSpec) -> bool {
    let pod = spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let each = others(spec)
        .map(|container| container.security_context.as_ref().and_then(|context| context.run_as_user));
    each.chain([pod]).any(|user| user == Some(SIDECAR_UID))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn settings() -> InjectionSettings {
        InjectionSettings {
            image: "registry.example/keylend-sidecar@sha256:0123".into(),
            image_pull_policy: "IfNotPresent".into(),
            operator_roots_pem: "-----BEGIN CERTIFICATE-----".into(),
        }
    }

    fn app() -> Value {
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

    fn verified(pod: &Value) -> Result<(), Difference> {
        verify(&serde_json::from_value(pod.clone()).unwrap(), &settings())
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
        assert_eq!(verified(&pod), Ok(()));
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

    #[test]
    fn one_field_off_and_the_pod_is_not_ours() {
        let ours = "/spec/initContainers/0";
        let app_container = "/spec/containers/0";
        let foreign = json!({"name": "x", "projected": {"sources": [{"serviceAccountToken": {"audience": AUDIENCE, "path": "t"}}]}});
        let table = [
            (format!("{ours}/image"), json!("registry.example/other"), Difference::Container),
            (format!("{ours}/command"), json!(["/bin/sh"]), Difference::Container),
            (format!("{ours}/args"), json!(["run", "--more"]), Difference::Container),
            (format!("{ours}/env/0/value"), json!("another root"), Difference::Container),
            (format!("{ours}/env"), json!([]), Difference::Container),
            (format!("{ours}/envFrom"), json!([{"configMapRef": {"name": "x"}}]), Difference::Container),
            (format!("{ours}/securityContext/runAsUser"), json!(0), Difference::Container),
            (format!("{ours}/securityContext/privileged"), json!(true), Difference::Container),
            (
                format!("{ours}/lifecycle"),
                json!({"postStart": {"exec": {"command": ["x"]}}}),
                Difference::Container,
            ),
            (format!("{ours}/stdin"), json!(true), Difference::Container),
            (format!("{ours}/volumeMounts/0/mountPath"), json!("/elsewhere"), Difference::Container),
            (format!("{ours}/restartPolicy"), Value::Null, Difference::Container),
            ("/spec/initContainers/1/name".into(), json!(CONTAINER), Difference::Container),
            (
                "/spec/volumes/1/projected/sources/0/serviceAccountToken/audience".into(),
                json!("other"),
                Difference::Volume,
            ),
            ("/spec/volumes/1/projected/defaultMode".into(), json!(511), Difference::Volume),
            ("/spec/volumes/0".into(), foreign, Difference::TokenShared),
            (
                format!("{app_container}/volumeMounts"),
                json!([{"name": TOKEN_VOLUME, "mountPath": "/t"}]),
                Difference::TokenShared,
            ),
            (format!("{app_container}/securityContext"), json!({"runAsUser": 2102}), Difference::Intruder),
            (
                "/spec/ephemeralContainers".into(),
                json!([{"name": "debug", "image": "x"}]),
                Difference::Intruder,
            ),
            ("/spec/shareProcessNamespace".into(), json!(true), Difference::Namespaces),
            ("/spec/hostPID".into(), json!(true), Difference::Namespaces),
            ("/metadata/labels".into(), json!({}), Difference::Label),
        ];
        for (pointer, value, difference) in table {
            let mut pod = inject(&app(), &settings()).unwrap();
            set(&mut pod, &pointer, value);
            assert_eq!(verified(&pod), Err(difference), "{pointer}");
        }
    }

    #[test]
    fn resources_may_differ() {
        let mut pod = inject(&app(), &settings()).unwrap();
        set(&mut pod, "/spec/initContainers/0/resources", json!({"limits": {"cpu": "1"}}));
        assert_eq!(verified(&pod), Ok(()));
    }

    fn set(pod: &mut Value, pointer: &str, value: Value) {
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
