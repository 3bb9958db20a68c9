//! Registers of the MC146818A (data sheet, "Registers").

use bitfield_struct::bitfield;

/// Bytes of the chip, as PCs have it.
pub const CMOS_SIZE: usize = 128;
/// Register D: the battery was never empty.
pub const VALID_RAM_AND_TIME: u8 = 0x80;
/// An alarm register with the two top bits set matches any value.
pub const DONT_CARE: u8 = 0xc0;

/// Addresses of the bytes.
pub mod index {
    #![allow(missing_docs)]
    pub const SECONDS: usize = 0x00;
    pub const SECONDS_ALARM: usize = 0x01;
    pub const MINUTES: usize = 0x02;
    pub const MINUTES_ALARM: usize = 0x03;
    pub const HOURS: usize = 0x04;
    pub const HOURS_ALARM: usize = 0x05;
    pub const WEEKDAY: usize = 0x06;
    pub const DAY: usize = 0x07;
    pub const MONTH: usize = 0x08;
    pub const YEAR: usize = 0x09;
    pub const A: usize = 0x0a;
    pub const B: usize = 0x0b;
    pub const C: usize = 0x0c;
    pub const D: usize = 0x0d;
    /// Century as the PC AT and ACPI have it.
    pub const CENTURY: usize = 0x32;
    /// Century as the PS/2 has it.
    pub const CENTURY_PS2: usize = 0x37;

    /// The bytes that count.
    pub const TIME: [usize; 9] = [SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, CENTURY, CENTURY_PS2];

    /// Whether a byte counts.
    #[must_use]
    pub fn is_time(register: usize) -> bool {
        TIME.contains(&register)
    }
}

/// Register A.
#[bitfield(u8)]
pub struct RegA {
    /// RS: rate of the periodic interrupt.
    #[bits(4)]
    pub rate: u8,
    /// DV: divider chain.
    #[bits(3)]
    pub divider: u8,
    /// UIP.
    pub update_in_progress: bool,
}

impl RegA {
    /// 32.768 kHz crystal, 1024 Hz, as firmware leaves it and QEMU starts with.
    pub const RESET: u8 = 0x26;

    /// Whether the divider chain counts. Settings for other crystals than the one there is, and the test mode, are
    /// taken as running.
    #[must_use]
    pub fn divider_runs(self) -> bool {
        self.divider() < 0b110
    }

    /// Period of the periodic interrupt in cycles of the crystal (data sheet, table 5); `None` if it is off.
    #[must_use]
    pub fn periodic_cycles(self) -> Option<u64> {
        match self.rate() {
            0 => None,
            _ if !self.divider_runs() => None,
            rate @ 1..=2 => Some(1 << (rate + 6)),
            rate => Some(1 << (rate - 1)),
        }
    }
}

/// Register B.
#[bitfield(u8)]
pub struct RegB {
    /// DSE.
    pub daylight_savings: bool,
    /// 24/12.
    pub hours_24: bool,
    /// DM: binary instead of BCD.
    pub binary: bool,
    /// SQWE.
    pub square_wave: bool,
    /// UIE.
    pub update_ended: bool,
    /// AIE.
    pub alarm: bool,
    /// PIE.
    pub periodic: bool,
    /// SET: updates are off.
    pub set: bool,
}

impl RegB {
    /// Whether a flag is set whose interrupt is enabled.
    #[must_use]
    pub fn enables(self, c: RegC) -> bool {
        self.periodic() && c.periodic() || self.alarm() && c.alarm() || self.update_ended() && c.update_ended()
    }
}

/// Register C.
#[bitfield(u8)]
pub struct RegC {
    #[bits(4)]
    reserved: u8,
    /// UF.
    pub update_ended: bool,
    /// AF.
    pub alarm: bool,
    /// PF.
    pub periodic: bool,
    /// IRQF.
    pub request: bool,
}
