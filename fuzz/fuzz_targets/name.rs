//! What a route may call a secret.
#![no_main]

use keylend_fuzz::policies::names_fold_once;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    names_fold_once(bytes);
});
