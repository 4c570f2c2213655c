//! Blobs made by hand, valid but for one thing.

use std::time::{SystemTime, UNIX_EPOCH};

use keylend_e2e::{Kubectl, Stage, blob, blob::Blob, condition};
use serde_json::json;

use crate::{SECRET, VALUE, edit, nothing_is_lost};

#[test]
fn a_blob_that_holds_no_value_for_this_place_is_refused_and_the_live_one_stays() {
    let stage = Stage::set("blobs", VALUE);
    let caller = stage.app();
    stage.wait_until_injected(&caller);
    let good = || Blob::new(stage.owner.namespace(), SECRET, now_ms(), b"kl-test-a-good-value");
    for (what, blob, words) in not_values(&good).into_iter().chain(not_for_this_place(&good)) {
        set_blob(&stage.owner, &blob);
        let said = condition::ready_because(&stage.owner, "keylendsecret", SECRET, "BlobRefused");
        let of_field = said.starts_with("spec.environments[production].sealed.value: ");
        assert!(of_field && said.contains(words), "{what}: {said}");
        nothing_is_lost(&stage, &caller, VALUE);
    }
    set_blob(&stage.owner, &Blob { sealed_at_ms: 1, ..good() }.text());
    let old = condition::of(&stage.owner, "keylendsecret", SECRET, "SourceStale");
    assert!(old.status == "True" && old.message.contains("seal the value again"), "{old:?}");
    nothing_is_lost(&stage, &caller, VALUE);
    set_blob(&stage.owner, &good().text());
    let _ = condition::ready_because(&stage.owner, "keylendsecret", SECRET, "Live");
    nothing_is_lost(&stage, &caller, "kl-test-a-good-value");
}

/// What a blob is, its text, and what is said of it.
type Refused = Vec<(&'static str, String, &'static str)>;

/// Blobs that open here, to what no client of ours would seal.
fn not_values(good: &dyn Fn() -> Blob) -> Refused {
    let of = |plaintext: &[u8]| Blob { plaintext: plaintext.to_vec(), ..good() }.text();
    let (short, text) = ("a value has 8 bytes or more", "visible ASCII without control characters");
    vec![
        ("nothing", of(b""), short),
        ("seven bytes", of(b"kl-test"), short),
        ("a byte over 64 KiB", of("x".repeat(64 * 1024 + 1).as_bytes()), "a value has at most 65536 bytes"),
        ("a line end and a header", of(b"kl-test-\r\nX-Injected: 1"), text),
        ("a null", of(b"kl-test-\0value"), text),
        ("more than ASCII", of("kl-test-schlüssel".as_bytes()), text),
        ("a space at its end", of(b"kl-test-value "), text),
    ]
}

/// Blobs of a good value that do not open here.
fn not_for_this_place(good: &dyn Fn() -> Blob) -> Refused {
    let place = |part: usize, other: &str| {
        let mut blob = good();
        other.clone_into(&mut blob.scope[part]);
        blob.text()
    };
    let mut altered = good().bytes();
    *altered.last_mut().unwrap() ^= 1;
    let unknown = Blob { key: vec![0; 8], ..good() };
    let tomorrow = Blob { sealed_at_ms: now_ms() + 24 * 60 * 60 * 1000, ..good() };
    let elsewhere =
        "for another namespace, name, type, environment or field, or was altered; seal it again for this one";
    vec![
        ("another namespace's", place(0, "default"), elsewhere),
        ("another name's", place(1, "other-key"), elsewhere),
        ("another type's", place(2, "OAuth2"), elsewhere),
        ("another environment's", place(3, "staging"), elsewhere),
        ("another field's", place(4, "password"), elsewhere),
        ("altered", blob::text(&altered), elsewhere),
        (
            "another key's",
            unknown.text(),
            "to the key 0000000000000000, which this operator does not have; fetch",
        ),
        (
            "a later format's",
            Blob { format: 2, ..good() }.text(),
            "a format that this version does not know; seal",
        ),
        ("tomorrow's", tomorrow.text(), "set the clock of the machine that sealed it, and seal it again"),
        (
            "not one",
            "kl1.none".to_owned(),
            "this is not a sealed value; make one with 'kubectl keylend seal'",
        ),
    ]
}

fn set_blob(owner: &Kubectl, blob: &str) {
    edit((owner, "keylendsecret", SECRET), "/spec/environments/0/sealed/value", json!(blob)).expect_ok();
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}
