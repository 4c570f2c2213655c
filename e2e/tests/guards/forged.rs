//! A hand-written pod enrols if it is what the injector makes, byte for byte, and not if one field is another.

use keylend_e2e::{Stage, eventually, operator};
use serde_json::{Value, json};

use crate::VALUE;

/// The pod that the recipient's deployment runs.
pub(crate) fn injected_pod(stage: &Stage) -> Value {
    let pods = stage.recipient.run(&["get", "pods", "--selector=app=checkout", "--output=json"]).expect_ok();
    let pods: Value = serde_json::from_str(&pods).unwrap();
    let mut pods = pods["items"].as_array().unwrap().iter();
    pods.find(|pod| pod["metadata"]["deletionTimestamp"].is_null()).unwrap().clone()
}

/// The same pod, written by hand: the annotation that has it injected is not there.
pub(crate) fn handwritten(stage: &Stage, name: &str) -> Value {
    let mut spec = injected_pod(stage)["spec"].clone();
    spec.as_object_mut().unwrap().remove("nodeName");
    let labels = json!({"app": "forged", "keylend.dev/injected": "true"});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec})
}

/// Sets what stands at a pointer; the last part may be new.
pub(crate) fn set(object: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap();
    match key.parse::<usize>() {
        Ok(index) if parent.is_array() => parent[index] = value,
        _ => parent[key] = value,
    }
}

/// Everything here runs the sidecar's own program so that it works: only that it is not what was injected stands in its
/// way.
#[test]
fn one_field_off_and_a_hand_written_pod_enrols_nothing() {
    let stage = Stage::set("forged", VALUE);
    let original = handwritten(&stage, "original");
    let sidecar = &original["spec"]["initContainers"][0];
    let roots = sidecar["env"][0]["value"].as_str().unwrap();
    let more_roots = format!("{roots}{}", stage.ca_bundle);
    let with_log = json!([sidecar["env"][0], {"name": "RUST_LOG", "value": "trace"}]);
    let mount = sidecar["volumeMounts"][0].clone();
    let again = json!([mount, {"name": "keylend-token", "mountPath": "/again", "readOnly": true}]);
    let mut moved = sidecar.clone();
    moved["command"] = json!(["/keylend-sidecar", "run"]);
    moved["args"] = json!([]);
    let forgeries = [
        ("ca", "/env/0/value", json!(more_roots)),
        ("command", "/command", json!(["/./keylend-sidecar"])),
        ("argument", "", moved),
        ("variable", "/env", with_log),
        ("mount", "/volumeMounts", again),
        ("user", "/securityContext/runAsUser", json!(2103)),
        ("image", "/image", json!(format!("docker.io/library/{}", sidecar["image"].as_str().unwrap()))),
        ("probe", "/readinessProbe/periodSeconds", json!(6)),
    ];
    for (name, field, value) in &forgeries {
        let mut pod = handwritten(&stage, name);
        set(&mut pod, &format!("/spec/initContainers/0{field}"), value.clone());
        stage.recipient.run_with_input(&["create", "--filename=-"], &pod.to_string()).expect_ok();
    }
    stage.recipient.run_with_input(&["create", "--filename=-"], &original.to_string()).expect_ok();
    stage.recipient.run(&["wait", "pod/original", "--for=condition=Ready", "--timeout=120s"]).expect_ok();
    assert!(is_enrolled(&stage, "original"));
    // Each asks again every ten seconds, all at the same time.
    for (name, ..) in &forgeries {
        eventually(|| match refusals(&stage, name) {
            count if count < 2 => Err(format!("{name}: refused {count} times")),
            _ => Ok(()),
        });
    }
    for (name, ..) in &forgeries {
        assert!(!is_enrolled(&stage, name), "{name}");
        assert!(!has_started(&stage, name), "{name}");
    }
    assert!(has_started(&stage, "original"));
}

/// How many times the operators refused to enrol the pod for not being as injected.
fn refusals(stage: &Stage, pod: &str) -> usize {
    let operators = ["logs", "--selector=app.kubernetes.io/name=keylend", "--tail=-1"];
    let log = operator::kubectl().run(&operators).expect_ok();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let namespace = stage.recipient_namespace();
    let about = |line: &Value| {
        let fields = &line["fields"];
        fields["message"] == "a pod was not enrolled"
            && fields["namespace"] == namespace.as_str()
            && fields["pod"] == pod
    };
    lines.filter(about).count()
}

/// Whether the pod's sidecar counts as started, after which its app runs.
pub(crate) fn has_started(stage: &Stage, pod: &str) -> bool {
    let pod = stage.recipient.json("pod", pod);
    let statuses = pod["status"]["initContainerStatuses"].as_array().unwrap();
    let sidecar = statuses.iter().find(|status| status["name"] == "keylend-sidecar").unwrap();
    sidecar["started"] == true || pod["status"]["containerStatuses"][0]["state"]["running"].is_object()
}

/// Whether a key is bound to the pod's container.
pub(crate) fn is_enrolled(stage: &Stage, pod: &str) -> bool {
    let uid = stage.recipient.json("pod", pod)["metadata"]["uid"].as_str().unwrap().to_owned();
    let records =
        operator::kubectl().run(&["get", "configmaps", "--selector=keylend.dev/enrolment", "--output=json"]);
    let records: Value = serde_json::from_str(&records.expect_ok()).unwrap();
    records["items"].as_array().unwrap().iter().any(|record| record["data"]["podUid"] == uid.as_str())
}
