//! The PCI-to-ISA bridge.
#![no_main]
use libfuzzer_sys::fuzz_target;
use natoma_fuzz::{devices, op::Op, rig::Rig};

fuzz_target!(|ops: Vec<Op>| Rig::new(devices::piix3).run(&ops));
