//! The I/O APIC (Intel 82093AA).

use crate::memory::Mmio;

const IOREGSEL: u64 = 0x00;
const IOWIN: u64 = 0x10;

const IOAPICVER: u32 = 1;
const IOREDTBL: u32 = 0x10;

const MASKED: u32 = 1 << 16;
const LEVEL: u32 = 1 << 15;
const ACTIVE_LOW: u32 = 1 << 13;

/// When an interrupt line counts as raised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trigger {
    /// While it is active, not when it becomes so.
    pub level: bool,
    /// Low is active.
    pub active_low: bool,
}

/// One I/O APIC.
#[derive(Clone, Copy, Debug)]
pub struct IoApic {
    registers: Mmio,
}

impl IoApic {
    /// # Safety
    /// There is an I/O APIC at that address, below 4 GiB.
    pub unsafe fn at(address: u64) -> Self {
        // SAFETY: its registers, by the promise; they can't write to memory.
        Self { registers: unsafe { Mmio::new(address, 0x1000) } }
    }

    /// The version register's version.
    pub fn version(&self) -> u8 {
        self.read(IOAPICVER) as u8
    }

    /// How many pins there are.
    pub fn pins(&self) -> u32 {
        (self.read(IOAPICVER) >> 16 & 0xff) + 1
    }

    /// Sends the interrupts of a pin to one processor, whose id has 8 bits here.
    pub fn route(&self, pin: u32, vector: u8, to: u8, trigger: Trigger) {
        let level = if trigger.level { LEVEL } else { 0 };
        let polarity = if trigger.active_low { ACTIVE_LOW } else { 0 };
        self.mask(pin);
        self.write(IOREDTBL + 2 * pin + 1, u32::from(to) << 24);
        self.write(IOREDTBL + 2 * pin, level | polarity | u32::from(vector));
    }

    /// Stops the interrupts of a pin.
    pub fn mask(&self, pin: u32) {
        self.write(IOREDTBL + 2 * pin, MASKED);
    }

    fn read(&self, register: u32) -> u32 {
        self.registers.write(IOREGSEL, register);
        self.registers.read(IOWIN)
    }

    fn write(&self, register: u32, value: u32) {
        self.registers.write(IOREGSEL, register);
        self.registers.write(IOWIN, value);
    }
}
