//! Each way in is refused by the policy meant for it, and the same thing done elsewhere is allowed.

use std::path::PathBuf;

use keylend_e2e::{Kubectl, Stage, pod};
use serde_json::{Value, json};

use crate::{VALUE, forged};

const NAME: &str = "is reserved for the first init container";
const USER: &str = "the user 2102 is reserved";
const TOKEN: &str = "stands only in the volume keylend-token of an injected pod";

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

    /// Refused by the policy of pods' shape because of what stands at `pointer`.
    #[track_caller]
    fn is_refused(&self, pod: &Value, pointer: &str, value: &Value, words: &str) {
        let mut pod = pod.clone();
        forged::set(&mut pod, pointer, value.clone());
        let denied = "'keylend-pod-shape' with binding 'keylend-pod-shape' denied request";
        let tried = self.tries(&pod);
        assert!(!tried.ok, "it was allowed: {pointer}: {value}");
        let refused = tried.stderr.contains(denied) && tried.stderr.contains(words);
        assert!(refused, "{pointer}: {value}: {tried:?}");
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
    let token = json!({"serviceAccountToken": {"audience": "keylend.dev/sidecar", "path": "token"}});
    let projected = json!([{"name": "t", "projected": {"sources": [token]}}]);
    let mut extra = injected["spec"]["volumes"].as_array().unwrap().clone();
    extra.push(projected[0].clone());
    let namespaces = "no namespace of the host";
    let (context, label) = ("/spec/containers/0/securityContext", json!({"app": "forged"}));
    let table = [
        (&injected, "/spec/hostPID", json!(true), namespaces),
        (&injected, "/spec/hostIPC", json!(true), namespaces),
        (&injected, "/spec/hostNetwork", json!(true), namespaces),
        (&injected, "/spec/shareProcessNamespace", json!(true), namespaces),
        (
            &injected,
            "/spec/hostAliases",
            json!([{"ip": "192.0.2.1", "hostnames": ["a.test"]}]),
            "asks the cluster for names",
        ),
        (&injected, "/spec/dnsConfig", json!({"nameservers": ["192.0.2.1"]}), "asks the cluster for names"),
        (&injected, "/spec/securityContext", json!({"runAsUser": 2102}), USER),
        (&injected, "/spec/volumes", json!(extra), TOKEN),
        (&injected, "/metadata/labels", label, "keeps the label keylend.dev/injected"),
        (&plain, "/spec/securityContext", json!({"runAsUser": 2102}), USER),
        (&plain, "/spec/volumes", projected, TOKEN),
        (&plain, "/spec/volumes", json!([{"name": "keylend-token", "emptyDir": {}}]), TOKEN),
    ];
    for (base, pointer, value, words) in &table {
        editor.is_refused(base, pointer, value, words);
    }
    no_other_container_is_fit_to_look(&editor, &injected, &plain);
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

/// What a container may not have: the app's, and an init container that is not the first, alike.
fn no_other_container_is_fit_to_look(editor: &Editor, injected: &Value, plain: &Value) {
    let helped = [injected, plain].map(with_helper);
    for pod in &helped {
        editor.tries(pod).expect_ok();
    }
    for container in ["containers/0", "initContainers/1"] {
        for (field, value, words) in not_beside_the_sidecar() {
            editor.is_refused(&helped[0], &format!("/spec/{container}/{field}"), &value, words);
        }
        for (field, value, words) in not_anywhere() {
            editor.is_refused(&helped[1], &format!("/spec/{container}/{field}"), &value, words);
        }
    }
    for sources in token_sources(injected) {
        editor.is_refused(injected, "/spec/volumes", &sources, TOKEN);
    }
    let mut second = helped[0].clone();
    second["spec"]["initContainers"].as_array_mut().unwrap().reverse();
    editor.is_refused(&second, "/metadata/name", &json!("second"), NAME);
    // Kubernetes itself lets no two containers of a pod have one name.
    let mut twice = helped[0].clone();
    forged::set(&mut twice, "/spec/initContainers/1/name", json!("keylend-sidecar"));
    editor.tries(&twice).expect_refused("spec.initContainers[1].name: Duplicate value: \"keylend-sidecar\"");
}

/// A field of a container, a value for it, and why it is refused.
type Unfit = Vec<(&'static str, Value, &'static str)>;

/// What no other container of an injected pod has.
fn not_beside_the_sidecar() -> Unfit {
    let mount = json!([{"name": "keylend-token", "mountPath": "/t"}]);
    let power = "no container is privileged, adds a capability";
    vec![
        ("securityContext", json!({"privileged": true}), power),
        ("securityContext", json!({"capabilities": {"add": ["SYS_PTRACE"]}}), power),
        ("securityContext", json!({"runAsUser": 2102}), USER),
        ("volumeMounts", mount, "is mounted by the container keylend-sidecar alone"),
    ]
}

/// What no container of any other pod has.
fn not_anywhere() -> Unfit {
    vec![("securityContext", json!({"runAsUser": 2102}), USER), ("name", json!("keylend-sidecar"), NAME)]
}

/// The pod, with one more init container at its end; in a pod that had none it is the second.
fn with_helper(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let helper = |name: &str| pod::container(name, &["true"]);
    let mut init = pod["spec"]["initContainers"].as_array().cloned().unwrap_or_else(|| vec![helper("first")]);
    init.push(helper("helper"));
    pod["spec"]["initContainers"] = json!(init);
    pod
}

/// The volumes of an injected pod, with other sources in `keylend-token`.
fn token_sources(injected: &Value) -> Vec<Value> {
    let volumes = |change: &dyn Fn(&mut Vec<Value>)| {
        let mut volumes = injected["spec"]["volumes"].clone();
        let ours = volumes.as_array_mut().unwrap().iter_mut().find(|one| one["name"] == "keylend-token");
        change(ours.unwrap()["projected"]["sources"].as_array_mut().unwrap());
        volumes
    };
    let roots = json!({"configMap": {"name": "kube-root-ca.crt"}});
    let another = json!({"serviceAccountToken": {"audience": "another", "path": "token"}});
    vec![
        volumes(&|sources| sources.push(roots.clone())),
        volumes(&|sources| sources[0] = roots.clone()),
        volumes(&|sources| sources[0] = another.clone()),
    ]
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
