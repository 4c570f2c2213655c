//! What commands make of an API server's answers: what is not there, what may not be read, and what is broken differ.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    path::PathBuf,
};

use serde_json::{Value, json};

use crate::run::{Run, command, run};

const ROUTE: &str = "/apis/keylend.dev/v1alpha1/namespaces/partner/keylendroutes/stripe";
const LINK: &str = "/apis/keylend.dev/v1alpha1/namespaces/partner/keylendsecrets/a";
const SHARE: &str = "/apis/keylend.dev/v1alpha1/namespaces/payments/secretshares/partner";
const KEYS: &str = "/api/v1/namespaces/keylend-system/configmaps/keylend-sealing-keys";
const OPERATOR: &str = "/apis/apps/v1/namespaces/keylend-system/statefulsets/keylend-operator";
const NAMESPACE: &str = "/api/v1/namespaces/partner";

/// An API server, and a kubeconfig for it that is gone afterwards.
struct Server {
    address: String,
    kubeconfig: PathBuf,
}

impl Server {
    /// Gives each path its answer, and 404 to all others.
    fn new(answers: Vec<(&'static str, u16, Value)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map(Result::unwrap) {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    head.push(byte[0]);
                }
                let head = String::from_utf8(head).unwrap();
                let path = head.split([' ', '?']).nth(1).unwrap();
                let found = answers.iter().find(|(known, ..)| *known == path);
                let (code, body) =
                    found.map_or_else(|| (404, failure(404)), |(_, code, body)| (*code, body.clone()));
                let body = body.to_string();
                let head = "Content-Type: application/json\r\nConnection: close\r\nContent-Length";
                write!(stream, "HTTP/1.1 {code} Said\r\n{head}: {}\r\n\r\n{body}", body.len()).unwrap();
            }
        });
        Self::at(&address.to_string())
    }

    /// An address where nobody listens.
    fn gone() -> Self {
        Self::at(&TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string())
    }

    fn at(address: &str) -> Self {
        let name = format!("keylend-answers-{}-{}", std::process::id(), address.replace(':', "-"));
        let (kubeconfig, address) = (std::env::temp_dir().join(name), format!("http://{address}"));
        let written = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "a",
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a", "namespace": "partner"}}],
            "clusters": [{"name": "a", "cluster": {"server": address}}],
            "users": [{"name": "a", "user": {}}],
        });
        std::fs::write(&kubeconfig, written.to_string()).unwrap();
        Self { address, kubeconfig }
    }

    fn keylend(&self, arguments: &[&str]) -> Run {
        run(command(arguments).env("KUBECONFIG", &self.kubeconfig), "kl-test-4c1d7a90b2e8f365")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}

fn failure(code: u16) -> Value {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        _ => "InternalError",
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "code": code, "reason": reason, "message": format!("the server says {code}"),
    })
}

fn object(kind: &str, name: &str, specification: &Value) -> Value {
    let ready = json!({
        "type": "Ready", "status": "True", "reason": "Live", "message": "", "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    json!({
        "apiVersion": "keylend.dev/v1alpha1", "kind": kind, "metadata": {"name": name},
        "spec": specification, "status": {"conditions": [ready]},
    })
}

#[test]
fn what_may_not_be_read_is_hidden_and_what_is_broken_is_told() {
    let headers = json!([{"name": "Authorization", "value": "Bearer {{secret:a}}"}]);
    let route =
        json!({"upstream": "https://api.example.com", "environment": "production", "headers": headers});
    let share =
        json!({"environment": "production", "shareRef": {"namespace": "payments", "name": "partner"}});
    let link = json!({"type": "Linked", "link": {"shares": [share]}});
    // (the share's answer, exit code, printed, complaint)
    let table = [
        (403, 0, "hidden  share payments/partner", ""),
        (404, 1, "there is no such SecretShare", ""),
        (500, 1, "", "error: reading share payments/partner: the server says 500\n"),
    ];
    for (code, exit, printed, complaint) in table {
        let server = Server::new(vec![
            (ROUTE, 200, object("Route", "stripe", &route)),
            (LINK, 200, object("Secret", "a", &link)),
            (SHARE, code, failure(code)),
        ]);
        let run = server.keylend(&["status", "stripe"]);
        assert_eq!((run.code, run.stderr.as_str()), (exit, complaint), "{}", run.stdout);
        assert!(run.stdout.contains(printed), "{}", run.stdout);
    }
}

#[test]
fn sealing_sharing_and_version_tell_the_same_answers_apart() {
    let seal = ["seal", "a", "--environment=production"];
    let share =
        ["share", "create", "p", "--secret=a", "--environment=e", "--to-namespace=partner", "--dry-run"];
    let share = [&share[..], &["--domain=a.example.com"]].concat();
    // (path, arguments, what is said to 403, to 404, to 500)
    let table: [(&str, &[&str], [&str; 3]); 3] = [
        (KEYS, &seal, ["you may not read the sealing keys", "is Keylend installed?", "the server says 500"]),
        (NAMESPACE, &share, ["may not be read by you", "'partner' is not there", "the server says 500"]),
        (OPERATOR, &["version"], ["you may not read keylend-system", "not installed", "the server says 500"]),
    ];
    for (path, arguments, said) in table {
        for (code, said) in [403, 404, 500].into_iter().zip(said) {
            let run = Server::new(vec![(path, code, failure(code))]).keylend(arguments);
            let written = run.stdout + &run.stderr;
            assert!(written.contains(said), "{path} {code}: {written}");
            assert_eq!(written.contains("is Keylend installed?"), (path, code) == (KEYS, 404), "{written}");
        }
    }
}

#[test]
fn a_server_that_does_not_answer_is_named_once_with_what_to_do() {
    let server = Server::gone();
    let run = server.keylend(&["status", "stripe"]);
    let begin = format!(
        "error: reading Route 'stripe' of namespace 'partner': no answer from the API server {}: ",
        server.address
    );
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    assert!(run.stderr.starts_with(&begin), "{}", run.stderr);
    assert!(run.stderr.contains("--kubeconfig, KUBECONFIG and --context"), "{}", run.stderr);
    for cause in ["Connection refused", "tcp connect error"] {
        assert_eq!(run.stderr.matches(cause).count(), 1, "{}", run.stderr);
    }
    let version: Value = serde_json::from_str(&server.keylend(&["version", "-o", "json"]).stdout).unwrap();
    assert!(version["operator"].is_null(), "{version}");
    assert!(version["reason"].as_str().unwrap().contains(&server.address), "{version}");
}
