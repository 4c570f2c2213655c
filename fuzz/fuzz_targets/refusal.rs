//! What may come as a refusal.
#![no_main]

use keylend_fuzz::sent::refusals_are_known_by_their_code;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    refusals_are_known_by_their_code(bytes);
});
