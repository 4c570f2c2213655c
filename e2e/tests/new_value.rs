//! Promise 4, one copy: a call that begins after `put` returned carries the new value, none fails, and no manifest that
//! is applied again rolls a value back.

use std::collections::HashMap;

use keylend_e2e::{Call, Load, Stage, Upstream, eventually, operator, replaced, wait::now};
use serde_json::{Value, json};

const PUTS: usize = 100;
/// After each so many puts the original manifests are applied again.
const APPLY_EVERY: usize = 5;

/// One put, in nanoseconds since 1970.
struct Put {
    issued: i64,
    returned: i64,
}

#[test]
fn a_call_after_a_put_carries_its_value_and_none_fails_and_nothing_rolls_it_back() {
    let stage = Stage::set("put", &value(0));
    let pods = stage.scale_over_both(2);
    let (steady, next) = (pods[0].app(), pods[1].app());
    let originals = originals(&stage);
    let steady =
        Load::begin([steady], &json!({"url": "/stripe/ok", "concurrency": 4, "rate": 30, "for_ms": 600_000}));
    let mut puts = vec![Put { issued: 0, returned: now() }];
    let mut calls = Vec::new();
    for number in 1..=PUTS {
        let issued = now();
        stage.put(&value(number));
        puts.push(Put { issued, returned: now() });
        calls.push(next.call("/stripe/ok"));
        if number % APPLY_EVERY == 0 {
            for original in &originals {
                apply_again(&stage, original);
                calls.push(next.call("/stripe/ok"));
            }
        }
    }
    let under_load = steady.end().concat();
    assert!(under_load.len() > 10 * PUTS, "there was load: {} calls", under_load.len());
    let last_put = puts.last().unwrap().issued;
    assert!(under_load.iter().any(|call| call.start > last_put), "there was load until the last put");
    operator::both_granted(calls.iter().chain(&under_load));
    let carried = carried(&stage.upstream());
    for call in calls.iter().chain(&under_load) {
        carries_what_was_live(call, &carried, &puts);
    }
}

fn value(number: usize) -> String {
    format!("kl-test-value-number-{number:04}")
}

/// The owner's manifest as it was first applied: as in the example, and as in Git with the first value's blob in it.
fn originals(stage: &Stage) -> [String; 2] {
    let plain = stage.manifest("owner.yaml");
    let seal = ["keylend", "seal", "stripe-api-key", "--environment", "production"];
    let blob = stage.owner.run_with_input(&seal, &value(0)).expect_ok();
    let named = "    - name: production\n";
    let with_blob =
        replaced(&plain, named, &format!("{named}      sealed:\n        value: {}\n", blob.trim()));
    stage.owner.apply(&with_blob).expect_ok();
    looked_at(stage);
    [plain, with_blob]
}

/// Applies `manifest` both ways, and waits each time until the operator has looked at the secret.
fn apply_again(stage: &Stage, manifest: &str) {
    let forced = ["apply", "--server-side", "--force-conflicts", "--filename", "-"];
    for apply in [&["apply", "--filename", "-"][..], &forced] {
        stage.owner.run_with_input(apply, manifest).expect_ok();
        let older = looked_at(stage);
        assert_eq!(older, manifest.contains("sealed:"), "an older blob in the manifest is told of");
    }
}

/// Whether the source is stale, once the operator has looked at the secret as it is.
fn looked_at(stage: &Stage) -> bool {
    eventually(|| {
        let secret = stage.owner.json("keylendsecret", "stripe-api-key");
        if secret["status"]["observedGeneration"] != secret["metadata"]["generation"] {
            return Err(format!("not looked at yet: {secret}"));
        }
        let conditions = secret["status"]["conditions"].as_array().into_iter().flatten();
        Ok(conditions.clone().any(|one| one["type"] == "SourceStale" && one["status"] == "True"))
    })
}

/// Which value each call carried, by its trace: as the upstream saw it.
fn carried(upstream: &Upstream) -> HashMap<String, usize> {
    let digest = |number| (upstream.digest(&format!("Bearer {}", value(number))), number);
    let numbers: HashMap<String, usize> = (0..=PUTS).map(digest).collect();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let number =
        |hit: &Value| Some((text(&hit["trace_id"]), *numbers.get(&text(&hit["authorization"]["sha256"]))?));
    upstream.hits().iter().filter_map(number).collect()
}

/// The value of the last put that had returned when the call began, or of a later one that was issued before it ended.
fn carries_what_was_live(call: &Call, carried: &HashMap<String, usize>, puts: &[Put]) {
    assert_eq!(call.status, 200, "{call:?}");
    let carried = carried.get(&call.trace_id).copied();
    let oldest = puts.iter().rposition(|put| put.returned < call.start).unwrap_or(0);
    let newest = puts.iter().rposition(|put| put.issued < call.end).unwrap_or(0);
    assert!(
        carried.is_some_and(|carried| (oldest..=newest).contains(&carried)),
        "carried {carried:?}, which is not one of {oldest} to {newest}: {call:?}"
    );
}
