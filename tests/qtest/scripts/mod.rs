//! The scripts, one file per device.

pub mod debug;
pub mod i440fx;
pub mod port92;
pub mod rtc;
