//! qcow2 images with a header and tables that somebody changed.
#![no_main]
use libfuzzer_sys::fuzz_target;
use natoma_fuzz::images;

fuzz_target!(|input: (bool, Vec<(u16, [u8; 8])>)| {
    let (read_only, changes) = input;
    images::qcow2(read_only, &changes);
});
