//! What lies beneath the API on the cluster's one node: its files, and what etcd keeps.

use std::{path::PathBuf, process::Command};

use serde::Deserialize;

/// Where the cluster keeps its things.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Paths {
    /// What etcd, API server, kubelet and the others of the node have logged.
    pub logs: PathBuf,
    /// What every container in every namespace has logged.
    pub pod_logs: PathBuf,
    /// The persistent volumes, the audit's among them.
    pub volumes: PathBuf,
    /// What the kubelet keeps, the volumes as pods see them among it.
    pub kubelet_root: PathBuf,
    /// What containerd keeps: the images, and what containers have written into their own files.
    pub containerd_root: PathBuf,
    /// A file with the process id of each of them.
    pub pid_files: PathBuf,
    /// The files of etcd.
    pub etcd_data: PathBuf,
}

/// Where things are.
///
/// # Panics
/// When the test does not run inside a cluster.
#[track_caller]
#[must_use]
#[expect(clippy::expect_used, reason = "a test without its cluster cannot go on")]
pub fn paths() -> Paths {
    serde_json::from_slice(&cluster(&["paths", "-o", "json"])).expect("paths are JSON")
}

/// Every key and value of etcd, raw.
///
/// # Panics
/// When etcd cannot be read.
#[track_caller]
#[must_use]
pub fn etcd() -> Vec<u8> {
    cluster(&["etcd-dump"])
}

#[track_caller]
#[expect(clippy::expect_used, reason = "a test without its cluster cannot go on")]
fn cluster(arguments: &[&str]) -> Vec<u8> {
    let ended =
        Command::new("keylend-cluster").args(arguments).output().expect("keylend-cluster is on the path");
    assert!(ended.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
    ended.stdout
}
