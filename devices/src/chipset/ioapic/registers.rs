//! Registers of the 82093AA (data sheet, section 3).

use bitfield_struct::bitfield;

/// Offsets in the window, which repeats every 256 bytes.
pub mod offset {
    #![allow(missing_docs)]
    pub const IOREGSEL: u64 = 0x00;
    pub const IOWIN: u64 = 0x10;
    /// Not in the 82093AA.
    pub const EOI: u64 = 0x40;
}

/// Registers behind IOREGSEL and IOWIN.
pub mod index {
    #![allow(missing_docs)]
    pub const ID: u8 = 0x00;
    pub const VERSION: u8 = 0x01;
    pub const ARBITRATION: u8 = 0x02;
    /// IOREDTBL: two registers for each pin.
    pub const REDIRECTION: u8 = 0x10;
}

/// Delivery modes of a redirection entry that mean something to the trigger mode.
pub mod delivery {
    pub const FIXED: u8 = 0b000;
    pub const LOWEST_PRIORITY: u8 = 0b001;
}

/// A redirection table entry.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Redirection {
    /// INTVEC.
    pub vector: u8,
    /// DELMOD: fixed, lowest priority, SMI, -, NMI, INIT, -, ExtINT.
    #[bits(3)]
    pub delivery_mode: u8,
    /// DESTMOD: logical.
    pub logical: bool,
    /// DELIVS: messages are never on their way here.
    pub delivery_status: bool,
    /// INTPOL: active low.
    pub active_low: bool,
    /// Remote IRR: a level-triggered interrupt has been sent and not been ended.
    pub remote_irr: bool,
    /// Trigger mode.
    pub level: bool,
    pub masked: bool,
    reserved: u32,
    /// More bits of a destination, beyond the data sheet: KVM's and Hyper-V's way to more than 255 processors.
    #[bits(7)]
    pub extended_destination: u8,
    /// DEST: an APIC id, or a set of them in logical mode.
    pub destination: u8,
}

impl Redirection {
    /// After reset.
    pub const RESET: Self = Self::new().with_masked(true);
    /// Bits that a guest can write.
    const WRITABLE: u64 = 0xfffe_0000_0001_afff;

    /// The entry after a guest wrote its low or high half.
    #[must_use]
    pub fn written(self, high: bool, value: u32) -> Self {
        let (mask, value) = if high { (u64::MAX << 32, u64::from(value) << 32) } else { (0xffff_ffff, value.into()) };
        let writable = Self::WRITABLE & mask;
        Self::from((u64::from(self) & !writable) | (value & writable))
    }

    /// Whether its interrupt lasts until it is ended. SMI, NMI, INIT and ExtINT are edges whatever the trigger mode says.
    #[must_use]
    pub fn is_level(self) -> bool {
        self.level() && matches!(self.delivery_mode(), delivery::FIXED | delivery::LOWEST_PRIORITY)
    }

    /// Whether a guest can bring it about.
    #[must_use]
    pub fn is_possible(self) -> bool {
        let remote_irr = u64::from(Self::new().with_remote_irr(true));
        u64::from(self) & !(Self::WRITABLE | remote_irr) == 0 && (self.is_level() || !self.remote_irr())
    }
}
