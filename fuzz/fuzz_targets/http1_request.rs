//! What an app may send.
#![no_main]

use keylend_fuzz::http1::requests_have_one_reading;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| requests_have_one_reading(bytes));
