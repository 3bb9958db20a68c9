//! Disks and CD drives at the board's IDE controller.

use serde::{Deserialize, Serialize};

/// Channels of the controller: the buses `ide.0` and `ide.1`.
pub const IDE_BUSES: usize = 2;
/// Devices that can be connected.
pub const IDE_PLACES: usize = 4;

/// `ide-hd` or `ide-cd`: a device of the controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdeDrive {
    /// Name of the device, if it was given one.
    pub id: Option<String>,
    /// The channel, 0 or 1.
    pub bus: u8,
    /// 0 is the master, 1 the slave. No two devices have the same place.
    pub unit: u8,
    /// Id of the drive of the host that holds its media; `None`: a CD drive that is empty at the start.
    pub drive: Option<String>,
    /// Serial number, up to 20 characters; `None`: one that follows from its place, as QEMU's.
    pub serial: Option<String>,
    /// Model, up to 40 characters; `None`: that of QEMU.
    pub model: Option<String>,
    /// Revision of its firmware, up to 8 characters; `None`: that of QEMU.
    pub version: Option<String>,
    /// World wide name.
    pub wwn: Option<u64>,
    /// Place in the boot order.
    pub bootindex: Option<i32>,
    /// Revolutions per minute; 1: a disk that does not rotate; 0: it does not say.
    pub rotation_rate: u16,
    /// Bytes of a disk's physical sector: a power of two, 512 to 2 MiB.
    pub physical_block_size: u32,
    /// A disk's write cache at the start; `None`: as its drive has it.
    pub write_cache: Option<bool>,
    /// Cylinders of a disk; 0, as heads and sectors are then: those that its partition table tells.
    pub cyls: u16,
    /// Heads, up to 16.
    pub heads: u8,
    /// Sectors of a track.
    pub secs: u8,
    /// How firmware makes the numbers of its disk calls of these; `None`: as the partition table suggests.
    #[serde(rename = "bios-chs-trans")]
    pub translation: Option<ChsTranslation>,
}

/// How firmware makes the numbers of its disk calls of those of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChsTranslation {
    /// Not at all.
    None,
    /// By counting sectors.
    Lba,
    /// By doubling heads while it halves cylinders.
    Large,
    /// The same from 15 heads on.
    Rechs,
}

impl IdeDrive {
    /// A device with the defaults of `-device`.
    #[must_use]
    pub fn new(place: usize, drive: Option<String>) -> Self {
        let (bus, unit) = ((place / 2) as u8, (place % 2) as u8);
        Self {
            id: None,
            bus,
            unit,
            drive,
            serial: None,
            model: None,
            version: None,
            wwn: None,
            bootindex: None,
            rotation_rate: 0,
            physical_block_size: 512,
            write_cache: None,
            cyls: 0,
            heads: 0,
            secs: 0,
            translation: None,
        }
    }

    /// Its number among all places: that of `-drive index=`.
    #[must_use]
    pub fn place(&self) -> usize {
        2 * usize::from(self.bus) + usize::from(self.unit)
    }
}
