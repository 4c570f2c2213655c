//! What the injector writes into a pod, and the sidecar in that pod counts on.
//!
//! All of it stands in running pods, which nobody rewrites: what changes here must still be served as it was.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

/// The sidecar's program in its image.
pub const PROGRAM: &str = "/keylend-sidecar";
/// The argument that has it serve.
pub const RUN: &str = "run";
/// The argument that has it ask the one that serves; [`STARTED`] or [`READY`] follows.
pub const PROBE: &str = "probe";
/// Whether the sidecar is enrolled; no other container starts before.
pub const STARTED: &str = "started";
/// Whether it takes calls now.
pub const READY: &str = "ready";
/// How long the kubelet waits for a probe.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Where apps reach the sidecar.
pub const LISTENER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7180);
/// The variable that tells an app so.
pub const URL_VARIABLE: &str = "KEYLEND_URL";
/// The certificate authorities that may vouch for the operator, as PEM: the one variable the sidecar reads.
pub const ROOTS_VARIABLE: &str = "KEYLEND_OPERATOR_ROOTS";

/// Where the token that enrols is mounted: where the API server would otherwise mount the pod's own API token, so that the
/// sidecar's container holds no other token than the one of our audience.
pub const TOKEN_DIRECTORY: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The token's file in [`TOKEN_DIRECTORY`].
pub const TOKEN_FILE: &str = "token";

/// What apps find in [`URL_VARIABLE`].
#[must_use]
pub fn url() -> String {
    format!("http://{LISTENER}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_running_pods_stays() {
        assert_eq!(
            [PROGRAM, RUN, PROBE, STARTED, READY].join(" "),
            "/keylend-sidecar run probe started ready"
        );
        assert_eq!((URL_VARIABLE, url().as_str()), ("KEYLEND_URL", "http://127.0.0.1:7180"));
        assert_eq!(ROOTS_VARIABLE, "KEYLEND_OPERATOR_ROOTS");
        let token = format!("{TOKEN_DIRECTORY}/{TOKEN_FILE}");
        assert_eq!(token, "/var/run/secrets/kubernetes.io/serviceaccount/token");
    }
}
