//! The keyboard controller with keyboard and mouse.
#![no_main]
use libfuzzer_sys::fuzz_target;
use natoma_fuzz::{devices, op::Op, rig::Rig};

fuzz_target!(|ops: Vec<Op>| Rig::new(devices::i8042).run(&ops));
