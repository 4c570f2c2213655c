//! What may be sealed as a value.
#![no_main]

use keylend_fuzz::sent::values_are_text;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    values_are_text(bytes);
});
