//! Promise 1 for tier A2: with a namespace's edit rights nobody gets into the sidecar, or a token like its own.

use keylend_e2e::{Kubectl, Stage, within};
use serde_json::json;
use std::time::Duration;

const VALUE: &str = "kl-test-e8421bd6f7035a9c";

#[test]
fn each_way_in_is_refused_by_the_policy_meant_for_it() {
    let stage = Stage::set("guards", VALUE);
    let app = stage.app();
    stage.wait_until_injected(&app);
    let pods = stage.recipient.run(&["get", "pods", "--selector=app=checkout", "--output=name"]).expect_ok();
    let pod = pods.lines().next().unwrap();
    let namespace = stage.recipient_namespace();
    let run = |arguments: &[&str]| stage.recipient.run(arguments);
    for (arguments, policy) in [
        (
            vec![
                "exec",
                pod,
                "--container=keylend-sidecar",
                "--namespace",
                &namespace,
                "--",
                "/keylend-sidecar",
                "version",
            ],
            "keylend-no-exec",
        ),
        (vec!["attach", pod, "--container=keylend-sidecar"], "keylend-no-exec"),
        (vec!["create", "token", "checkout", "--audience=keylend.dev/sidecar"], "keylend-token-audience"),
        (vec!["set", "image", pod, "keylend-sidecar=keylend-peers:e2e"], "keylend-container-unchanged"),
        (vec!["debug", pod, "--image=keylend-peers:e2e", "--profile=restricted"], "keylend-no-debug"),
    ] {
        run(&arguments).expect_refused(policy);
    }
    let thief = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "thief"},
        "spec": {
            "serviceAccountName": "checkout",
            "containers": [{
                "name": "thief", "image": "keylend-peers:e2e", "volumeMounts": [{"name": "t", "mountPath": "/t"}],
                "securityContext": {
                    "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
                    "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"},
                },
            }],
            "volumes": [{"name": "t", "projected": {"sources": [
                {"serviceAccountToken": {"audience": "keylend.dev/sidecar", "path": "token"}},
            ]}}],
        },
    });
    stage.recipient.apply(&thief.to_string()).expect_refused("keylend-pod-shape");
}

#[test]
fn without_one_policy_nothing_is_enrolled() {
    let stage = Stage::set("policy", VALUE);
    let app = stage.app();
    stage.wait_until_injected(&app);
    let cluster = Kubectl::admin("default");
    let policy = ["validatingadmissionpolicybinding", "keylend-no-exec"];
    let saved = cluster.run(&["get", policy[0], policy[1], "--output=yaml"]).expect_ok();
    cluster.run(&["delete", policy[0], policy[1]]).expect_ok();
    stage.recipient.run(&["rollout", "restart", "deployment/checkout"]).expect_ok();
    within(Duration::from_secs(15), || {
        let route = stage.recipient.json("keylendroute", "stripe");
        let text = route["status"]["conditions"].to_string();
        if text.contains("PoliciesMissing") { Ok(()) } else { Err(text) }
    });
    let rolled = stage.recipient.run(&["rollout", "status", "deployment/checkout", "--timeout=5s"]);
    assert!(!rolled.ok, "a pod was enrolled without its guards");
    let kept = |line: &&str| !line.contains("resourceVersion") && !line.contains("uid:");
    let bare = saved.lines().filter(kept).collect::<Vec<_>>().join("\n");
    cluster.apply(&bare).expect_ok();
    stage.recipient.run(&["rollout", "status", "deployment/checkout", "--timeout=60s"]).expect_ok();
}
