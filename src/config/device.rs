//! Devices that are added to those of the board.

use super::{FloppyDevice, IdeDrive, IsaParallel, PciDevice, PlainDevice, Pvpanic, ScsiDrive};
use serde::{Deserialize, Serialize};

/// A device of `-device`, with every property resolved (command line, then `-global`, then the device's default).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum DeviceConfig {
    /// Port that ends the process when the guest writes to it.
    IsaDebugExit(IsaDebugExit),
    /// Port that sends each byte written to it to a character device.
    IsaDebugcon(IsaDebugcon),
    /// A 16550A UART.
    IsaSerial(IsaSerial),
    /// A floppy drive at the board's controller.
    Floppy(FloppyDevice),
    /// A disk at the board's IDE controller.
    IdeHd(IdeDrive),
    /// A CD drive at the board's IDE controller.
    IdeCd(IdeDrive),
    /// A disk at a SCSI host.
    ScsiHd(Box<ScsiDrive>),
    /// A CD drive at a SCSI host.
    ScsiCd(Box<ScsiDrive>),
    /// A parallel port.
    IsaParallel(IsaParallel),
    /// A port by which the guest reports a panic.
    Pvpanic(Pvpanic),
    /// The watchdog of the IB700 board.
    Ib700(PlainDevice),
    /// Ports and memory for kvm-unit-tests.
    PcTestdev(PlainDevice),
    /// A PCI function.
    Pci(PciDevice),
}

impl DeviceConfig {
    /// Id of the drive of the host that it uses.
    pub fn drive_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::IdeHd(drive) | Self::IdeCd(drive) => drive.drive.as_mut(),
            Self::ScsiHd(unit) | Self::ScsiCd(unit) => unit.drive.as_mut(),
            Self::Floppy(floppy) => floppy.drive.as_mut(),
            Self::Pci(device) => device.drive_mut(),
            Self::IsaDebugExit(_)
            | Self::IsaDebugcon(_)
            | Self::IsaSerial(_)
            | Self::IsaParallel(_)
            | Self::Pvpanic(_)
            | Self::Ib700(_)
            | Self::PcTestdev(_) => None,
        }
    }
}

/// `isa-debug-exit`: a write of `v` ends the process with status `(v << 1) | 1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IsaDebugExit {
    /// Name of the device, if it was given one.
    pub id: Option<String>,
    /// First I/O port.
    pub iobase: u16,
    /// Number of ports: 1, 2 or 4.
    pub iosize: u16,
}

impl Default for IsaDebugExit {
    fn default() -> Self {
        Self { id: None, iobase: 0x501, iosize: 2 }
    }
}

/// `isa-debugcon`, also made by `-debugcon`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IsaDebugcon {
    /// Name of the device, if it was given one.
    pub id: Option<String>,
    /// The I/O port.
    pub iobase: u16,
    /// What a read of the port gives.
    pub readback: u8,
    /// Id of the character device that receives the bytes.
    pub chardev: String,
}

impl IsaDebugcon {
    /// A debug console on the port Bochs and QEMU give it, 0xe9.
    pub fn new(chardev: &str) -> Self {
        Self { id: None, iobase: 0xe9, readback: 0xe9, chardev: chardev.into() }
    }
}

/// `isa-serial`: a UART beside those of `-serial`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IsaSerial {
    /// Name of the device, if it was given one.
    pub id: Option<String>,
    /// Which of COM1 to COM4 it is (0 to 3); never that of another UART of the configuration.
    pub index: u8,
    /// First of its eight I/O ports; `None`: that of COM port `index`.
    pub iobase: Option<u16>,
    /// ISA interrupt, 0 to 15; `None`: that of COM port `index`.
    pub irq: Option<u8>,
    /// Id of its character device.
    pub chardev: String,
}
