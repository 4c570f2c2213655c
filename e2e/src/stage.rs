//! A stage: `deploy/examples` under names of a test's own, from nothing to the first injected call.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{App, Kubectl, Pod, Upstream, eventually, operator, wait};

/// The owner's, recipient's and upstream's namespaces of one test.
pub struct Stage {
    /// In the owner's namespace.
    pub owner: Kubectl,
    /// In the recipient's namespace.
    pub recipient: Kubectl,
    /// In the upstream's namespace.
    pub upstream_namespace: Kubectl,
    /// The upstream's host, as the route names it.
    pub host: String,
    /// The authority that vouches for the upstream, as PEM.
    pub ca_bundle: String,
    name: String,
    folder: PathBuf,
}

impl Stage {
    /// Makes the three namespaces anew, applies the examples, and puts `value`. The app is ready and allowed when this
    /// returns.
    ///
    /// # Panics
    /// When anything does not come about.
    #[track_caller]
    #[must_use]
    pub fn set(name: &str, value: &str) -> Self {
        Self::set_before("upstream", name, value)
    }

    /// Like [`Self::set`], but before another applet of the peers than `upstream`.
    ///
    /// # Panics
    /// When anything does not come about.
    #[track_caller]
    #[must_use]
    pub fn set_before(applet: &str, name: &str, value: &str) -> Self {
        let stage = Self::owners(applet, name, value);
        stage.recipient_manifest();
        stage.recipient.run(&["rollout", "status", "deployment/checkout", "--timeout=90s"]).expect_ok();
        stage.recipient.wait_for("keylendroute/stripe", "Ready");
        stage
    }

    /// Like [`Self::set`], but with the owner's and upstream's side only.
    ///
    /// # Panics
    /// When anything does not come about.
    #[track_caller]
    #[must_use]
    pub fn without_app(name: &str, value: &str) -> Self {
        Self::owners("upstream", name, value)
    }

    #[track_caller]
    #[expect(clippy::expect_used, reason = "a test's own folder can be made")]
    fn owners(applet: &str, name: &str, value: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("keylend-e2e-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder of the test's own");
        let host = format!("upstream.stripe-{name}.e2e.test");
        let ca_bundle = certificates(&folder, &host);
        let stage = Self {
            owner: Kubectl::admin(&format!("payments-{name}")),
            recipient: Kubectl::admin(&format!("partner-{name}")),
            upstream_namespace: Kubectl::admin(&format!("stripe-{name}")),
            host,
            ca_bundle,
            name: name.to_owned(),
            folder,
        };
        stage.clear(&["--wait", "--timeout=90s"]);
        stage.start(applet);
        stage.owner.apply(&stage.manifest("owner.yaml")).expect_ok();
        stage.put(value);
        stage
    }

    /// An example's text under this stage's names; the upstream's authority stands in the share.
    ///
    /// # Panics
    /// When there is no such example, or it lacks what is to be renamed.
    #[track_caller]
    #[must_use]
    #[expect(clippy::expect_used, reason = "the examples are part of the repository")]
    pub fn manifest(&self, example: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples").join(example);
        let text = std::fs::read_to_string(path).expect("an example");
        let name = &self.name;
        let host = ("api.stripe.test", self.host.clone());
        let payments = ("namespace: payments\n", format!("namespace: payments-{name}\n"));
        let changes = match example {
            "owner.yaml" => {
                let anchors = self.ca_bundle.trim_end().replace('\n', "\n      ");
                vec![
                    host,
                    payments,
                    ("name: payments\n", format!("name: payments-{name}\n")),
                    ("    networks:", format!("    caBundle: |\n      {anchors}\n    networks:")),
                    (
                        "      name: partner\n      serviceAccounts",
                        format!("      name: partner-{name}\n      serviceAccounts"),
                    ),
                ]
            }
            "recipient.yaml" => vec![
                host,
                payments,
                ("name: partner\n  labels", format!("name: partner-{name}\n  labels")),
                ("namespace: partner\n", format!("namespace: partner-{name}\n")),
            ],
            _ => vec![
                ("name: stripe\n---", format!("name: stripe-{name}\n---")),
                ("namespace: stripe\n", format!("namespace: stripe-{name}\n")),
            ],
        };
        changes.iter().fold(text, |text, (is, becomes)| replaced(&text, is, becomes))
    }

    /// The name of the recipient's namespace.
    #[must_use]
    pub fn recipient_namespace(&self) -> String {
        format!("partner-{}", self.name)
    }

    fn recipient_manifest(&self) {
        self.recipient.apply(&self.manifest("recipient.yaml")).expect_ok();
    }

    /// Puts a value for the production environment and waits until it is live.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn put(&self, value: &str) {
        self.owner
            .run_with_input(&["keylend", "put", "stripe-api-key", "--environment", "production"], value)
            .expect_ok();
    }

    /// The app of the deployment's newest pod.
    ///
    /// # Panics
    /// When there is none within a minute.
    #[track_caller]
    #[must_use]
    pub fn app(&self) -> App {
        App::at(&self.pod_address("app=checkout"))
    }

    /// The address of the ready pod that `selector` finds.
    ///
    /// # Panics
    /// When there is none within a minute.
    #[track_caller]
    #[must_use]
    pub fn pod_address(&self, selector: &str) -> String {
        eventually(|| {
            let pod =
                self.recipient.pods(selector).pop().ok_or_else(|| format!("no pod of {selector} runs"))?;
            Ok(pod.address)
        })
    }

    /// Runs `count` pods of the app, and waits until a call of each is injected.
    ///
    /// # Panics
    /// When that does not come about.
    #[track_caller]
    #[must_use]
    pub fn scale(&self, count: usize) -> Vec<Pod> {
        let replicas = format!("--replicas={count}");
        self.recipient.run(&["scale", "deployment", "checkout", &replicas]).expect_ok();
        self.recipient.run(&["rollout", "status", "deployment/checkout", "--timeout=90s"]).expect_ok();
        let pods = self.recipient.pods("app=checkout");
        assert_eq!(pods.len(), count, "{pods:?}");
        for pod in &pods {
            self.wait_until_injected(&pod.app());
        }
        pods
    }

    /// Like [`Self::scale`]; the first two pods ask different replicas of the operator.
    ///
    /// # Panics
    /// When that does not come about.
    #[track_caller]
    #[must_use]
    pub fn scale_over_both(&self, count: usize) -> Vec<Pod> {
        let mut pods = self.scale(count);
        let first = operator::replica_of(&pods[0]).name;
        match pods.iter().position(|pod| operator::replica_of(pod).name != first) {
            Some(other) => pods.swap(1, other),
            None => operator::ask_the_other(&pods[1]),
        }
        pods
    }

    /// The upstream.
    ///
    /// # Panics
    /// When its Service has no address.
    #[track_caller]
    #[must_use]
    pub fn upstream(&self) -> Upstream {
        let service = self.upstream_namespace.json("service", "upstream");
        Upstream::at(service["spec"]["clusterIP"].as_str().unwrap_or_default())
    }

    /// Waits until a call is injected: a share, a link and a route take a moment to meet.
    ///
    /// # Panics
    /// When that does not happen within a minute.
    #[track_caller]
    pub fn wait_until_injected(&self, app: &App) {
        wait::within(Duration::from_mins(1), || {
            let call = app.call("/stripe/ok");
            if call.status == 200 { Ok(()) } else { Err(format!("{call:?}")) }
        });
    }

    /// Patches the share's specification.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn patch_share(&self, specification: &Value) {
        let patch = json!({"spec": specification}).to_string();
        self.owner.run(&["patch", "secretshare", "partner", "--type=merge", "--patch", &patch]).expect_ok();
    }

    /// Applies a further route, `spec.upstream` and `spec.environment` as given, for the same secret and header.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn add_route(&self, name: &str, upstream: &str, environment: &str) {
        self.recipient.apply(&self.route(name, upstream, environment).to_string()).expect_ok();
    }

    /// What [`Self::add_route`] applies.
    #[must_use]
    pub fn route(&self, name: &str, upstream: &str, environment: &str) -> Value {
        json!({
            "apiVersion": "keylend.dev/v1alpha1",
            "kind": "Route",
            "metadata": {"name": name, "namespace": self.recipient_namespace()},
            "spec": {
                "upstream": upstream,
                "environment": environment,
                "headers": [{"name": "Authorization", "value": "Bearer {{secret:stripe_api_key}}"}],
            },
        })
    }

    fn start(&self, applet: &str) {
        let namespace = format!("stripe-{}", self.name);
        Kubectl::admin("default").run(&["create", "namespace", &namespace]).expect_ok();
        let file = |name: &str| format!("--from-file={}", self.folder.join(name).display());
        self.upstream_namespace
            .run(&["create", "secret", "generic", "upstream-tls", &file("cert.pem"), &file("key.pem")])
            .expect_ok();
        let example =
            replaced(&self.manifest("upstream.yaml"), "args: [upstream,", &format!("args: [{applet},"));
        self.upstream_namespace.apply(&example).expect_ok();
        self.upstream_namespace
            .run(&["rollout", "status", "deployment/upstream", "--timeout=90s"])
            .expect_ok();
    }

    fn clear(&self, how: &[&str]) {
        let names = ["payments", "partner", "stripe"].map(|kind| format!("{kind}-{}", self.name));
        let mut arguments = vec!["delete", "namespace", "--ignore-not-found"];
        arguments.extend(how);
        arguments.extend(names.iter().map(String::as_str));
        Kubectl::admin("default").run(&arguments).expect_ok();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What a failed test leaves is looked at by people; the next run clears it.
        let _ = std::fs::remove_dir_all(&self.folder);
        if !std::thread::panicking() {
            self.clear(&["--wait=false"]);
        }
    }
}

/// `text` with `becomes` wherever it says `is`.
///
/// # Panics
/// When it says so nowhere: a test of a text that was not changed would prove nothing.
#[track_caller]
#[must_use]
pub fn replaced(text: &str, is: &str, becomes: &str) -> String {
    assert!(text.contains(is), "{is:?} is to be replaced in {text}");
    text.replace(is, becomes)
}

/// Makes an authority and a certificate for `host` in `folder`; gives back the authority.
#[expect(clippy::expect_used, reason = "a test without certificates cannot go on")]
fn certificates(folder: &Path, host: &str) -> String {
    let made = std::process::Command::new("keylend-peers")
        .args(["certificates", "--name", host, "--dir"])
        .arg(folder)
        .output()
        .expect("keylend-peers is on the path");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::read_to_string(folder.join("ca.pem")).expect("the authority's certificate")
}
