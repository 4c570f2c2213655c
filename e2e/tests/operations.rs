//! What administrators rely on: a rolling restart fails no call, one replica alone does all, and metrics count what is
//! asked.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use keylend_e2e::{Load, Stage, operator};
use serde_json::json;

const VALUE: &str = "kl-test-c94b07e2a61d3f58";
const CALLS: u64 = 20;
const LONGEST_STOP: Duration = Duration::from_secs(3);

#[test]
fn a_rolling_restart_of_the_operator_fails_no_call_and_none_arrives_twice() {
    let stage = Stage::set("restart", VALUE);
    let app = stage.app();
    stage.wait_until_injected(&app);
    let before = stage.upstream().hits().len();
    let load = Load::begin(
        [app],
        &json!({"url": "/stripe/ok", "method": "POST", "body": "kl-test-body", "concurrency": 4, "rate": 50, "for_ms": 150_000}),
    );
    std::thread::sleep(Duration::from_secs(1));
    operator::kubectl().run(&["rollout", "restart", "statefulset/keylend-operator"]).expect_ok();
    operator::wait_until_ready();
    std::thread::sleep(Duration::from_secs(1));
    let calls = load.end().concat();
    assert!(calls.len() > 200, "there was load: {} calls", calls.len());
    let failed: Vec<_> = calls.iter().filter(|call| call.status != 200).collect();
    assert!(failed.is_empty(), "{} of {} calls failed: {:?}", failed.len(), calls.len(), failed[0]);
    let hits = stage.upstream().hits();
    let traces: HashSet<&str> = hits[before..].iter().filter_map(|hit| hit["trace_id"].as_str()).collect();
    assert_eq!((traces.len(), hits.len() - before), (calls.len(), calls.len()), "each arrived once");
}

#[test]
fn one_replica_alone_lends_takes_in_a_value_and_stops() {
    const NEXT: &str = "kl-test-0b6fd1833c29e7a4";
    let stage = Stage::set("alone", VALUE);
    let app = stage.app();
    stage.wait_until_injected(&app);
    let _second = operator::reduced_to(1);
    stage.wait_until_injected(&app);
    stage.put(NEXT);
    assert_eq!(app.call("/stripe/ok").status, 200);
    let carried = stage.upstream().hits().pop().map(|hit| hit["authorization"]["sha256"].clone());
    assert_eq!(carried, Some(json!(stage.upstream().digest(&format!("Bearer {NEXT}")))));
    let began = Instant::now();
    stage.owner.run(&["delete", "secretshare", "partner", "--timeout=20s"]).expect_ok();
    assert!(began.elapsed() < LONGEST_STOP, "the stop took {:?}", began.elapsed());
    let call = app.call("/stripe/ok");
    assert!(["share_revoked", "secret_unknown"].contains(&call.refusal.as_str()), "{call:?}");
}

#[test]
fn metrics_count_each_ask_by_what_came_of_it() {
    let stage = Stage::set("metrics", VALUE);
    let app = stage.app();
    stage.wait_until_injected(&app);
    let counted = |code: &str| -> u64 {
        let line = format!("keylend_asks_total{{code=\"{code}\"}} ");
        let of = |text: String| text.lines().find_map(|text| text.strip_prefix(&line)?.parse::<u64>().ok());
        operator::pods().iter().filter_map(|replica| of(operator::metrics(replica))).sum()
    };
    let before = (counted("granted"), counted("route_unknown"));
    for _ in 0..CALLS {
        assert_eq!(app.call("/stripe/ok").status, 200);
        assert_eq!(app.call("/nowhere/ok").refusal, "route_unknown");
    }
    assert_eq!((counted("granted"), counted("route_unknown")), (before.0 + CALLS, before.1 + CALLS));
}
