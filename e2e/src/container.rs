//! A running container as the machine sees it: its process, and the network of its pod.

use std::process::{Command, Stdio};

use serde::Deserialize;

/// One container, found by its pod.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Its first process, as the machine counts.
    pub pid: u32,
    /// The path of its pod's network namespace.
    pub network_namespace: String,
    /// The path of its file system.
    pub root: String,
}

/// A process that stands still for as long as this lives, and goes on afterwards, whatever happens.
pub struct Paused(u32);

impl Container {
    /// The running container `name` of a pod.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test without the cluster's tool cannot go on")]
    pub fn find(namespace: &str, pod: &str, name: &str) -> Self {
        let found = Command::new("keylend-cluster")
            .args(["pid", "--pod", &format!("{namespace}/{pod}"), "--container", name, "-o", "json"])
            .output()
            .expect("keylend-cluster is on the path");
        assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
        serde_json::from_slice(&found.stdout).expect("keylend-cluster writes JSON")
    }

    /// `program`, to be run inside the pod's network.
    #[must_use]
    pub fn in_network(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args([&format!("--net={}", self.network_namespace), "--", program]);
        command
    }

    /// Stops the process (`SIGSTOP`) until the answer is dropped.
    ///
    /// # Panics
    /// When it cannot be stopped.
    #[track_caller]
    #[must_use]
    pub fn pause(&self) -> Paused {
        assert!(signal("STOP", self.pid), "process {} can be stopped", self.pid);
        Paused(self.pid)
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        signal("CONT", self.0);
    }
}

/// Sends the signal `name` to one process; says whether that was possible.
pub(crate) fn signal(name: &str, pid: u32) -> bool {
    let sent =
        Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).stderr(Stdio::null()).status();
    sent.is_ok_and(|status| status.success())
}
