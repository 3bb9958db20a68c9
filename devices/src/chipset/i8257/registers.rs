//! Registers of the 8237A (data sheet, "Register description").

use bitfield_struct::{bitenum, bitfield};

/// Register numbers in the control window; a 16-bit controller has them two ports apart.
pub mod control {
    #![allow(missing_docs)]
    /// Status when read, Command when written.
    pub const STATUS_COMMAND: u64 = 0x0;
    /// Request when written. QEMU shows the masks here.
    pub const REQUEST: u64 = 0x1;
    pub const SINGLE_MASK: u64 = 0x2;
    pub const MODE: u64 = 0x3;
    pub const CLEAR_FLIP_FLOP: u64 = 0x4;
    /// Temporary register when read: without memory-to-memory transfers it stays 0.
    pub const MASTER_CLEAR: u64 = 0x5;
    pub const CLEAR_MASK: u64 = 0x6;
    pub const ALL_MASK: u64 = 0x7;
}

/// Command register.
#[bitfield(u8)]
pub struct Command {
    pub memory_to_memory: bool,
    pub address_hold: bool,
    /// Bit 2: nothing is transferred.
    pub disable: bool,
    pub compressed_timing: bool,
    pub rotating_priority: bool,
    pub extended_write: bool,
    /// Bit 6: DREQ is active low.
    pub dreq_low: bool,
    pub dack_high: bool,
}

/// Mode register of one channel.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct Mode {
    /// The channel that is written.
    #[bits(2)]
    pub channel: u8,
    #[bits(2)]
    pub transfer: Transfer,
    pub auto_initialize: bool,
    pub decrement: bool,
    #[bits(2)]
    pub kind: Kind,
}

/// Direction of a transfer, seen from the peripheral.
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// Addresses and counts, but moves nothing.
    Verify = 0,
    /// The peripheral writes memory.
    Write = 1,
    /// The peripheral reads memory.
    Read = 2,
    /// Undefined by the data sheet. Here it verifies.
    #[fallback]
    Illegal = 3,
}

/// How long a channel keeps the bus. Transfers take no time here, so the first three differ in software requests only.
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// While requested.
    Demand = 0,
    /// For one transfer.
    Single = 1,
    /// To terminal count.
    Block = 2,
    /// For another controller: transfers nothing itself.
    #[fallback]
    Cascade = 3,
}

/// A write of the Request or the Single Mask register.
#[bitfield(u8)]
pub struct SetBit {
    #[bits(2)]
    pub channel: u8,
    pub set: bool,
    #[bits(5)]
    reserved: u8,
}
