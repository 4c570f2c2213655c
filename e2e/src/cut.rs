//! Cuts a pod off from some addresses, with a packet filter inside the pod's own network.
//!
//! There every packet of the pod passes, whether it goes on by the bridge, by a Service or to the node itself, and what
//! is dropped is what a broken network drops: nobody is told.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use crate::Container;

const TABLE: &str = "inet keylend_test_cut";

/// A pod that is cut off for as long as this lives, and connected again afterwards, whatever happens.
pub struct Cut(Container);

impl Cut {
    /// Drops everything between `container`'s pod and `addresses`, both ways, open connections included.
    ///
    /// # Panics
    /// When the filter cannot be set.
    #[track_caller]
    #[must_use]
    pub fn between(container: &Container, addresses: &[String]) -> Self {
        let cut = Self(container.clone());
        let addresses = addresses.join(", ");
        filter(
            &mut container.in_network("nft"),
            &format!(
                "table {TABLE} {{
                    chain out {{ type filter hook output priority 0; ip daddr {{ {addresses} }} drop; }}
                    chain in {{ type filter hook input priority 0; ip saddr {{ {addresses} }} drop; }}
                }}"
            ),
        );
        cut
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        // A pod that is gone has taken its network, and the filter, with it.
        let _ = self.0.in_network("nft").args(["delete", "table"]).args(TABLE.split(' ')).status();
    }
}

#[track_caller]
#[expect(clippy::expect_used, reason = "a test without a packet filter cannot go on")]
fn filter(nft: &mut Command, rules: &str) {
    let mut child = nft.args(["--file", "-"]).stdin(Stdio::piped()).spawn().expect("nsenter is on the path");
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    stdin.write_all(rules.as_bytes()).expect("nft reads its rules");
    drop(stdin);
    assert!(child.wait().expect("nft can be waited for").success(), "{rules}");
}
