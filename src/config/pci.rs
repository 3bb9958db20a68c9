//! PCI functions that are added to those of the board.

use serde::{Deserialize, Serialize};
use std::fmt;

use super::{VirtioBlk, VirtioScsi};

/// A PCI function of `-device`: where it sits, and what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PciDevice {
    /// Name of the device, if it was given one. A bridge gives it to the bus behind it.
    pub id: Option<String>,
    /// Name of the bus it is on; `None`: the root bus.
    pub bus: Option<String>,
    /// Its place there; `None`: function 0 of the first free slot.
    pub addr: Option<PciPlace>,
    /// Function 0 says that its slot has more functions.
    pub multifunction: bool,
    /// Its option ROM.
    pub rom: Option<PciRom>,
    /// Number by which ACPI names it to operating systems, 1 to [`PciDevice::LAST_ACPI_INDEX`]; no two have the same.
    pub acpi_index: Option<u16>,
    /// What it is.
    pub function: PciFunction,
}

impl PciDevice {
    /// A function with the defaults of `-device`.
    pub fn new(function: PciFunction) -> Self {
        Self { id: None, bus: None, addr: None, multifunction: false, rom: None, acpi_index: None, function }
    }

    /// Largest ACPI index.
    pub const LAST_ACPI_INDEX: u16 = 16 * 1024 - 1;

    /// Its kind as QEMU spells it.
    pub fn driver(&self) -> &'static str {
        match &self.function {
            PciFunction::PciBridge(_) => "pci-bridge",
            PciFunction::PciSerial(PciSerial { chardevs, .. }) => match chardevs.len() {
                0 | 1 => "pci-serial",
                2 => "pci-serial-2x",
                _ => "pci-serial-4x",
            },
            PciFunction::PvpanicPci(_) => "pvpanic-pci",
            PciFunction::I6300esb => "i6300esb",
            PciFunction::PciTestdev(_) => "pci-testdev",
            PciFunction::VirtioBlk(disk) => disk.driver(),
            PciFunction::VirtioScsi(host) => host.driver(),
        }
    }
}

/// The references to other parts of the configuration.
impl PciDevice {
    /// Ids of the character devices it uses.
    pub fn chardevs(&self) -> impl Iterator<Item = &str> {
        let chardevs: &[Option<String>] = match &self.function {
            PciFunction::PciSerial(card) => &card.chardevs,
            PciFunction::PciBridge(_)
            | PciFunction::PvpanicPci(_)
            | PciFunction::I6300esb
            | PciFunction::PciTestdev(_)
            | PciFunction::VirtioBlk(_)
            | PciFunction::VirtioScsi(_) => &[],
        };
        chardevs.iter().filter_map(Option::as_deref)
    }

    /// Id of the thread that serves its queues.
    pub fn io_thread(&self) -> Option<&str> {
        match &self.function {
            PciFunction::VirtioBlk(disk) => disk.io_thread.as_deref(),
            PciFunction::VirtioScsi(host) => host.io_thread.as_deref(),
            PciFunction::PciBridge(_)
            | PciFunction::PciSerial(_)
            | PciFunction::PvpanicPci(_)
            | PciFunction::PciTestdev(_)
            | PciFunction::I6300esb => None,
        }
    }

    /// Id of the drive of the host that it uses.
    pub fn drive_mut(&mut self) -> Option<&mut String> {
        match &mut self.function {
            PciFunction::VirtioBlk(disk) => Some(&mut disk.drive),
            PciFunction::PciBridge(_)
            | PciFunction::PciSerial(_)
            | PciFunction::PvpanicPci(_)
            | PciFunction::PciTestdev(_)
            | PciFunction::I6300esb
            | PciFunction::VirtioScsi(_) => None,
        }
    }
}

/// As it is called in messages: its kind, and its name if it has one.
impl fmt::Display for PciDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            Some(id) => write!(f, "{},id={id}", self.driver()),
            None => f.write_str(self.driver()),
        }
    }
}

/// A place on a PCI bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PciPlace {
    /// 0 to 31.
    pub slot: u8,
    /// 0 to 7.
    pub function: u8,
}

/// An option ROM: a file, which is also searched where firmware is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PciRom {
    /// The file with its contents.
    pub file: String,
    /// Its size in bytes, a power of two; `None`: as large as the file needs.
    pub size: Option<u32>,
    /// The function shows it in its ROM window. Otherwise firmware is handed the file.
    pub bar: bool,
}

/// What a PCI function is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum PciFunction {
    /// A bridge with a bus of its own.
    PciBridge(PciBridge),
    /// A card with one, two or four 16550A UARTs.
    PciSerial(PciSerial),
    /// A register by which the guest reports a panic.
    PvpanicPci(PvpanicPci),
    /// The watchdog of the Intel 6300ESB.
    I6300esb,
    /// A device that counts accesses.
    PciTestdev(PciTestdev),
    /// A virtio disk.
    VirtioBlk(Box<VirtioBlk>),
    /// A virtio SCSI host.
    VirtioScsi(Box<VirtioScsi>),
}

/// `pci-bridge`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PciBridge {
    /// Number of the expansion chassis behind it, from 1.
    pub chassis_nr: u8,
    /// It has a hot-plug controller.
    pub shpc: bool,
    /// Its hot-plug controller can interrupt by messages.
    pub msi: bool,
    /// Room that firmware is asked to leave behind it.
    pub reserve: PciReserve,
}

/// Room that firmware is asked to leave behind a bridge; `None`: as it likes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PciReserve {
    /// Numbers of buses.
    pub buses: Option<u32>,
    /// Bytes of I/O space.
    pub io: Option<u64>,
    /// Bytes of memory.
    pub memory: Option<u32>,
    /// Bytes of prefetchable memory below 4 GiB.
    pub prefetchable_32: Option<u32>,
    /// Bytes of prefetchable memory anywhere. Of this and the other one is given.
    pub prefetchable_64: Option<u64>,
}

/// `pci-serial`, `pci-serial-2x` and `pci-serial-4x`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PciSerial {
    /// Id of the character device of each of its 1, 2 or 4 ports; `None`: what is sent is lost.
    pub chardevs: Vec<Option<String>>,
    /// Programming interface in the class code.
    pub prog_if: u8,
}

/// `pvpanic-pci`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PvpanicPci {
    /// Events that the guest is asked to report: bit 0 a panic, bit 1 a crash that it sees to itself.
    pub events: u8,
}

/// `pci-testdev`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PciTestdev {
    /// Bytes of a window of memory that is not there, a power of two from 16 on; `None`: it has none.
    pub membar: Option<u64>,
}

impl PciTestdev {
    /// The largest such window: all that a processor can address.
    pub const LARGEST: u64 = 1 << 52;
}
