//! Promise 4, one copy: when `put` has returned, the very next call carries the new value, and nothing rolls it back.

use keylend_e2e::{Stage, app};
use serde_json::json;

fn value(number: u32) -> String {
    format!("kl-test-value-number-{number:04}")
}

#[test]
fn the_call_after_a_put_carries_the_new_value() {
    let stage = Stage::set("put", &value(0));
    let caller = stage.app();
    stage.wait_until_injected(&caller);
    let control = stage.upstream().control().to_owned();
    let carries = |number: u32| {
        app::post(
            &format!("{control}/expect"),
            &json!({"authorization": format!("Bearer {}", value(number))}),
        );
        let call = caller.call("/stripe/v1/charges");
        assert_eq!(call.status, 200, "value {number}: {call:?}");
    };
    carries(0);
    for number in 1..=20 {
        stage.put(&value(number));
        carries(number);
        let original = stage.manifest("owner.yaml");
        if number % 2 == 0 {
            stage.owner.apply(&original).expect_ok();
        } else {
            let forced = ["apply", "--server-side", "--force-conflicts", "--filename", "-"];
            stage.owner.run_with_input(&forced, &original).expect_ok();
        }
        // The example's own policy has no authority of the test's.
        stage.patch_share(&json!({"use": {"caBundle": stage.ca_bundle}}));
        carries(number);
    }
}
