//! What a recipient may write as a field's value.
#![no_main]

use keylend_fuzz::policies::templates_are_their_segments;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    templates_are_their_segments(bytes);
});
