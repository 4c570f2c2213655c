//! What a name may resolve to, and the networks that an owner may write.
#![no_main]

use keylend_fuzz::policies::answers_are_approved_one_by_one;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    answers_are_approved_one_by_one(bytes);
});
