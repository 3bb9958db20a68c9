//! A flash chip.
#![no_main]
use libfuzzer_sys::fuzz_target;
use natoma_fuzz::{devices, op::Op, rig::Rig};

fuzz_target!(|ops: Vec<Op>| Rig::new(devices::cfi01).run(&ops));
