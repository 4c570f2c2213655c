//! Each way in is refused by the policy meant for it, and the same thing done elsewhere is allowed.

use std::path::PathBuf;

use keylend_e2e::{Kubectl, Stage};
use serde_json::{Value, json};

use crate::{VALUE, forged};

/// Somebody with the rights of an editor in a stage's recipient namespace, and the right to debug, which `edit` lacks.
pub(crate) struct Editor {
    pub(crate) kubectl: Kubectl,
    kubeconfig: PathBuf,
}

impl Editor {
    pub(crate) fn of(stage: &Stage) -> Self {
        let namespace = stage.recipient_namespace();
        let account = format!("--serviceaccount={namespace}:editor");
        let admin = |arguments: &[&str]| stage.recipient.run(arguments).expect_ok();
        admin(&["create", "serviceaccount", "editor"]);
        admin(&["create", "rolebinding", "editor", "--clusterrole=edit", &account]);
        admin(&[
            "create",
            "role",
            "debugger",
            "--verb=get,patch,update",
            "--resource=pods/ephemeralcontainers",
        ]);
        admin(&["create", "rolebinding", "debugger", "--role=debugger", &account]);
        // What Pod Security refuses would not come to our policies.
        let privileged = "pod-security.kubernetes.io/enforce=privileged";
        admin(&["label", "namespace", &namespace, privileged, "--overwrite"]);
        let token = admin(&["create", "token", "editor"]);
        let config = admin(&["config", "view", "--raw", "--minify", "--flatten", "--output=json"]);
        let mut config: Value = serde_json::from_str(&config).unwrap();
        config["users"][0]["user"] = json!({"token": token.trim()});
        let kubeconfig = std::env::temp_dir().join(format!("keylend-e2e-{}-{namespace}", std::process::id()));
        std::fs::write(&kubeconfig, config.to_string()).unwrap();
        let kubectl = stage.recipient.with_kubeconfig(kubeconfig.to_str().unwrap());
        assert!(!kubectl.run(&["get", "nodes"]).ok, "an editor is no administrator");
        Self { kubectl, kubeconfig }
    }

    /// Whether the pod would be let in.
    #[track_caller]
    fn tries(&self, pod: &Value) -> keylend_e2e::Outcome {
        self.kubectl.run_with_input(&["create", "--dry-run=server", "--filename=-"], &pod.to_string())
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}

/// (what is refused, by which policy, the same thing elsewhere), with POD and NAMESPACE to be filled in.
const WAYS_IN: [(&str, &str, &str); 9] = [
    (
        "exec POD --container=keylend-sidecar --namespace NAMESPACE -- /keylend-sidecar version",
        "keylend-no-exec",
        "exec POD --container=app --namespace NAMESPACE -- /keylend-peers true",
    ),
    ("attach POD --container=keylend-sidecar", "keylend-no-exec", "logs POD --container=keylend-sidecar"),
    (
        "debug POD --image=keylend-peers:e2e --profile=restricted --target=keylend-sidecar",
        "keylend-no-debug",
        "debug plain --image=keylend-peers:e2e --profile=restricted",
    ),
    (
        r#"patch pod plain --subresource=ephemeralcontainers --patch {"spec":{"ephemeralContainers":[{"name":"u","image":"i","securityContext":{"runAsUser":2102}}]}}"#,
        "keylend-no-debug",
        r#"patch pod plain --subresource=ephemeralcontainers --patch {"spec":{"ephemeralContainers":[{"name":"u","image":"i","securityContext":{"runAsUser":2103}}]}}"#,
    ),
    (
        r#"patch pod plain --subresource=ephemeralcontainers --patch {"spec":{"ephemeralContainers":[{"name":"keylend-sidecar","image":"i"}]}}"#,
        "keylend-no-debug",
        r#"patch pod plain --subresource=ephemeralcontainers --patch {"spec":{"ephemeralContainers":[{"name":"another","image":"i"}]}}"#,
    ),
    (
        "create token checkout --audience=keylend.dev/sidecar",
        "keylend-token-audience",
        "create token checkout --audience=another",
    ),
    (
        "set image pod/POD keylend-sidecar=keylend-peers:e2e",
        "keylend-container-unchanged",
        "set image pod/POD app=keylend-peers:e2e",
    ),
    ("label pod POD keylend.dev/injected-", "keylend-pod-shape", "label pod POD seen=true"),
    ("annotate pod POD keylend.dev/inject-", "keylend-pod-shape", "annotate pod POD seen=true"),
];

#[test]
fn each_way_in_is_refused_by_the_policy_meant_for_it() {
    let stage = Stage::set("guards", VALUE);
    let editor = Editor::of(&stage);
    let pod = forged::injected_pod(&stage);
    editor.kubectl.apply(&plain().to_string()).expect_ok();
    editor.kubectl.run(&["wait", "pod/plain", "--for=condition=Ready", "--timeout=60s"]).expect_ok();
    let run = |command: &str| {
        let command = command.replace("POD", pod["metadata"]["name"].as_str().unwrap());
        let command = command.replace("NAMESPACE", &stage.recipient_namespace());
        editor.kubectl.run(&command.split_whitespace().collect::<Vec<_>>())
    };
    for (refused, policy, allowed) in WAYS_IN {
        run(refused).expect_refused(&format!("'{policy}' with binding '{policy}' denied request"));
        run(allowed).expect_ok();
    }
}

#[test]
fn a_pod_that_could_look_into_a_sidecar_is_refused() {
    let stage = Stage::set("shape", VALUE);
    let editor = Editor::of(&stage);
    let injected = forged::handwritten(&stage, "forged");
    let plain = plain();
    editor.tries(&injected).expect_ok();
    editor.tries(&plain).expect_ok();
    let context = "/spec/containers/0/securityContext";
    let token = json!({"serviceAccountToken": {"audience": "keylend.dev/sidecar", "path": "token"}});
    let projected = json!([{"name": "t", "projected": {"sources": [token]}}]);
    let mut extra = injected["spec"]["volumes"].as_array().unwrap().clone();
    extra.push(projected[0].clone());
    let mount = json!([{"name": "keylend-token", "mountPath": "/t"}]);
    let table = [
        (&injected, "/spec/hostPID", json!(true)),
        (&injected, "/spec/hostIPC", json!(true)),
        (&injected, "/spec/hostNetwork", json!(true)),
        (&injected, "/spec/shareProcessNamespace", json!(true)),
        (&injected, context, json!({"privileged": true})),
        (&injected, context, json!({"capabilities": {"add": ["SYS_PTRACE"]}})),
        (&injected, context, json!({"runAsUser": 2102})),
        (&injected, "/spec/securityContext", json!({"runAsUser": 2102})),
        (&injected, "/spec/containers/0/volumeMounts", mount),
        (&injected, "/spec/volumes", json!(extra)),
        (&injected, "/metadata/labels", json!({"app": "forged"})),
        (&plain, context, json!({"runAsUser": 2102})),
        (&plain, "/spec/securityContext", json!({"runAsUser": 2102})),
        (&plain, "/spec/volumes", projected),
        (&plain, "/spec/volumes", json!([{"name": "keylend-token", "emptyDir": {}}])),
        (&plain, "/spec/containers/0/name", json!("keylend-sidecar")),
    ];
    for (base, pointer, value) in table {
        let mut pod = base.clone();
        forged::set(&mut pod, pointer, value.clone());
        let words = "'keylend-pod-shape' with binding 'keylend-pod-shape' denied request";
        println!("{pointer}: {value}");
        editor.tries(&pod).expect_refused(words);
    }
    let mut unmasked = injected.clone();
    forged::set(&mut unmasked, "/spec/hostUsers", json!(false));
    forged::set(&mut unmasked, context, json!({"procMount": "Unmasked"}));
    editor.tries(&unmasked).expect_refused("keylend-pod-shape");
    let mut low_port = injected.clone();
    forged::set(&mut low_port, context, json!({"capabilities": {"add": ["NET_BIND_SERVICE"]}}));
    editor.tries(&low_port).expect_ok();
    let mut host = plain.clone();
    forged::set(&mut host, "/spec/hostPID", json!(true));
    editor.tries(&host).expect_ok();
}

fn plain() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "plain"},
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "app", "image": "keylend-peers:e2e", "imagePullPolicy": "Never", "args": ["sleep", "inf"],
            }],
        },
    })
}
