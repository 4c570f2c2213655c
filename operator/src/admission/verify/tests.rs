//! One field off, and the pod is not ours.

use serde_json::json;

use super::*;
use crate::admission::inject::{
    CONTAINER, inject,
    tests::{DIGEST, app, set, settings},
};

fn pod() -> Value {
    inject(&app(), &settings()).unwrap()
}

fn running() -> Running {
    Running { id: "containerd://a".into(), image_id: format!("registry.example/keylend-sidecar@{DIGEST}") }
}

fn verified(pod: &Value, visit: Visit) -> Result<(), Difference> {
    verify(&serde_json::from_value(pod.clone()).unwrap(), &running(), &settings(), visit)
}

#[test]
fn what_the_injector_makes_is_ours() {
    assert_eq!(verified(&pod(), Visit::First), Ok(()));
    assert_eq!(verified(&pod(), Visit::Again), Ok(()));
}

#[test]
fn what_an_upgrade_changes_counts_at_the_first_visit_only() {
    for (field, value) in [
        ("image", json!("registry.example/keylend-sidecar@sha256:older")),
        ("imagePullPolicy", json!("Always")),
        ("env/0/value", json!("the roots before")),
    ] {
        let mut pod = pod();
        set(&mut pod, &format!("/spec/initContainers/0/{field}"), value);
        assert_eq!(verified(&pod, Visit::First), Err(Difference::Container), "{field}");
        assert_eq!(verified(&pod, Visit::Again), Ok(()), "{field}");
    }
}

#[test]
fn one_field_off_and_the_pod_is_not_ours() {
    let ours = "/spec/initContainers/0";
    let app_container = "/spec/containers/0";
    let token = json!({"serviceAccountToken": {"audience": AUDIENCE, "path": "t"}});
    let projected = json!({"name": "x", "projected": {"sources": [token]}});
    let unknown = json!({"name": "x", "futureToken": {"for": [{"audience": AUDIENCE}]}});
    let mount = json!([{"name": TOKEN_VOLUME, "mountPath": "/t"}]);
    let table = [
        (format!("{ours}/command"), json!(["/bin/sh"]), Difference::Container),
        (format!("{ours}/args"), json!(["run", "--more"]), Difference::Container),
        (format!("{ours}/env"), json!([]), Difference::Container),
        (format!("{ours}/env/0/name"), json!("RUST_LOG"), Difference::Container),
        (format!("{ours}/env/0/valueFrom"), json!({"fieldRef": {}}), Difference::Container),
        (format!("{ours}/envFrom"), json!([{"configMapRef": {"name": "x"}}]), Difference::Container),
        (format!("{ours}/securityContext/runAsUser"), json!(0), Difference::Container),
        (format!("{ours}/securityContext/seccompProfile"), json!(null), Difference::Container),
        (
            format!("{ours}/lifecycle"),
            json!({"postStart": {"exec": {"command": ["x"]}}}),
            Difference::Container,
        ),
        (format!("{ours}/stdin"), json!(true), Difference::Container),
        (format!("{ours}/futureField"), json!(true), Difference::Container),
        (format!("{ours}/volumeMounts/0/mountPath"), json!("/elsewhere"), Difference::Container),
        (format!("{ours}/volumeMounts/0/futureField"), json!(true), Difference::Container),
        (format!("{ours}/restartPolicy"), json!(null), Difference::Container),
        (format!("{ours}/resources/claims"), json!([{"name": "gpu"}]), Difference::Container),
        (format!("{ours}/resources/limits"), json!({"example.com/gpu": "1"}), Difference::Container),
        ("/spec/initContainers/1/name".into(), json!(CONTAINER), Difference::Container),
        (
            "/spec/volumes/1/projected/sources/0/serviceAccountToken/audience".into(),
            json!("other"),
            Difference::Volume,
        ),
        ("/spec/volumes/1/projected/defaultMode".into(), json!(511), Difference::Volume),
        ("/spec/volumes/1/projected/futureField".into(), json!(true), Difference::Volume),
        ("/spec/volumes/0".into(), projected, Difference::TokenShared),
        ("/spec/volumes/0".into(), unknown, Difference::TokenShared),
        (format!("{app_container}/volumeMounts"), mount.clone(), Difference::TokenShared),
        (format!("{app_container}/volumeDevices"), mount, Difference::TokenShared),
        (format!("{app_container}/securityContext"), json!({"runAsUser": 2102}), Difference::Intruder),
        ("/spec/securityContext".into(), json!({"runAsUser": 2102}), Difference::Intruder),
        ("/spec/ephemeralContainers".into(), json!([{"name": "debug", "image": "x"}]), Difference::Intruder),
        ("/metadata/labels".into(), json!({}), Difference::Label),
    ];
    for (pointer, value, difference) in table {
        let mut pod = pod();
        set(&mut pod, &pointer, value);
        assert_eq!(verified(&pod, Visit::First), Err(difference.clone()), "{pointer}");
        assert_eq!(verified(&pod, Visit::Again), Err(difference), "{pointer}, again");
    }
}

#[test]
fn a_pod_with_power_over_the_sidecar_is_not_ours() {
    let context = "/spec/containers/0/securityContext";
    for (pointer, value, ours) in [
        ("/spec/shareProcessNamespace", json!(true), false),
        ("/spec/hostPID", json!(true), false),
        ("/spec/hostIPC", json!(true), false),
        ("/spec/hostNetwork", json!(true), false),
        ("/spec/hostAliases", json!([{"ip": "192.0.2.1", "hostnames": ["a.test"]}]), false),
        ("/spec/dnsConfig", json!({"nameservers": ["192.0.2.1"]}), false),
        ("/spec/dnsConfig", json!({"options": [{"name": "ndots", "value": "2"}]}), true),
        (context, json!({"privileged": true}), false),
        (context, json!({"capabilities": {"add": ["SYS_PTRACE"]}}), false),
        (context, json!({"capabilities": {"add": ["NET_BIND_SERVICE", "NET_ADMIN"]}}), false),
        (context, json!({"procMount": "Unmasked"}), false),
        ("/spec/initContainers/1/securityContext", json!({"privileged": true}), false),
        (context, json!({"capabilities": {"add": ["NET_BIND_SERVICE"]}, "procMount": "Default"}), true),
        ("/spec/hostPID", json!(false), true),
    ] {
        let mut pod = pod();
        set(&mut pod, pointer, value.clone());
        assert_eq!(verified(&pod, Visit::First).is_ok(), ours, "{pointer}: {value}");
    }
}

#[test]
fn amounts_may_differ() {
    for resources in
        [json!({"limits": {"cpu": "1"}}), json!({"requests": {"memory": "64Mi"}}), json!({}), json!(null)]
    {
        let mut pod = pod();
        set(&mut pod, "/spec/initContainers/0/resources", resources);
        set(&mut pod, "/spec/initContainers/0/resizePolicy", json!([{"resourceName": "cpu"}]));
        assert_eq!(verified(&pod, Visit::First), Ok(()));
    }
}

#[test]
fn a_configured_digest_is_what_must_run() {
    let tagged = InjectionSettings { image: "registry.example/keylend-sidecar:e2e".into(), ..settings() };
    // (what runs, by digest, by tag)
    let table = [
        (format!("registry.example/keylend-sidecar@{DIGEST}"), true),
        (DIGEST.to_owned(), true),
        ("registry.example/keylend-sidecar@sha256:4567".to_owned(), false),
        (format!("{DIGEST}@sha256:4567"), false),
        (String::new(), false),
    ];
    for (image_id, ours) in table {
        let running = Running { image_id, ..running() };
        assert_eq!(runs_image(&running, &settings()), ours, "{running:?}");
        assert!(runs_image(&running, &tagged));
        let outcome = verify(&serde_json::from_value(pod()).unwrap(), &running, &settings(), Visit::First);
        assert_eq!(outcome, if ours { Ok(()) } else { Err(Difference::Image) });
    }
}

#[test]
fn only_a_running_container_has_an_id_to_bind_to() {
    let base = json!({"name": CONTAINER, "containerID": "containerd://a", "imageID": DIGEST, "state": {"running": {}}});
    let id = |field: &str, value: Value| {
        let mut status = base.clone();
        status[field] = value;
        let pod = json!({"metadata": {}, "status": {"initContainerStatuses": [status]}});
        running_sidecar(&serde_json::from_value(pod).unwrap()).map(|running| running.id)
    };
    assert_eq!(id("ready", json!(false)).as_deref(), Some("containerd://a"));
    assert_eq!(id("containerID", json!(null)), None);
    assert_eq!(id("containerID", json!("")), None);
    assert_eq!(id("state", json!({"terminated": {"exitCode": 1}})), None);
    assert_eq!(id("name", json!("app")), None);
}
