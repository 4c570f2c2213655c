//! What administrators rely on: a rolling restart fails no call, one replica alone does all, and metrics count what is
//! asked.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use keylend_e2e::{Kubectl, Load, Stage, Undo, eventually, operator, replaced};
use serde_json::json;

const VALUE: &str = "kl-test-c94b07e2a61d3f58";
const CALLS: u64 = 20;
const LONGEST_STOP: Duration = Duration::from_secs(3);

#[test]
fn a_rolling_restart_of_the_operator_fails_no_call_and_none_arrives_twice() {
    let stage = Stage::set("restart", VALUE);
    let pod = stage.scale(1).remove(0);
    let app = pod.app();
    stage.wait_until_injected(&app);
    // The replica that ends first: its sidecars look for another then, and again when that one ends.
    if operator::replica_of(&pod).name != operator::REPLICAS[1] {
        operator::ask_the_other(&pod);
    }
    let _kept = dns_answers_kept();
    let before = stage.upstream().hits().len();
    let load = Load::begin(
        [app],
        &json!({"url": "/stripe/ok", "method": "POST", "body": "kl-test-body", "concurrency": 4, "rate": 50, "for_ms": 300_000}),
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

/// Has the cluster's DNS keep its answers for as long as most clusters do, until this is dropped: a sidecar whose replica
/// ends may then only find those that were there half a minute ago.
fn dns_answers_kept() -> Undo<impl FnMut()> {
    const KEPT: [(&str, &str); 2] =
        [("ttl 1\n        fall", "ttl 30\n        fall"), ("errors\n", "errors\n    cache 30\n")];
    let dns = Kubectl::admin("kube-system");
    let usual = dns.json("configmap", "coredns")["data"]["Corefile"].as_str().unwrap_or_default().to_owned();
    let mut kept = usual.clone();
    for (is, becomes) in KEPT {
        kept = replaced(&kept, is, becomes);
    }
    let answer = move |corefile: &str| {
        let loaded = || dns.run(&["logs", "deployment/coredns"]).stdout.matches("Reloading complete").count();
        let before = loaded();
        let patch = json!({"data": {"Corefile": corefile}}).to_string();
        dns.run(&["patch", "configmap", "coredns", "--type=merge", "--patch", &patch]).expect_ok();
        eventually(|| if loaded() > before { Ok(()) } else { Err("not read yet".to_owned()) });
    };
    answer(&kept);
    Undo::by(move || answer(&usual))
}

#[test]
fn a_value_that_was_acknowledged_outlives_the_sudden_end_of_both_replicas() {
    const NEXT: &str = "kl-test-7d20c4f9b5e81a36";
    let stage = Stage::set("killed", VALUE);
    let app = stage.app();
    stage.wait_until_injected(&app);
    let before = stage.upstream().hits().len();
    stage.put(NEXT);
    operator::kill_all();
    stage.wait_until_injected(&app);
    let next = json!(stage.upstream().digest(&format!("Bearer {NEXT}")));
    let hits = stage.upstream().hits().split_off(before);
    assert!(!hits.is_empty() && hits.iter().all(|hit| hit["authorization"]["sha256"] == next), "{hits:?}");
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
fn what_the_operator_asks_the_api_server_does_not_wait_with_every_service_account() {
    let counted = || -> f64 {
        let metrics = operator::kubectl().run(&["get", "--raw", "/metrics"]).expect_ok();
        let ours = ["flow_schema=\"keylend-operator\"", "priority_level=\"workload-high\""];
        let of = |line: &str| {
            let line = line.strip_prefix("apiserver_flowcontrol_dispatched_requests_total")?;
            ours.iter()
                .all(|label| line.contains(label))
                .then(|| line.rsplit(' ').next()?.parse::<f64>().ok())?
        };
        metrics.lines().filter_map(of).sum()
    };
    let stage = Stage::set("flow", VALUE);
    let app = stage.app();
    stage.wait_until_injected(&app);
    let before = counted();
    for _ in 0..CALLS {
        assert_eq!(app.call("/stripe/ok").status, 200);
    }
    // Each call of these is three reads.
    assert!(counted() >= before + 60.0, "{before}, then {}", counted());
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
