//! The qtest protocol.
#![no_main]
use libfuzzer_sys::fuzz_target;
use natoma_fuzz::monitors;

fuzz_target!(|text: &str| monitors::qtest(text));
