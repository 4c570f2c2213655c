//! What a recipient may write as an upstream.
#![no_main]

use keylend_fuzz::policies::upstreams_are_origins;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    upstreams_are_origins(bytes);
});
