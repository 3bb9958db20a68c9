//! Saved states from anywhere, for any device; what accepted one is used afterwards.
#![no_main]
use devices::base::State;
use libfuzzer_sys::fuzz_target;
use natoma_fuzz::{op::Op, rig::Rig, targets::TARGETS};

fuzz_target!(|input: (u8, u8, u8, String, Vec<Op>)| {
    let (target, device, version, text, ops) = input;
    let Ok(data) = serde_json::from_str(&text) else { return };
    let mut rig = Rig::new(&TARGETS[usize::from(target) % TARGETS.len()]);
    rig.load(device.into(), &State { version: version.into(), data });
    rig.run(&ops);
});
