//! QMP: framing, requests, commands, and with `human-monitor-command` those of the human monitor.
#![no_main]
use libfuzzer_sys::fuzz_target;
use natoma_fuzz::monitors;

fuzz_target!(|text: &[u8]| monitors::qmp(text));
