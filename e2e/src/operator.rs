//! The operator's replicas: their processes, their volumes, and what stands in their audit logs.

use std::{collections::HashSet, fs, path::PathBuf};

use serde_json::Value;

use crate::{Call, Container, Cut, Kubectl, Pod, Undo, app, container::signal, eventually, node};

/// The pods of the two replicas.
pub const REPLICAS: [&str; 2] = ["keylend-operator-0", "keylend-operator-1"];

const NAMESPACE: &str = "keylend-system";

/// `kubectl` in the operator's namespace.
#[must_use]
pub fn kubectl() -> Kubectl {
    Kubectl::admin(NAMESPACE)
}

/// The replicas as they run.
///
/// # Panics
/// When there are not two.
#[track_caller]
#[must_use]
pub fn pods() -> Vec<Pod> {
    let replicas = kubectl().pods("app.kubernetes.io/name=keylend");
    assert_eq!(replicas.len(), REPLICAS.len(), "{replicas:?}");
    replicas
}

/// The replica that the sidecar of `pod` was connected to last.
///
/// # Panics
/// When it was connected to none that runs.
#[track_caller]
#[must_use]
#[expect(clippy::panic, reason = "a test of a replica cannot go on without it")]
pub fn replica_of(pod: &Pod) -> Pod {
    let log = ["logs", &pod.name, "--container", "keylend-sidecar"];
    let log = Kubectl::admin(&pod.namespace).run(&log).expect_ok();
    let connected = log.lines().rfind(|line| line.contains("connected to the operator")).unwrap_or_default();
    let found = pods().into_iter().find(|replica| connected.contains(&format!("\"{}:", replica.address)));
    found.unwrap_or_else(|| panic!("{} is connected to no replica: {log}", pod.name))
}

/// Has the sidecar of `pod` ask the other replica from now on: it cannot reach its own for a moment.
///
/// # Panics
/// When it does not within a minute.
#[track_caller]
pub fn ask_the_other(pod: &Pod) {
    let left = replica_of(pod);
    let _cut = Cut::between(&pod.container("app"), &[left.address]);
    eventually(|| {
        // A sidecar doubts a silent replica once it has asked it something.
        let call = pod.app().call("/stripe/ok");
        if replica_of(pod).name == left.name { Err(format!("{call:?}")) } else { Ok(()) }
    });
}

/// What Prometheus reads of a replica.
///
/// # Panics
/// When it does not answer.
#[track_caller]
#[must_use]
#[expect(clippy::expect_used, reason = "a test of the metrics cannot go on without them")]
pub fn metrics(replica: &Pod) -> String {
    app::text(&format!("http://{}:9090/metrics", replica.address)).expect("a replica has metrics")
}

/// The container of `replica`.
///
/// # Panics
/// When it does not run.
#[track_caller]
#[must_use]
pub fn container(replica: &str) -> Container {
    Container::find(NAMESPACE, replica, "operator")
}

/// Where the volume of `replica` is on this machine.
///
/// # Panics
/// When it has none.
#[track_caller]
#[must_use]
pub fn volume(replica: &str) -> PathBuf {
    let claim = kubectl().json("persistentvolumeclaim", &format!("audit-{replica}"));
    let name = claim["spec"]["volumeName"].as_str().unwrap_or_default();
    assert!(!name.is_empty(), "{replica} has a volume: {claim}");
    node::paths().volumes.join(name)
}

/// Kills every replica at once (`SIGKILL`), and waits until all are ready again.
///
/// # Panics
/// When they do not come back.
#[track_caller]
pub fn kill_all() {
    let before = REPLICAS.map(|replica| (replica, incarnation(replica)));
    for pid in REPLICAS.map(|replica| container(replica).pid) {
        assert!(signal("KILL", pid), "process {pid} can be killed");
    }
    for (replica, old) in before {
        eventually(|| {
            let new = incarnation(replica);
            if new == old { Err(format!("{replica} is not back")) } else { Ok(()) }
        });
    }
    wait_until_ready();
}

/// Runs the first `count` replicas alone, until the answer is dropped; then both again, ready.
///
/// # Panics
/// When the others do not go.
#[track_caller]
pub fn reduced_to(count: usize) -> Undo<impl FnMut()> {
    let scale = |count: usize| {
        kubectl().run(&["scale", "statefulset", "keylend-operator", &format!("--replicas={count}")])
    };
    let put_back = Undo::by(move || {
        let _ = scale(REPLICAS.len());
        let _ = kubectl().run(&["rollout", "status", "statefulset/keylend-operator", "--timeout=60s"]);
    });
    scale(count).expect_ok();
    for gone in &REPLICAS[count..] {
        kubectl().run(&["wait", "pod", gone, "--for=delete", "--timeout=60s"]).expect_ok();
    }
    put_back
}

/// Waits until every replica is ready.
///
/// # Panics
/// When one is not within three minutes.
#[track_caller]
pub fn wait_until_ready() {
    kubectl().run(&["rollout", "status", "statefulset/keylend-operator", "--timeout=180s"]).expect_ok();
}

/// Every row of every replica's audit log, as it is on the volumes; the last line counts once it is whole.
///
/// # Panics
/// When a log cannot be read, or a line of it is no row.
#[track_caller]
#[must_use]
pub fn audit_rows() -> Vec<Value> {
    REPLICAS.into_iter().flat_map(rows_of).collect()
}

/// Shows, by their logs, that each replica granted some of `calls`.
///
/// # Panics
/// When one did not.
#[track_caller]
pub fn both_granted<'a>(calls: impl IntoIterator<Item = &'a Call>) {
    let traces: HashSet<&str> = calls.into_iter().map(|call| call.trace_id.as_str()).collect();
    let granted = |row: &Value| {
        row["kind"] == "intent" && row["trace_id"].as_str().is_some_and(|trace| traces.contains(trace))
    };
    for replica in REPLICAS {
        assert!(rows_of(replica).iter().any(granted), "{replica} granted none of the calls");
    }
}

#[track_caller]
#[expect(clippy::expect_used, reason = "a test of the log cannot go on without it")]
fn rows_of(replica: &str) -> Vec<Value> {
    let mut rows = Vec::new();
    let segments = fs::read_dir(volume(replica).join("audit")).expect("a replica has an audit log");
    for segment in segments {
        let text = fs::read_to_string(segment.expect("a segment").path()).expect("a segment is text");
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        rows.extend(whole.map(|line| serde_json::from_str::<Value>(line).expect("a row is JSON")));
    }
    rows
}

/// What names the container that `replica` ran last.
#[track_caller]
fn incarnation(replica: &str) -> String {
    kubectl().json("pod", replica)["status"]["containerStatuses"][0]["containerID"].to_string()
}
