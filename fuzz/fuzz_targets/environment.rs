//! What anybody may call an environment.
#![no_main]

use keylend_fuzz::policies::environments_are_labels;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    environments_are_labels(bytes);
});
