//! What either side may send as a chunked body.
#![no_main]

use keylend_fuzz::http1::chunks_have_one_reading;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| chunks_have_one_reading(bytes));
