//! Saved states from anywhere, for any device; what accepted one is used afterwards.
#![no_main]
use ::devices::base::State;
use libfuzzer_sys::fuzz_target;
use natoma_fuzz::{devices, op::Op, rig::Rig};

fuzz_target!(|input: (u8, u8, String, Vec<Op>)| {
    let (device, version, text, ops) = input;
    let Ok(data) = serde_json::from_str(&text) else { return };
    let (_, make) = devices::ALL[usize::from(device) % devices::ALL.len()];
    let mut rig = Rig::new(make);
    rig.load(&State { version: version.into(), data });
    rig.run(&ops);
});
