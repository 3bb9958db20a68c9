//! Fast reset and A20.
#![no_main]
use libfuzzer_sys::fuzz_target;
use natoma_fuzz::{devices, op::Op, rig::Rig};

fuzz_target!(|ops: Vec<Op>| Rig::new(devices::port92).run(&ops));
