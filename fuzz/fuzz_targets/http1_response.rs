//! What an upstream may send, to HEAD and to other methods.
#![no_main]

use keylend_fuzz::http1::responses_have_one_reading;
use keylend_sidecar::http1::Asked;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    responses_have_one_reading(bytes, Asked::Other);
    responses_have_one_reading(bytes, Asked::Head);
});
