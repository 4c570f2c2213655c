//! What an owner may write as domains, and a host that is called.
#![no_main]

use keylend_fuzz::policies::locks_permit_what_they_list;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    locks_permit_what_they_list(bytes);
});
