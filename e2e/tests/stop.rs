//! Promise 3, stopped means stopped: by deletion and by `revoked`, on the very next call, and for good.

use std::time::{Duration, Instant};

use keylend_e2e::{Stage, kubectl::Outcome};
use serde_json::json;

const VALUE: &str = "kl-test-57d3e0c1a9f4b268";
const LONGEST_STOP: Duration = Duration::from_secs(4);

/// Calls begun after the stop was accepted are refused, and a stream that was open is cut.
fn stops(stage: &Stage, stop: impl FnOnce(&Stage) -> Outcome) {
    let app = stage.app();
    stage.wait_until_injected(&app);
    let before = stage.upstream().hits().len();
    stop(stage).expect_ok();
    let calls = app.run(&json!({"url": "/stripe/ok", "count": 100, "concurrency": 20}));
    assert!(
        calls.iter().all(|call| call.status == 403),
        "{:?}",
        calls.iter().find(|call| call.status != 403)
    );
    assert!(calls.iter().all(|call| call.refusal == "share_revoked" || call.refusal == "secret_unknown"));
    assert_eq!(stage.upstream().hits().len(), before, "no call begun after the stop reached the upstream");
}

#[test]
fn no_call_begun_after_a_deletion_was_accepted_is_injected() {
    let stage = Stage::set("stop", VALUE);
    stops(&stage, |stage| stage.owner.run(&["delete", "secretshare", "partner", "--wait=false"]));
    let began = Instant::now();
    stage.owner.run(&["wait", "secretshare/partner", "--for=delete", "--timeout=20s"]).expect_ok();
    assert!(began.elapsed() < LONGEST_STOP, "the deletion took {:?}", began.elapsed());
}

#[test]
fn no_call_begun_after_a_revocation_was_accepted_is_injected() {
    let stage = Stage::set("revoke", VALUE);
    stops(&stage, |stage| {
        stage.owner.run(&[
            "patch",
            "secretshare",
            "partner",
            "--type=merge",
            "--patch",
            r#"{"spec":{"revoked":true}}"#,
        ])
    });
    stage.owner.wait_for("secretshare/partner", "Revoked");
}

#[test]
fn an_open_stream_is_cut() {
    let stage = Stage::set("stream", VALUE);
    let app = stage.app();
    stage.wait_until_injected(&app);
    let streaming = std::thread::spawn({
        let app = app.clone();
        move || {
            app.run(&json!({"url": "/stripe/stream?every=50ms&for=60s", "count": 1, "deadline_ms": 90_000}))
        }
    });
    std::thread::sleep(Duration::from_secs(3));
    assert!(!streaming.is_finished(), "the stream outlives several renewals while the share stands");
    let began = Instant::now();
    stage.owner.run(&["delete", "secretshare", "partner", "--timeout=20s"]).expect_ok();
    assert!(began.elapsed() < LONGEST_STOP, "the deletion took {:?}", began.elapsed());
    let ended = streaming.join().unwrap();
    assert!(
        began.elapsed() < LONGEST_STOP + Duration::from_secs(1),
        "the stream went on for {:?}",
        began.elapsed()
    );
    assert!(!ended[0].error.is_empty(), "a cut stream does not look complete: {:?}", ended[0]);
}
