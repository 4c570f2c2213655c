//! What sidecar and operator may send to each other.
#![no_main]

use keylend_fuzz::sent::messages_are_understood_whole;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    messages_are_understood_whole(bytes);
});
