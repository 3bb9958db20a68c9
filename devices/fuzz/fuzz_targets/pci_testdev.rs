//! The counter of accesses on the PCI bus.
#![no_main]
use libfuzzer_sys::fuzz_target;
use natoma_fuzz::{op::Op, rig::Rig, targets};

fuzz_target!(|ops: Vec<Op>| Rig::new(targets::find("pci_testdev")).run(&ops));
