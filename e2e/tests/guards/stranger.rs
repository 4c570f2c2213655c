//! Whoever has no certificate gets little of the operator, and not for long.

use std::process::Command;

use keylend_e2e::operator;
use serde_json::Value;

#[test]
fn a_stranger_s_connection_lasts_ten_seconds_and_carries_eight_requests() {
    let pod = operator::kubectl().json("pod", operator::REPLICAS[0]);
    let address = format!("{}:8443", pod["status"]["podIP"].as_str().unwrap());
    let output = Command::new("keylend-peers").args(["idle", &address]).output().unwrap();
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(seen["streams"], 8);
    let lasted = seen["open_for_ms"].as_u64().unwrap();
    assert!((9_000..12_000).contains(&lasted), "{lasted} ms");
}
