//! What firmware needs from the machine that no real PC has: the configuration device of QEMU.

pub mod fw_cfg;

pub use fw_cfg::{FileError, FwCfg};
