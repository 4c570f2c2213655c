//! What is left over, and what only looks so.

use serde_json::json;

use super::*;

const NOW: &str = "2026-02-02T00:01:00Z";

fn secret(uid: &str, live: i64, last: i64, updated_at: &str) -> Secret {
    let field = json!({
        "name": "value", "version": live, "wrapGeneration": 1, "key": "kl-test-key", "updatedAt": updated_at, "sealedAtMs": 5, "digests": [],
    });
    serde_json::from_value(json!({
        "apiVersion": "keylend.dev/v1alpha1",
        "kind": "Secret",
        "metadata": { "name": "stripe-api-key", "namespace": "payments", "uid": uid },
        "spec": { "type": "String" },
        "status": { "lastVersion": last, "environments": [{ "name": "production", "fields": [field] }] },
    }))
    .unwrap()
}

#[test]
fn only_what_nothing_points_to_and_nothing_ever_will_is_left_over() {
    let (long_ago, just_now) = ("2026-02-02T00:00:00Z", "2026-02-02T00:00:31Z");
    // (what, the secret that stands there, the version that rests, left over)
    let table = [
        ("no secret of that name", None, 3, true),
        ("another secret of that name", Some(secret("other", 3, 3, long_ago)), 3, true),
        ("the live version", Some(secret("mine", 3, 5, long_ago)), 3, false),
        ("a version before the live one", Some(secret("mine", 3, 3, long_ago)), 2, true),
        ("a version above the live one that was given up", Some(secret("mine", 3, 5, long_ago)), 4, true),
        ("a version on its way in", Some(secret("mine", 3, 3, long_ago)), 4, false),
        ("a version that was live until just now", Some(secret("mine", 3, 3, just_now)), 2, false),
    ];
    for (what, secret, version, expected) in table {
        let resting = Resting {
            envelope: "envelope-1".to_owned(),
            namespace: "payments".to_owned(),
            name: "stripe-api-key".to_owned(),
            uid: "mine".to_owned(),
            version,
        };
        assert_eq!(left_over(&resting, secret.as_ref(), NOW.parse().unwrap()), expected, "{what}");
    }
}
