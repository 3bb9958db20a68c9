//! The ACPI power-management timer.

use crate::{acpi::Fadt, ring0::inl};

/// What it counts at: three times the colour carrier of NTSC television, as ACPI has it.
pub const HZ: u64 = 3_579_545;

/// The timer, at the port that the FADT names.
#[derive(Clone, Copy, Debug)]
pub struct PmTimer {
    port: u16,
    bits: u32,
}

impl PmTimer {
    /// The timer, if there is one.
    pub fn find(fadt: &Fadt) -> Option<Self> {
        Some(Self { port: fadt.pm_timer?, bits: fadt.pm_timer_bits })
    }

    /// How many bits it counts with: 24 or 32.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// The count.
    pub fn read(&self) -> u32 {
        inl(self.port) & (u32::MAX >> (32 - self.bits))
    }
}
