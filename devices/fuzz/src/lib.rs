//! What the fuzz targets have in common: a small language of what a guest, time and the host can do to a device
//! ([`op`]), a board to put the device on ([`rig`]), and the devices themselves.
//!
//! A target fails if natoma panics, hangs or eats memory, if a device does not load what it saved, or if it changes when it
//! refuses a state.

pub mod devices;
pub mod kernel;
pub mod op;
pub mod rig;
