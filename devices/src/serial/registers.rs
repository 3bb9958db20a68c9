//! Registers of the PC16550D: addresses, bits and reset values.

use bitfield_struct::bitfield;

use crate::backend::char::Parity;
use crate::base::Rate;

/// Receiver buffer (read), transmitter holding (write); divisor latch low byte while DLAB is set.
pub const RBR_THR_DLL: u64 = 0;
/// Interrupt enable; divisor latch high byte while DLAB is set.
pub const IER_DLM: u64 = 1;
/// Interrupt identification (read), FIFO control (write).
pub const IIR_FCR: u64 = 2;
/// Line control.
pub const LCR: u64 = 3;
/// Modem control.
pub const MCR: u64 = 4;
/// Line status.
pub const LSR: u64 = 5;
/// Modem status.
pub const MSR: u64 = 6;
/// Scratch.
pub const SCR: u64 = 7;

/// Number of registers.
pub const COUNT: u64 = 8;

/// Depth of both FIFOs.
pub const FIFO_DEPTH: usize = 16;

/// The crystal of the PC's serial ports; one bit lasts 16 periods times the divisor.
pub const CRYSTAL: Rate = Rate::hz(1_843_200);

/// Bits per second with a divisor of 1.
pub const MAX_BAUD: u32 = 115_200;

/// The divisor after reset. The data sheet leaves it undefined; QEMU starts at 9600 baud.
pub const RESET_DIVISOR: u16 = 12;

/// Interrupt Enable Register.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct Ier {
    /// Received data available, and in FIFO mode character timeout.
    pub erbfi: bool,
    /// Transmitter holding register empty.
    pub etbei: bool,
    /// Receiver line status.
    pub elsi: bool,
    /// Modem status.
    pub edssi: bool,
    #[bits(4)]
    __: u8,
}

/// Low nibble of the Interrupt Identification Register, strongest first. Bit 0 clear means "pending".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum InterruptId {
    /// Overrun, parity or framing error, or break; cleared by reading the LSR.
    ReceiverLineStatus = 0x6,
    /// Trigger level reached; cleared when the FIFO drops below it.
    ReceivedDataAvailable = 0x4,
    /// Characters wait below the trigger level and nothing has happened for four character times.
    CharacterTimeout = 0xc,
    /// The transmitter wants data; cleared by reading the IIR or writing the THR.
    TransmitterEmpty = 0x2,
    /// A modem status delta bit is set; cleared by reading the MSR.
    ModemStatus = 0x0,
    /// Nothing is pending.
    None = 0x1,
}

/// Bits 6 and 7 of the IIR: the FIFOs are enabled.
pub const IIR_FIFOS_ENABLED: u8 = 0xc0;

/// FIFO Control Register.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct Fcr {
    /// Enables both FIFOs. The other bits are programmed only if this one is written as 1.
    pub fifo_enable: bool,
    /// Empties the receive FIFO; clears itself.
    pub rcvr_reset: bool,
    /// Empties the transmit FIFO; clears itself.
    pub xmit_reset: bool,
    /// Selects how the RXRDY and TXRDY pins behave. The PC leaves them unconnected.
    pub dma_mode: bool,
    #[bits(2)]
    __: u8,
    /// Receive trigger level: 1, 4, 8 or 14 characters.
    #[bits(2)]
    pub rcvr_trigger: u8,
}

impl Fcr {
    /// The receive trigger level in characters.
    pub fn trigger_level(self) -> usize {
        match self.rcvr_trigger() {
            0 => 1,
            1 => 4,
            2 => 8,
            _ => 14,
        }
    }
}

/// Line Control Register.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct Lcr {
    /// Word length less 5.
    #[bits(2)]
    pub word_length: u8,
    /// Two stop bits (one and a half with 5 data bits).
    pub two_stop_bits: bool,
    /// Parity enable.
    pub parity: bool,
    /// Even parity select.
    pub even_parity: bool,
    /// The parity bit is sent and checked as the inverse of bit 4.
    pub stick_parity: bool,
    /// Forces the serial output to spacing.
    pub set_break: bool,
    /// Divisor latch access bit.
    pub dlab: bool,
}

impl Lcr {
    /// Bits per character, 5 to 8.
    pub fn data_bits(self) -> u8 {
        self.word_length() + 5
    }

    /// The bits of a byte that belong to a character.
    pub fn data_mask(self) -> u8 {
        0xff >> (3 - self.word_length())
    }

    /// The parity that bits 3 to 5 select.
    pub fn parity_kind(self) -> Parity {
        match (self.parity(), self.stick_parity(), self.even_parity()) {
            (false, ..) => Parity::None,
            (true, false, false) => Parity::Odd,
            (true, false, true) => Parity::Even,
            (true, true, false) => Parity::Mark,
            (true, true, true) => Parity::Space,
        }
    }

    /// Length of a character with its start, parity and stop bits, in half bits.
    pub fn half_bits(self) -> u64 {
        let stop = match (self.two_stop_bits(), self.word_length()) {
            (false, _) => 2,
            (true, 0) => 3,
            (true, _) => 4,
        };
        2 * (1 + u64::from(self.data_bits()) + u64::from(self.parity())) + stop
    }
}

/// Modem Control Register.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct Mcr {
    /// Data terminal ready.
    pub dtr: bool,
    /// Request to send.
    pub rts: bool,
    /// Auxiliary output 1.
    pub out1: bool,
    /// Auxiliary output 2.
    pub out2: bool,
    /// Local loopback for diagnosis.
    pub loopback: bool,
    #[bits(3)]
    __: u8,
}

/// Line Status Register.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct Lsr {
    /// DR: a character can be read.
    pub data_ready: bool,
    /// OE.
    pub overrun: bool,
    /// PE, of the character at the top of the FIFO.
    pub parity: bool,
    /// FE, of the character at the top of the FIFO.
    pub framing: bool,
    /// BI, of the character at the top of the FIFO.
    pub break_interrupt: bool,
    /// THRE: the THR, or the transmit FIFO, is empty.
    pub thr_empty: bool,
    /// TEMT: the shift register is empty too.
    pub transmitter_empty: bool,
    /// In FIFO mode: a character in the receive FIFO has a parity error, a framing error or a break.
    pub fifo_error: bool,
}

impl Lsr {
    /// OE, PE, FE, BI: cleared by reading, and the sources of the receiver line status interrupt.
    pub const ERRORS: u8 = 0x1e;
    /// PE, FE, BI: the errors that belong to a character.
    pub const CHARACTER_ERRORS: u8 = 0x1c;
}

/// Modem Status Register.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct Msr {
    /// DCTS: CTS has changed since the last read.
    pub delta_cts: bool,
    /// DDSR.
    pub delta_dsr: bool,
    /// TERI: RI has gone from active to inactive.
    pub trailing_edge_ri: bool,
    /// DDCD.
    pub delta_dcd: bool,
    /// Clear to send.
    pub cts: bool,
    /// Data set ready.
    pub dsr: bool,
    /// Ring indicator.
    pub ri: bool,
    /// Data carrier detect.
    pub dcd: bool,
}

impl Msr {
    /// The four bits that reading clears.
    pub const DELTAS: u8 = 0x0f;
}
