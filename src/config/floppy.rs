//! The floppy controller and its drives.

use serde::{Deserialize, Serialize};

/// Drives that a PC's floppy controller has connectors for.
pub const FLOPPY_DRIVES: usize = 2;

/// The floppy controller of the board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FdcConfig {
    /// Drives A and B as `-fda` and `-drive if=floppy` make them. A drive of `-device floppy` is among the devices.
    pub drives: [Option<FdcDrive>; FLOPPY_DRIVES],
    /// What an empty drive of kind [`FloppyKind::Auto`] is.
    pub fallback: FloppyKind,
    /// Places of the drives in the boot order.
    pub bootindex: [Option<i32>; FLOPPY_DRIVES],
}

impl Default for FdcConfig {
    fn default() -> Self {
        Self { drives: [None, None], fallback: FloppyKind::Mb288, bootindex: [None, None] }
    }
}

/// A drive at a connector of the board's floppy controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FdcDrive {
    /// Id of the drive of the host that holds its media.
    pub drive: String,
    /// What it is.
    pub kind: FloppyKind,
}

/// `floppy`: a drive that `-device` connects to the floppy controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FloppyDevice {
    /// Name of the device, if it was given one.
    pub id: Option<String>,
    /// Which drive it is: 0 for A, 1 for B; never one that [`FdcConfig::drives`] or another device is.
    pub unit: u8,
    /// Id of the drive of the host that holds its media; `None`: it is empty and stays so.
    pub drive: Option<String>,
    /// What it is.
    pub kind: FloppyKind,
}

/// What a floppy drive is, as QEMU's property spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FloppyKind {
    /// 5.25 inch, 1.2 MB.
    #[serde(rename = "120")]
    Mb120,
    /// 3.5 inch, 1.44 MB.
    #[serde(rename = "144")]
    Mb144,
    /// 3.5 inch, 2.88 MB.
    #[serde(rename = "288")]
    Mb288,
    /// There is nothing at this connector.
    #[serde(rename = "none")]
    Absent,
    /// What the first medium needs.
    #[serde(rename = "auto")]
    Auto,
}
