//! What commands make of an API server's answers: what is not there, what may not be read, and what is broken differ.

use std::{net::TcpListener, path::PathBuf, thread::sleep, time::Duration};

use keylend_api_server::ApiServer;
use serde_json::{Value, json};

use crate::run::{Run, command, run};

const ROUTE: &str = "/apis/keylend.dev/v1alpha1/namespaces/partner/keylendroutes/stripe";
const LINK: &str = "/apis/keylend.dev/v1alpha1/namespaces/partner/keylendsecrets/a";
const SHARE: &str = "/apis/keylend.dev/v1alpha1/namespaces/payments/secretshares/partner";
const KEYS: &str = "/api/v1/namespaces/keylend-system/configmaps/keylend-sealing-keys";
const OPERATOR: &str = "/apis/apps/v1/namespaces/keylend-system/statefulsets/keylend-operator";
const NAMESPACE: &str = "/api/v1/namespaces/partner";

const ADMINISTRATOR: &str = "administrator";
const RECIPIENT: &str = "recipient";

/// Somebody's kubeconfig, which is gone afterwards.
struct User(PathBuf);

impl User {
    fn new(config: &Value) -> Self {
        let (thread, process) = (std::thread::current().id(), std::process::id());
        let path = std::env::temp_dir().join(format!("keylend-answers-{process}-{thread:?}"));
        std::fs::write(&path, config.to_string()).unwrap();
        Self(path)
    }

    fn keylend(&self, arguments: &[&str]) -> Run {
        run(command(arguments).env("KUBECONFIG", &self.0), "kl-test-4c1d7a90b2e8f365")
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Lets `user` do anything everywhere, or read routes and links in `partner`, and waits until it counts.
fn permit(api: &ApiServer, user: &str) {
    const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
    let subject = json!([{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}]);
    let to =
        |kind: &str, name: &str| json!({"kind": kind, "apiGroup": "rbac.authorization.k8s.io", "name": name});
    let anything = user == ADMINISTRATOR;
    let metadata = json!({"generateName": "kl-test-"});
    if anything {
        let bound =
            json!({"metadata": metadata, "subjects": subject, "roleRef": to("ClusterRole", "cluster-admin")});
        api.post(&format!("{RBAC}/clusterrolebindings"), &bound);
    } else {
        let readable = json!({"apiGroups": ["keylend.dev"], "resources": ["keylendroutes", "keylendsecrets"], "verbs": ["get", "list"]});
        let roles = format!("{RBAC}/namespaces/partner/roles");
        let role = api.post(&roles, &json!({"metadata": metadata, "rules": [readable]}));
        let name = role["metadata"]["name"].as_str().unwrap();
        let bound = json!({"metadata": metadata, "subjects": subject, "roleRef": to("Role", name)});
        api.post(&format!("{RBAC}/namespaces/partner/rolebindings"), &bound);
    }
    let asked =
        json!({"namespace": "partner", "group": "keylend.dev", "resource": "keylendroutes", "verb": "get"});
    let review = json!({"spec": {"user": user, "resourceAttributes": asked}});
    while api.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review)["status"]["allowed"] != true
    {
        sleep(Duration::from_millis(20));
    }
}

fn object(specification: &Value) -> Value {
    let ready = json!({
        "type": "Ready", "status": "True", "reason": "Live", "message": "", "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    json!({"metadata": {}, "spec": specification, "status": {"conditions": [ready]}})
}

#[test]
fn what_may_not_be_read_is_hidden_and_what_is_broken_is_told() {
    let api = ApiServer::default();
    let headers = json!([{"name": "Authorization", "value": "Bearer {{secret:a}}"}]);
    let route =
        json!({"upstream": "https://api.example.com", "environment": "production", "headers": headers});
    let share =
        json!({"environment": "production", "shareRef": {"namespace": "payments", "name": "partner"}});
    api.set(ROUTE, object(&route));
    api.set(LINK, object(&json!({"type": "Linked", "link": {"shares": [share]}})));
    for user in [ADMINISTRATOR, RECIPIENT] {
        permit(&api, user);
    }
    let status = |user: &str| {
        let run = User::new(&api.kubeconfig(user)).keylend(&["status", "stripe"]);
        (run.code, run.stdout, run.stderr)
    };
    let (code, printed, complaint) = status(RECIPIENT);
    assert!(code == 0 && printed.contains("hidden  share payments/partner"), "{printed}{complaint}");
    let (code, printed, complaint) = status(ADMINISTRATOR);
    assert!(code == 1 && printed.contains("there is no such SecretShare"), "{printed}{complaint}");
    api.spoil(SHARE);
    let (code, printed, complaint) = status(ADMINISTRATOR);
    let told = complaint.starts_with("error: reading share payments/partner: ");
    assert!(code == 1 && printed.is_empty() && told, "{printed}{complaint}");
}

#[test]
fn sealing_sharing_and_version_tell_the_same_answers_apart() {
    let api = ApiServer::default();
    permit(&api, ADMINISTRATOR);
    let seal = ["seal", "a", "--environment=production"];
    let share =
        ["share", "create", "p", "--secret=a", "--environment=e", "--to-namespace=partner", "--dry-run"];
    let share = [&share[..], &["--domain=a.example.com"]].concat();
    // (path, arguments, what is said of one that may not be read, that is not there, that cannot be read)
    let table: [(&str, &[&str], [&str; 3]); 3] = [
        (
            KEYS,
            &seal,
            [
                "you may not read the sealing keys",
                "is Keylend installed?",
                "reading the sealing keys keylend-system/keylend-sealing-keys: ",
            ],
        ),
        (
            NAMESPACE,
            &share,
            ["may not be read by you", "'partner' is not there", "reading the namespace 'partner': "],
        ),
        (
            OPERATOR,
            &["version"],
            ["you may not read keylend-system", "not installed", "looking for the operator: "],
        ),
    ];
    for (path, arguments, said) in table {
        api.unset(path);
        let forbidden = User::new(&api.kubeconfig("nobody")).keylend(arguments);
        let missing = User::new(&api.kubeconfig(ADMINISTRATOR)).keylend(arguments);
        api.spoil(path);
        let broken = User::new(&api.kubeconfig(ADMINISTRATOR)).keylend(arguments);
        for (run, said) in [forbidden, missing, broken].into_iter().zip(said) {
            let written = run.stdout + &run.stderr;
            assert!(written.contains(said), "{path}: {written}");
            let installed = (path, said) == (KEYS, "is Keylend installed?");
            assert_eq!(written.contains("is Keylend installed?"), installed, "{written}");
        }
    }
}

#[test]
fn a_server_that_does_not_answer_is_named_once_with_what_to_do() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = User::new(&json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "a",
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a", "namespace": "partner"}}],
        "clusters": [{"name": "a", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "a", "user": {}}],
    }));
    let run = gone.keylend(&["status", "stripe"]);
    let begin = format!(
        "error: reading Route 'stripe' of namespace 'partner': no answer from the API server http://{address}: "
    );
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    assert!(run.stderr.starts_with(&begin), "{}", run.stderr);
    assert!(run.stderr.contains("--kubeconfig, KUBECONFIG and --context"), "{}", run.stderr);
    for cause in ["Connection refused", "tcp connect error"] {
        assert_eq!(run.stderr.matches(cause).count(), 1, "{}", run.stderr);
    }
    let version: Value = serde_json::from_str(&gone.keylend(&["version", "-o", "json"]).stdout).unwrap();
    assert!(version["operator"].is_null(), "{version}");
    assert!(version["reason"].as_str().unwrap().contains(&address.to_string()), "{version}");
}
