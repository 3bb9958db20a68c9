//! What firmware needs from the machine that no real PC has (the configuration device of QEMU), and what it finds where it
//! looks for option ROMs.

mod empty_rom;
pub mod fw_cfg;

pub use empty_rom::EmptyRom;
pub use fw_cfg::{FileError, FwCfg};
