//! The high-precision event timer (IA-PC HPET specification 1.0a).

use crate::{
    acpi::Acpi,
    memory::{Mmio, u64_at},
};

const CAPABILITIES: u64 = 0x000;
const PERIOD: u64 = 0x004;
const CONFIGURATION: u64 = 0x010;
const COUNTER: u64 = 0x0f0;
const TIMER0_CONFIGURATION: u64 = 0x100;
const TIMER0_COMPARATOR: u64 = 0x108;

const ENABLE: u32 = 1 << 0;
const LEGACY_REPLACEMENT: u32 = 1 << 1;
const TIMER_INTERRUPT: u32 = 1 << 2;
const TIMER_32_BITS: u32 = 1 << 8;
const LEGACY_CAPABLE: u32 = 1 << 15;

/// Femtoseconds in a second: the unit of the period.
const FEMTOSECONDS: u64 = 1_000_000_000_000_000;

/// The timer block, with its counter running.
#[derive(Clone, Copy, Debug)]
pub struct Hpet {
    registers: Mmio,
}

impl Hpet {
    /// The block that the ACPI table names. `None` if there is no table, or no block that says how fast it counts.
    pub fn find(acpi: &Acpi) -> Option<Self> {
        let address = u64_at(acpi.table("HPET")?.bytes, 44).filter(|address| *address < 1 << 32)?;
        // SAFETY: the firmware says that it is there; it can't write to memory without MSIs, which nobody enables.
        let this = Self { registers: unsafe { Mmio::new(address, 0x400) } };
        this.configure(ENABLE);
        (this.registers.read(PERIOD) != 0).then_some(this)
    }

    /// Rate of the counter.
    pub fn hz(&self) -> u64 {
        let period = u64::from(self.registers.read(PERIOD));
        (FEMTOSECONDS + period / 2) / period
    }

    /// How many comparators there are.
    pub fn timers(&self) -> u32 {
        (self.registers.read(CAPABILITIES) >> 8 & 0x1f) + 1
    }

    /// The low half of the counter.
    pub fn read(&self) -> u32 {
        self.registers.read(COUNTER)
    }

    /// Connects timer 0 to IRQ 0 instead of the PIT (and timer 1 to the RTC's line). `false` if that can't be done.
    pub fn replace_pit(&self) -> bool {
        let can = self.registers.read(CAPABILITIES) & LEGACY_CAPABLE != 0;
        if can {
            self.configure(ENABLE | LEGACY_REPLACEMENT);
        }
        can
    }

    /// Lets timer 0 raise its interrupt once, after that many ticks.
    pub fn interrupt_after(&self, ticks: u32) {
        self.registers.write(TIMER0_CONFIGURATION, TIMER_32_BITS);
        self.registers.write(TIMER0_COMPARATOR, self.read().wrapping_add(ticks));
        self.registers.write(TIMER0_CONFIGURATION, TIMER_32_BITS | TIMER_INTERRUPT);
    }

    /// Undoes [`replace_pit`](Self::replace_pit).
    pub fn release_pit(&self) {
        self.registers.write(TIMER0_CONFIGURATION, 0);
        self.configure(ENABLE);
    }

    fn configure(&self, value: u32) {
        self.registers.write(CONFIGURATION, value);
    }
}
