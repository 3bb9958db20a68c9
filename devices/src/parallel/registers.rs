//! Registers of the parallel port.

use bitfield_struct::bitfield;

/// The eight data lines.
pub const DATA: u64 = 0;
/// Signals from the printer (read).
pub const STATUS: u64 = 1;
/// Signals to the printer.
pub const CONTROL: u64 = 2;

/// Status register. Signals whose names begin with `not` are active when the bit is clear.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct Status {
    /// EPP time-out, in ports that have EPP.
    pub timeout: bool,
    #[bits(2)]
    __: u8,
    /// ERROR.
    pub not_error: bool,
    /// SLCT: the printer is on line.
    pub selected: bool,
    /// PE: no paper.
    pub no_paper: bool,
    /// ACK: the pulse after each byte.
    pub not_ack: bool,
    /// BUSY, which the port inverts.
    pub not_busy: bool,
}

/// Control register.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct Control {
    /// STROBE: the data lines are valid.
    pub strobe: bool,
    /// AUTOFD: a line feed after each line.
    pub auto_feed: bool,
    /// INIT: clear resets the printer.
    pub not_init: bool,
    /// SLCTIN: the printer is meant.
    pub select: bool,
    /// The acknowledgement interrupts.
    pub interrupt_enable: bool,
    /// The data lines are inputs.
    pub reverse: bool,
    /// Read as ones.
    #[bits(2)]
    pub always: u8,
}

/// The bits of [`Control`] that read as ones.
pub const CONTROL_ALWAYS: u8 = 0xc0;

/// On line, with paper, without error, ready; the time-out bit as QEMU has it.
pub const RESET_STATUS: Status =
    Status::new().with_timeout(true).with_not_error(true).with_selected(true).with_not_ack(true).with_not_busy(true);

/// The printer is selected, as firmware leaves it.
pub const RESET_CONTROL: Control = Control::new().with_not_init(true).with_select(true).with_always(3);
