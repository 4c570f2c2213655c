//! What anybody may write as a host.
#![no_main]

use keylend_fuzz::policies::hosts_have_one_spelling;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    hosts_have_one_spelling(bytes);
});
