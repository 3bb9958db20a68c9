//! VMware's port and its mouse.
#![no_main]
use libfuzzer_sys::fuzz_target;
use natoma_fuzz::{op::Op, rig::Rig, targets};

fuzz_target!(|ops: Vec<Op>| Rig::new(targets::find("vmport")).run(&ops));
