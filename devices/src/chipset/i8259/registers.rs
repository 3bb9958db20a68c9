//! Command words of the 8259A (data sheet, figures 7 and 8).

use bitfield_struct::{bitenum, bitfield};

/// D4 of a write to the even port: ICW1.
pub const ICW1: u8 = 1 << 4;
/// D3 of a write to the even port that is no ICW1: OCW3.
pub const OCW3: u8 = 1 << 3;

/// Initialization command word 1.
#[bitfield(u8)]
pub struct Icw1 {
    /// IC4: ICW4 follows.
    pub icw4_needed: bool,
    /// SNGL: no ICW3 follows.
    pub single: bool,
    /// ADI: used in MCS-80 mode only.
    pub interval_4: bool,
    /// LTIM: the PIIX3 replaces it by ELCR.
    pub level_triggered: bool,
    #[bits(4)]
    rest: u8,
}

/// Initialization command word 4.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct Icw4 {
    /// uPM: 8086 mode.
    pub mode_8086: bool,
    /// AEOI.
    pub auto_eoi: bool,
    /// M/S.
    pub buffered_master: bool,
    /// BUF.
    pub buffered: bool,
    /// SFNM.
    pub special_fully_nested: bool,
    #[bits(3)]
    rest: u8,
}

/// Operation command word 2.
#[bitfield(u8)]
pub struct Ocw2 {
    #[bits(3)]
    pub level: u8,
    #[bits(2)]
    zero: u8,
    #[bits(3)]
    pub command: Command,
}

/// R, SL and EOI of OCW2.
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    ClearRotateInAutoEoi = 0b000,
    NonSpecificEoi = 0b001,
    #[fallback]
    NoOperation = 0b010,
    SpecificEoi = 0b011,
    SetRotateInAutoEoi = 0b100,
    RotateOnNonSpecificEoi = 0b101,
    SetPriority = 0b110,
    RotateOnSpecificEoi = 0b111,
}

/// Operation command word 3.
#[bitfield(u8)]
pub struct Ocw3 {
    /// RIS: read ISR rather than IRR.
    pub read_isr: bool,
    /// RR: the bit before means something.
    pub read_register: bool,
    /// P.
    pub poll: bool,
    #[bits(2)]
    one: u8,
    /// SMM.
    pub special_mask: bool,
    /// ESMM: the bit before means something.
    pub enable_special_mask: bool,
    #[bits(1)]
    zero: u8,
}

/// What a poll reads: I, and the level in service in the lower bits.
pub const POLL_INTERRUPT: u8 = 1 << 7;
