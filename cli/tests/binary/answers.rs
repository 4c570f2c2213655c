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

const RBAC: &str = "rbac.authorization.k8s.io";

/// Lets the administrator do everything.
fn permit_everything(api: &ApiServer) {
    let role = json!({"kind": "ClusterRole", "apiGroup": RBAC, "name": "cluster-admin"});
    bind(api, ADMINISTRATOR, &role, "clusterrolebindings");
}

/// Lets the recipient read routes and links in `partner`, and nothing else.
fn permit_reading_links(api: &ApiServer) {
    let readable = json!({"apiGroups": ["keylend.dev"], "resources": ["keylendroutes", "keylendsecrets"], "verbs": ["get"]});
    let role = json!({"metadata": {"name": "links"}, "rules": [readable]});
    api.post(&format!("/apis/{RBAC}/v1/namespaces/partner/roles"), &role);
    let role = json!({"kind": "Role", "apiGroup": RBAC, "name": "links"});
    bind(api, RECIPIENT, &role, "namespaces/partner/rolebindings");
}

/// Gives `user` the role, and waits until that counts.
fn bind(api: &ApiServer, user: &str, role: &Value, bindings: &str) {
    let subject = json!([{"kind": "User", "apiGroup": RBAC, "name": user}]);
    let binding = json!({"metadata": {"generateName": "kl-test-"}, "subjects": subject, "roleRef": role});
    api.post(&format!("/apis/{RBAC}/v1/{bindings}"), &binding);
    let asked =
        json!({"namespace": "partner", "group": "keylend.dev", "resource": "keylendroutes", "verb": "get"});
    let review = json!({"spec": {"user": user, "resourceAttributes": asked}});
    let counts = (0..500).any(|_| {
        sleep(Duration::from_millis(20));
        api.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review)["status"]["allowed"] == true
    });
    assert!(counts, "{user} was not permitted");
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
    let api = ApiServer::begin();
    let headers = json!([{"name": "Authorization", "value": "Bearer {{secret:a}}"}]);
    let route =
        json!({"upstream": "https://api.example.com", "environment": "production", "headers": headers});
    let share =
        json!({"environment": "production", "shareRef": {"namespace": "payments", "name": "partner"}});
    api.set(ROUTE, object(&route));
    let mut link = object(&json!({"type": "Linked", "link": {"shares": [share]}}));
    link["status"]["shares"] = json!([share]);
    link["status"]["shares"][0]["uid"] = json!("one");
    api.set(LINK, link);
    permit_everything(&api);
    permit_reading_links(&api);
    let status = |user: &str, arguments: &[&str]| {
        let run = User::new(&api.kubeconfig(user)).keylend(&[&["status", "stripe"], arguments].concat());
        (run.code, run.stdout, run.stderr)
    };
    let (code, printed, complaint) = status(RECIPIENT, &[]);
    assert_eq!((code, complaint.as_str()), (0, ""), "{printed}");
    assert!(printed.contains("hidden  share payments/partner"), "{printed}");
    let (code, printed, complaint) = status(ADMINISTRATOR, &[]);
    assert_eq!((code, complaint.as_str()), (1, ""), "{printed}");
    assert!(printed.contains("there is no such SecretShare"), "{printed}");
    let mut link = api.object(LINK).unwrap();
    link["status"]["shares"][0]["serviceAccounts"] = json!(["checkout"]);
    api.set(LINK, link);
    let (code, printed, _) = status(RECIPIENT, &[]);
    assert_eq!(code, 0, "{printed}");
    assert!(printed.contains("ask its owner; for the service accounts checkout"), "{printed}");
    assert!(printed.contains("hidden  injected pods"), "{printed}");
    for (account, expected) in [("checkout", 0), ("batch", 1)] {
        let (code, printed, _) = status(RECIPIENT, &["--service-account", account]);
        assert_eq!(code, expected, "{printed}");
        let named = "refuses service account batch   secret_unknown: share payments/partner does not list it";
        assert_eq!(printed.contains(named), expected == 1, "{printed}");
    }
    api.spoil(SHARE);
    let (code, printed, complaint) = status(ADMINISTRATOR, &[]);
    let told = format!("error: reading share payments/partner: {}\n", api.refusal(SHARE));
    assert_eq!((code, printed, complaint), (1, String::new(), told));
}

#[test]
fn sealing_sharing_and_version_tell_the_same_answers_apart() {
    let api = ApiServer::begin();
    permit_everything(&api);
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
        let [hidden, gone, doing] = said;
        let told = format!("{doing}{}", api.refusal(path));
        for (run, said) in [(forbidden, hidden), (missing, gone), (broken, &told)] {
            let written = run.stdout + &run.stderr;
            assert!(written.contains(said), "{path}: {said}: {written}");
            let installed = (path, said) == (KEYS, "is Keylend installed?");
            assert_eq!(written.contains("is Keylend installed?"), installed, "{written}");
        }
    }
}

#[test]
fn a_secret_that_is_not_there_is_made_by_the_command_that_is_told() {
    let api = ApiServer::begin();
    permit_everything(&api);
    let user = User::new(&api.kubeconfig(ADMINISTRATOR));
    // (what was said, what to add)
    let table: [(&[&str], &str); 2] = [
        (&["put", "a"], "add --create --environment ENVIRONMENT"),
        (&["put", "a", "--environment=staging"], "add --create --environment staging"),
    ];
    for (arguments, advice) in table {
        let run = user.keylend(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{arguments:?}");
        assert!(run.stderr.trim_end().ends_with(advice), "{arguments:?}: {}", run.stderr);
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
    let share = "share create p --secret=a --environment=e --to-namespace=b --domain=a.example.com --dry-run";
    let printed = gone.keylend(&share.split(' ').collect::<Vec<_>>());
    let share: Value = serde_json::from_str(&printed.stdout).unwrap();
    assert_eq!((printed.code, &share["metadata"]["namespace"]), (0, &json!("partner")), "{}", printed.stderr);
    assert!(
        printed.stderr.contains(&format!("no answer from the API server http://{address}")),
        "{}",
        printed.stderr
    );
    let version: Value = serde_json::from_str(&gone.keylend(&["version", "-o", "json"]).stdout).unwrap();
    assert!(version["operator"].is_null(), "{version}");
    assert!(version["reason"].as_str().unwrap().contains(&address.to_string()), "{version}");
}
