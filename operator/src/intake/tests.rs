//! Which blob comes in: once, newer than the live one, and not from the future.

use keylend_contract::sealing_key::{SealingPublicKey, generate_sealing_key};
use zeroize::Zeroizing;

use super::*;

const NOW_MS: u64 = 1_800_000_000_000;
const LIVE_MS: u64 = NOW_MS - 1000;

fn now() -> Timestamp {
    Timestamp::from_millisecond(i64::try_from(NOW_MS).unwrap()).unwrap()
}

fn blob(key: &SealingPublicKey, sealed_at_ms: u64) -> Blob {
    let scope =
        Scope { namespace: "n", name: "s", secret_type: "String", environment: "e", field: VALUE_FIELD };
    let value = Plaintext::parse(Zeroizing::new(b"kl-test-value".to_vec())).unwrap();
    key.seal(&scope, &value, sealed_at_ms).unwrap()
}

#[test]
fn a_blob_comes_in_once_and_only_if_it_is_newer_than_the_live_one_and_not_from_the_future() {
    let (key, _) = generate_sealing_key().unwrap();
    let (live, older) = (blob(&key, LIVE_MS), blob(&key, LIVE_MS - 1));
    let field = FieldStatus {
        name: VALUE_FIELD.to_owned(),
        version: 2,
        wrap_generation: 1,
        key: None,
        key_sealed: false,
        updated_at: "2027-01-15T08:00:00Z".to_owned(),
        sealed_at_ms: i64::try_from(LIVE_MS).unwrap(),
        digests: vec![live.digest(), older.digest()],
    };
    let five_minutes = 5 * 60 * 1000;
    // (what, blob, when something is live, when nothing is)
    let table = [
        ("the live one", live, Standing::Live, Standing::New),
        ("taken in before", older, Standing::Stale, Standing::New),
        ("sealed long before", blob(&key, 1), Standing::Stale, Standing::New),
        ("sealed at the live one's time", blob(&key, LIVE_MS), Standing::Stale, Standing::New),
        ("sealed just after", blob(&key, LIVE_MS + 1), Standing::New, Standing::New),
        ("sealed five minutes from now", blob(&key, NOW_MS + five_minutes), Standing::New, Standing::New),
        ("sealed later", blob(&key, NOW_MS + five_minutes + 1), Standing::Ahead, Standing::Ahead),
        ("sealed never", blob(&key, u64::MAX), Standing::Ahead, Standing::Ahead),
    ];
    for (what, blob, with, without) in table {
        assert_eq!(standing(Some(&field), &blob, now()), with, "{what}");
        assert_eq!(standing(None, &blob, now()), without, "{what}");
    }
}

#[test]
fn a_digest_once_seen_is_stale_whatever_the_blob_s_time() {
    let (key, _) = generate_sealing_key().unwrap();
    let seen = blob(&key, NOW_MS);
    let field = FieldStatus {
        name: VALUE_FIELD.to_owned(),
        version: 2,
        wrap_generation: 1,
        key: None,
        key_sealed: false,
        updated_at: "2027-01-15T08:00:00Z".to_owned(),
        sealed_at_ms: 1,
        digests: vec![blob(&key, 1).digest(), seen.digest()],
    };
    assert_eq!(standing(Some(&field), &seen, now()), Standing::Stale);
}
