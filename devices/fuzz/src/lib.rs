//! What the fuzz targets have in common: a small language of what a guest, time, the host and the user can do to a device
//! ([`op`]), the devices ([`targets`]), and a whole board in this process on which it happens ([`rig`]).
//!
//! A target fails if natoma panics, hangs or eats memory, if a device does not load what it saved, or if it changes when it
//! refuses a state.

pub mod images;
pub mod kernel;
pub mod monitors;
pub mod op;
pub mod rig;
pub mod tables;
mod tamper;
pub mod targets;
