//! A watchdog on the ISA bus.
#![no_main]
use libfuzzer_sys::fuzz_target;
use natoma_fuzz::{op::Op, rig::Rig, targets};

fuzz_target!(|ops: Vec<Op>| Rig::new(targets::find("ib700")).run(&ops));
