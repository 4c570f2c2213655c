//! What an owner may apply as a sealed value.
#![no_main]

use keylend_fuzz::sent::blobs_have_one_spelling;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    blobs_have_one_spelling(bytes);
});
