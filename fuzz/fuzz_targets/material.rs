//! What becomes of a value on its way into a field.
#![no_main]

use keylend_fuzz::sent::fields_are_their_parts;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fields_are_their_parts(bytes);
});
