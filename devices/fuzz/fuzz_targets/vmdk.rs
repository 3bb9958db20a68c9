//! Descriptions of vmdk images.
#![no_main]
use libfuzzer_sys::fuzz_target;
use natoma_fuzz::images;

fuzz_target!(|description: &[u8]| images::vmdk(description));
