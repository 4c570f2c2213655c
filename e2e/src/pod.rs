//! Pods of a test's own, written so that the Pod Security level `restricted` admits them.

use serde_json::{Value, json};

/// A pod that asks for nothing, whose container `app` runs the peers with `arguments`.
#[must_use]
pub fn plain(name: &str, service_account: &str, arguments: &[&str]) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "serviceAccountName": service_account,
            "automountServiceAccountToken": false,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 5,
            "containers": [container("app", arguments)],
        },
    })
}

/// The same, asking for the sidecar.
#[must_use]
pub fn asking(name: &str, service_account: &str, arguments: &[&str]) -> Value {
    let mut pod = plain(name, service_account, arguments);
    pod["metadata"]["annotations"] = json!({"keylend.dev/inject": "true"});
    pod
}

/// A container that runs the peers with `arguments`.
#[must_use]
pub fn container(name: &str, arguments: &[&str]) -> Value {
    json!({
        "name": name,
        "image": "keylend-peers:e2e",
        "imagePullPolicy": "Never",
        "args": arguments,
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    })
}
