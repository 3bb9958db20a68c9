//! Registers of the 82078: offsets, bits and reset values.

use bitfield_struct::bitfield;

/// Offsets from the chip's first port, which is not decoded on a PC.
pub mod offset {
    /// Status register B (read).
    pub const SRB: u64 = 1;
    /// Digital output register.
    pub const DOR: u64 = 2;
    /// Tape drive register.
    pub const TDR: u64 = 3;
    /// Main status register (read), data rate select register (write).
    pub const MSR_DSR: u64 = 4;
    /// Commands, data and results.
    pub const FIFO: u64 = 5;
    /// Digital input register (read), configuration control register (write).
    pub const DIR_CCR: u64 = 7;
}

/// Digital Output Register.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct Dor {
    /// Drive whose signals are on the cable.
    #[bits(2)]
    pub drive: u8,
    /// Out of reset.
    pub not_reset: bool,
    /// Interrupt and DMA request reach the bus.
    pub dmagate: bool,
    /// Motors of drives 0 to 3.
    #[bits(4)]
    pub motors: u8,
}

/// DOR after a reset. The data sheet has 00h, which holds the chip in reset; QEMU begins with what firmware writes.
pub const DOR_DEFAULT: Dor = Dor::new().with_not_reset(true).with_dmagate(true);

/// Status register B as in the PS/2: bits that always read as one.
pub const SRB_ALWAYS: u8 = 0xc0;
/// Status register B: low bit of the selected drive.
pub const SRB_DRIVE: u8 = 0x20;
/// Status register B: changes with every byte written to a medium.
pub const SRB_WRITE_TOGGLE: u8 = 0x10;
/// Status register B: changes with every byte read from a medium.
pub const SRB_READ_TOGGLE: u8 = 0x08;
/// Status register B: motors 0 and 1.
pub const SRB_MOTORS: u8 = 0x03;

/// Main Status Register.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct Msr {
    /// Drives that seek, or have done so and wait for SENSE INTERRUPT STATUS.
    #[bits(4)]
    pub drives_busy: u8,
    /// In the middle of a command.
    pub busy: bool,
    /// Data is transferred by the processor.
    pub non_dma: bool,
    /// The next byte goes to the processor.
    pub to_host: bool,
    /// The FIFO may be accessed.
    pub request: bool,
}

/// Data Rate Select Register: reset, which clears itself.
pub const DSR_RESET: u8 = 0x80;
/// Data Rate Select Register: power down until the next access.
pub const DSR_POWER_DOWN: u8 = 0x40;
/// Data Rate Select Register, and CCR: the data rate.
pub const RATE: u8 = 0x03;
/// Data Rate Select Register after a reset: 250 kbit/s, default precompensation.
pub const DSR_DEFAULT: u8 = 0x02;

/// Tape Drive Register: the bits that can be written.
pub const TDR_WRITABLE: u8 = 0x03;

/// Digital Input Register: the medium of the selected drive has been changed or is missing.
pub const DIR_CHANGED: u8 = 0x80;

/// Second byte of CONFIGURE.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct Config {
    /// The FIFO asks for service when this many bytes less one are left.
    #[bits(4)]
    pub threshold: u8,
    /// Drives are not polled.
    pub no_polling: bool,
    /// The FIFO is off.
    pub no_fifo: bool,
    /// Data commands seek by themselves.
    pub implied_seek: bool,
    __: bool,
}

/// Bits of [`Config`] that exist.
pub const CONFIG_BITS: u8 = 0x7f;
/// Bits of PERPENDICULAR MODE that are kept: D3 to D0, GAP and WGATE.
pub const PERPENDICULAR_BITS: u8 = 0x3f;
/// Bits of a drive specification that are kept.
pub const SPECIFICATION_BITS: u8 = 0x1f;
/// CONFIGURE after a reset: FIFO off, polling on.
pub const CONFIG_DEFAULT: Config = Config::new().with_no_fifo(true);

/// Status register 0: abnormal termination.
pub const ST0_ABNORMAL: u8 = 0x40;
/// Status register 0: invalid command.
pub const ST0_INVALID: u8 = 0x80;
/// Status register 0: a drive changed its readiness (the reports after a reset).
pub const ST0_POLLING: u8 = 0xc0;
/// Status register 0: a seek ended.
pub const ST0_SEEK_END: u8 = 0x20;
/// Status register 0: track 0 was not found.
pub const ST0_EQUIPMENT: u8 = 0x10;

/// Status register 1: no terminal count at the end of the cylinder.
pub const ST1_END_OF_CYLINDER: u8 = 0x80;
/// Status register 1: a checksum is wrong.
pub const ST1_DATA_ERROR: u8 = 0x20;
/// Status register 1: the host was too slow.
pub const ST1_OVERRUN: u8 = 0x10;
/// Status register 1: there is no such sector.
pub const ST1_NO_DATA: u8 = 0x04;
/// Status register 1: write protected.
pub const ST1_NOT_WRITABLE: u8 = 0x02;
/// Status register 1: nothing readable on the track.
pub const ST1_MISSING_MARK: u8 = 0x01;

/// Status register 2: a sector with the other kind of data mark.
pub const ST2_CONTROL_MARK: u8 = 0x40;
/// Status register 2: the checksum that is wrong is that of the data.
pub const ST2_DATA_ERROR: u8 = 0x20;
/// Status register 2: the sectors of this track are of another cylinder.
pub const ST2_WRONG_CYLINDER: u8 = 0x10;
/// Status register 2: scan: equal.
pub const ST2_SCAN_EQUAL: u8 = 0x08;
/// Status register 2: scan: no sector satisfied the condition.
pub const ST2_SCAN_FAILED: u8 = 0x04;

/// Status register 3: write protected.
pub const ST3_PROTECTED: u8 = 0x40;
/// Status register 3: bits that always read as one.
pub const ST3_ALWAYS: u8 = 0x28;
/// Status register 3: the head is over track 0.
pub const ST3_TRACK_0: u8 = 0x10;

/// Result of VERSION: a controller with the commands of the 82077 and later.
pub const VERSION: u8 = 0x90;
/// Result of PART ID.
pub const PART_ID: u8 = 0x41;
