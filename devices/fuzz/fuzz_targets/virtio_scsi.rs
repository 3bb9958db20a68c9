//! A virtio SCSI host, with disks and a CD drive.
#![no_main]
use libfuzzer_sys::fuzz_target;
use natoma_fuzz::{op::Op, rig::Rig, targets};

fuzz_target!(|ops: Vec<Op>| Rig::new(targets::find("virtio_scsi")).run(&ops));
