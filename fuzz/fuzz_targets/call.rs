//! What both sides of a whole call may send: the app's bytes, a zero byte, the upstream's.
#![no_main]

use keylend_fuzz::{arbitrary::calls_are_sent_once_and_show_nothing, survive_broken_pipes};

libfuzzer_sys::fuzz_target!(init: survive_broken_pipes(), |bytes: &[u8]| { calls_are_sent_once_and_show_nothing(bytes); });
