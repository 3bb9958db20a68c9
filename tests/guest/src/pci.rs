//! PCI configuration space by mechanism #1 (PCI Local Bus Specification 3.0, 3.2.2.3), and the scan for functions.

use core::fmt;

use crate::ring0::{inb, inl, inw, outb, outl, outw};

const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;
const ENABLE: u32 = 1 << 31;

const HEADER_MULTIFUNCTION: u8 = 0x80;
const HEADER_BRIDGE: u8 = 1;

/// Configuration registers that every function has.
pub mod register {
    /// Vendor id; 0xffff where there is no function.
    pub const VENDOR: u8 = 0x00;
    /// Device id.
    pub const DEVICE: u8 = 0x02;
    /// Command.
    pub const COMMAND: u8 = 0x04;
    /// Status.
    pub const STATUS: u8 = 0x06;
    /// Revision id.
    pub const REVISION: u8 = 0x08;
    /// Programming interface.
    pub const INTERFACE: u8 = 0x09;
    /// Subclass; the class follows.
    pub const SUBCLASS: u8 = 0x0a;
    /// Header type.
    pub const HEADER_TYPE: u8 = 0x0e;
    /// First base address register.
    pub const BAR0: u8 = 0x10;
    /// A bridge's secondary bus number.
    pub const SECONDARY_BUS: u8 = 0x19;
    /// Interrupt line.
    pub const INTERRUPT_LINE: u8 = 0x3c;
    /// Interrupt pin: 1 is INTA#, 0 is none.
    pub const INTERRUPT_PIN: u8 = 0x3d;
}

/// Whether mechanism #1 is there: its address register holds what is written to it.
pub fn is_present() -> bool {
    outl(ADDRESS, ENABLE);
    inl(ADDRESS) == ENABLE
}

/// One function of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Bus.
    pub bus: u8,
    /// Slot on the bus, below 32.
    pub device: u8,
    /// Function of the device, below 8.
    pub function: u8,
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.bus, self.device, self.function)
    }
}

impl Function {
    /// Reads a byte of configuration space.
    pub fn read8(&self, register: u8) -> u8 {
        inb(self.select(register))
    }

    /// Reads two bytes of configuration space; the register is even.
    pub fn read16(&self, register: u8) -> u16 {
        inw(self.select(register))
    }

    /// Reads four bytes of configuration space; the register is a multiple of four.
    pub fn read32(&self, register: u8) -> u32 {
        inl(self.select(register))
    }

    /// Writes a byte of configuration space.
    pub fn write8(&self, register: u8, value: u8) {
        outb(self.select(register), value);
    }

    /// Writes two bytes of configuration space; the register is even.
    pub fn write16(&self, register: u8, value: u16) {
        outw(self.select(register), value);
    }

    /// Writes four bytes of configuration space; the register is a multiple of four.
    pub fn write32(&self, register: u8, value: u32) {
        outl(self.select(register), value);
    }

    /// Points the data window at a register, and says at which port that is.
    fn select(&self, register: u8) -> u16 {
        let function = u32::from(self.bus) << 16 | u32::from(self.device) << 11 | u32::from(self.function) << 8;
        outl(ADDRESS, ENABLE | function | u32::from(register & 0xfc));
        DATA + u16::from(register & 3)
    }

    fn is_there(&self) -> bool {
        self.read16(register::VENDOR) != 0xffff
    }
}

/// Calls `found` with every function on a bus and on the buses behind its bridges.
pub fn scan(bus: u8, found: &mut impl FnMut(Function)) {
    for device in 0..32 {
        let first = Function { bus, device, function: 0 };
        if !first.is_there() {
            continue;
        }
        let functions = if first.read8(register::HEADER_TYPE) & HEADER_MULTIFUNCTION == 0 { 1 } else { 8 };
        for function in (0..functions).map(|function| Function { function, ..first }) {
            if function != first && !function.is_there() {
                continue;
            }
            found(function);
            if function.read8(register::HEADER_TYPE) & !HEADER_MULTIFUNCTION == HEADER_BRIDGE {
                // Firmware numbers the buses upwards; a bridge that it has not set up says 0.
                let behind = function.read8(register::SECONDARY_BUS);
                if behind > bus {
                    scan(behind, found);
                }
            }
        }
    }
}

/// What a class and subclass stand for (PCI Code and ID Assignment Specification).
pub fn class_name(class: u8, subclass: u8) -> &'static str {
    match (class, subclass) {
        (0x00, 0xff) => "other virtual device",
        (0x01, 0x00) => "SCSI controller",
        (0x01, 0x01) => "IDE controller",
        (0x01, 0x06) => "SATA controller",
        (0x01, 0x08) => "NVMe controller",
        (0x01, _) => "storage controller",
        (0x02, 0x00) => "Ethernet controller",
        (0x02, _) => "network controller",
        (0x03, 0x00) => "VGA controller",
        (0x03, _) => "display controller",
        (0x04, 0x01) => "audio device",
        (0x04, 0x03) => "HD audio device",
        (0x04, _) => "multimedia device",
        (0x05, _) => "memory controller",
        (0x06, 0x00) => "host bridge",
        (0x06, 0x01) => "ISA bridge",
        (0x06, 0x04) => "PCI bridge",
        (0x06, _) => "bridge",
        (0x07, 0x00) => "serial controller",
        (0x07, _) => "communication controller",
        (0x08, 0x05) => "SD host controller",
        (0x08, 0x80) => "system device",
        (0x08, _) => "system peripheral",
        (0x09, _) => "input device",
        (0x0c, 0x03) => "USB controller",
        (0x0c, 0x05) => "SMBus controller",
        (0x0c, _) => "serial bus controller",
        _ => "unclassified device",
    }
}
