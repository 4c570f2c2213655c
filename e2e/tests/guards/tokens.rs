//! A token of the sidecar's audience is the kubelet's to ask for, whoever else may ask for tokens.

use keylend_e2e::Kubectl;

const OURS: &str = "--audience=keylend.dev/sidecar";
const DENIED: &str = "'keylend-token-audience' with binding 'keylend-token-audience' denied request";

#[test]
fn no_right_and_no_likeness_to_a_node_is_enough_for_a_token_of_our_audience() {
    let admin = Kubectl::admin("default");
    let asks = |how: &[&str]| admin.run(&[&["create", "token", "default"], how].concat());
    let (node, group, all_rights) =
        ("--as=system:node:one", "--as-group=system:nodes", "--as-group=system:masters");
    asks(&["--audience=another"]).expect_ok();
    asks(&[OURS]).expect_refused(DENIED);
    asks(&["--audience=another", OURS]).expect_refused(DENIED);
    asks(&[OURS, node, all_rights]).expect_refused(DENIED);
    asks(&[OURS, "--as=one", group, all_rights]).expect_refused(DENIED);
    // Who is a node in both is held by Kubernetes itself to tokens of its own pods.
    asks(&[OURS, node, group, all_rights]).expect_refused("node requested token not bound to a pod");
}
