//! What anybody may call a field.
#![no_main]

use keylend_fuzz::policies::places_are_fields_of_their_own;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    places_are_fields_of_their_own(bytes);
});
