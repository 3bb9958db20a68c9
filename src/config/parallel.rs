//! Parallel ports.

use serde::{Deserialize, Serialize};

/// `isa-parallel`: a parallel port beside those of `-parallel`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IsaParallel {
    /// Name of the device, if it was given one.
    pub id: Option<String>,
    /// Which of LPT1 to LPT3 it is (0 to 2); never that of another parallel port of the configuration.
    pub index: u8,
    /// First of its eight I/O ports; `None`: that of LPT port `index`.
    pub iobase: Option<u16>,
    /// ISA interrupt, 0 to 15.
    pub irq: u8,
    /// Id of its character device.
    pub chardev: String,
}

impl IsaParallel {
    /// The interrupt of all parallel ports, unless told otherwise.
    pub const IRQ: u8 = 7;
}
