//! Answers of NBD servers in the handshake.
#![no_main]
use libfuzzer_sys::fuzz_target;
use natoma_fuzz::images;

fuzz_target!(|answers: &[u8]| images::nbd(answers));
