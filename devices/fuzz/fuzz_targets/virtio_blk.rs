//! A virtio disk with split rings, for legacy drivers and those of virtio 1.
#![no_main]
use libfuzzer_sys::fuzz_target;
use natoma_fuzz::{op::Op, rig::Rig, targets};

fuzz_target!(|ops: Vec<Op>| Rig::new(targets::find("virtio_blk")).run(&ops));
