//! What may be published or saved as sealing keys.
#![no_main]

use keylend_fuzz::sent::sealing_keys_stand_under_their_names;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    sealing_keys_stand_under_their_names(bytes);
});
