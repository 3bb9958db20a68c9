//! Control words of the 8254 (data sheet, figures 7, 10 and 12) and port 61h.

use bitfield_struct::{bitenum, bitfield};

/// Input clock in Hz: a twelfth of the colour subcarrier's fourfold, as software and QEMU round it.
pub const HZ: u64 = 1_193_182;
/// Port of the control word; those before it are the counters'.
pub const CONTROL: u64 = 3;
/// Counter select of a control word: it is a read-back command.
pub const READ_BACK: u8 = 3;

/// Control word.
#[bitfield(u8)]
pub struct ControlWord {
    pub bcd: bool,
    #[bits(3)]
    pub mode: Mode,
    #[bits(2)]
    pub access: Access,
    /// Counter, or [`READ_BACK`].
    #[bits(2)]
    pub counter: u8,
}

/// Read-back command.
#[bitfield(u8)]
pub struct ReadBack {
    zero: bool,
    /// One bit for each counter.
    #[bits(3)]
    pub counters: u8,
    /// Active low.
    pub no_status: bool,
    /// Active low.
    pub no_count: bool,
    #[bits(2)]
    one: u8,
}

/// Status byte of a counter.
#[bitfield(u8)]
pub struct Status {
    pub bcd: bool,
    #[bits(3)]
    pub mode: Mode,
    #[bits(2)]
    pub access: Access,
    pub null_count: bool,
    pub out: bool,
}

/// Which bytes of a count are accessed.
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// In a control word: the counter latch command. A counter has it before its first control word, and then takes
    /// single low bytes, as in QEMU.
    #[fallback]
    #[default]
    Latch = 0,
    Low = 1,
    High = 2,
    /// The low byte first.
    Both = 3,
}

/// What a counter does with its count.
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    InterruptOnTerminalCount = 0,
    HardwareOneShot = 1,
    RateGenerator = 2,
    SquareWave = 3,
    SoftwareStrobe = 4,
    HardwareStrobe = 5,
    RateGeneratorAlias = 6,
    #[fallback]
    SquareWaveAlias = 7,
}

impl Mode {
    /// Bit 2 is a don't-care in modes 2 and 3.
    #[must_use]
    pub fn canonical(self) -> Self {
        match self {
            Self::RateGeneratorAlias => Self::RateGenerator,
            Self::SquareWaveAlias => Self::SquareWave,
            other => other,
        }
    }

    /// The count repeats.
    #[must_use]
    pub fn is_periodic(self) -> bool {
        matches!(self.canonical(), Self::RateGenerator | Self::SquareWave)
    }

    /// A rising gate starts the count, and a low one does not stop it.
    #[must_use]
    pub fn is_triggered(self) -> bool {
        matches!(self, Self::HardwareOneShot | Self::HardwareStrobe)
    }
}

/// NMI Status and Control Register of the PIIX3, port 61h.
#[bitfield(u8)]
pub struct NmiStatusControl {
    /// Gate of counter 2.
    pub timer_2_enable: bool,
    pub speaker_enable: bool,
    /// PCI SERR# does not interrupt. Nothing raises it here.
    pub serr_disable: bool,
    /// IOCHK# does not interrupt. Nothing raises it here.
    pub iochk_disable: bool,
    /// Toggles with each refresh cycle.
    pub refresh_toggle: bool,
    /// OUT of counter 2.
    pub timer_2_out: bool,
    pub iochk: bool,
    pub serr: bool,
}

impl NmiStatusControl {
    /// Bits that are kept as written.
    pub const WRITABLE: u8 = 0x0f;
}

/// Ticks between two refresh cycles, for which firmware programs counter 1.
pub const REFRESH_TICKS: i64 = 18;
