//! `kubectl`, as a user runs it.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::{App, Container};

/// A `kubectl` with a namespace, and perhaps another user's kubeconfig.
#[derive(Clone, Debug)]
pub struct Kubectl {
    namespace: String,
    kubeconfig: Option<String>,
}

/// A pod that runs.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
}

impl Pod {
    /// The app in it.
    #[must_use]
    pub fn app(&self) -> App {
        App::at(&self.address)
    }

    /// Its container `name`.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    #[must_use]
    pub fn container(&self, name: &str) -> Container {
        Container::find(&self.namespace, &self.name, name)
    }

    /// Reads it from JSON, if it runs and is not about to go.
    fn running(pod: &Value) -> Option<Self> {
        let text = |text: &Value| text.as_str().map(str::to_owned);
        let runs = pod["metadata"]["deletionTimestamp"].is_null() && pod["status"]["phase"] == "Running";
        let (metadata, address) = (&pod["metadata"], text(&pod["status"]["podIP"])?);
        runs.then_some(Self {
            namespace: text(&metadata["namespace"])?,
            name: text(&metadata["name"])?,
            address,
        })
    }
}

/// What a command came to.
#[derive(Debug)]
pub struct Outcome {
    /// Whether it exited with 0.
    pub ok: bool,
    /// Its exit code.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Standard output of a command that must have succeeded.
    ///
    /// # Panics
    /// When it failed.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "often it is enough that a command succeeded")]
    pub fn expect_ok(self) -> String {
        assert!(self.ok, "{}", self.stderr);
        self.stdout
    }

    /// Standard error of a command that must have failed and said `sentence`.
    ///
    /// # Panics
    /// When it succeeded, or said something else.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "often it is enough that a command was refused")]
    pub fn expect_refused(self, sentence: &str) -> String {
        assert!(!self.ok, "it was allowed: {}", self.stdout);
        assert!(self.stderr.contains(sentence), "refused with other words: {}", self.stderr);
        self.stderr
    }
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            ok: output.status.success(),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Kubectl {
    /// As the cluster's administrator, in `namespace`.
    #[must_use]
    pub fn admin(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), kubeconfig: None }
    }

    /// The namespace it works in.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// As the user of another kubeconfig.
    #[must_use]
    pub fn with_kubeconfig(&self, path: &str) -> Self {
        Self { namespace: self.namespace.clone(), kubeconfig: Some(path.to_owned()) }
    }

    /// Runs it with `arguments`.
    ///
    /// # Panics
    /// When there is no `kubectl`.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_with_input(arguments, "")
    }

    /// Runs it with `arguments` and `input` on standard input.
    ///
    /// # Panics
    /// When there is no `kubectl`.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test machine without kubectl cannot go on")]
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Outcome {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl is on the path");
        let mut stdin = child.stdin.take().expect("standard input is a pipe");
        // A command that does not read its input closes the pipe early.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().expect("kubectl can be waited for").into()
    }

    /// The command, for a test that starts it and looks later.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        // A plugin takes flags only after its own name, so the namespace goes last.
        command.args(arguments);
        if !arguments.contains(&"--") {
            command.args(["--namespace", &self.namespace]);
        }
        if let Some(path) = &self.kubeconfig {
            command.env("KUBECONFIG", path);
        }
        command
    }

    /// Applies a manifest.
    #[must_use]
    pub fn apply(&self, manifest: &str) -> Outcome {
        self.run_with_input(&["apply", "--filename", "-"], manifest)
    }

    /// One object as JSON.
    ///
    /// # Panics
    /// When it cannot be read.
    #[track_caller]
    #[must_use]
    #[expect(clippy::expect_used, reason = "kubectl writes JSON")]
    pub fn json(&self, kind: &str, name: &str) -> Value {
        serde_json::from_str(&self.run(&["get", kind, name, "--output", "json"]).expect_ok())
            .expect("kubectl writes JSON")
    }

    /// The running pods that `selector` finds.
    ///
    /// # Panics
    /// When they cannot be read.
    #[track_caller]
    #[must_use]
    #[expect(clippy::expect_used, reason = "kubectl writes JSON")]
    pub fn pods(&self, selector: &str) -> Vec<Pod> {
        let pods = self.run(&["get", "pods", "--selector", selector, "--output", "json"]).expect_ok();
        let pods: Value = serde_json::from_str(&pods).expect("kubectl writes JSON");
        pods["items"].as_array().into_iter().flatten().filter_map(Pod::running).collect()
    }

    /// Waits for a condition of an object, such as `Ready`.
    ///
    /// # Panics
    /// When it does not come within a minute.
    #[track_caller]
    pub fn wait_for(&self, object: &str, condition: &str) {
        let condition = format!("--for=condition={condition}");
        let waited = self.run(&["wait", object, &condition, "--timeout=60s"]);
        if !waited.ok {
            let seen = self.run(&["get", object, "--output", "yaml"]);
            assert!(waited.ok, "{}\n{}", waited.stderr, seen.stdout);
        }
    }
}
