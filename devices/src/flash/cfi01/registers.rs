//! Commands, status bits and tables of the chip, named as in Intel's data sheets and the CFI specification (JESD68).

use bitfield_struct::bitfield;

/// Erase blocks are of this size in bytes.
pub const BLOCK: usize = 4096;
/// Most bytes that one buffered program takes; the binary logarithm is in the query table.
pub const BUFFER: usize = 1 << BUFFER_LOG2;
const BUFFER_LOG2: u8 = 8;

/// First or only byte of a command.
pub mod command {
    pub const READ_ARRAY: u8 = 0xff;
    /// What AMD's chips take for a reset; drivers that don't know yet what is there send it.
    pub const AMD_RESET: u8 = 0xf0;
    pub const READ_ID: u8 = 0x90;
    pub const READ_QUERY: u8 = 0x98;
    pub const READ_STATUS: u8 = 0x70;
    pub const CLEAR_STATUS: u8 = 0x50;
    pub const PROGRAM: u8 = 0x40;
    pub const ALTERNATE_PROGRAM: u8 = 0x10;
    pub const BLOCK_ERASE: u8 = 0x20;
    pub const ALTERNATE_BLOCK_ERASE: u8 = 0x28;
    pub const WRITE_TO_BUFFER: u8 = 0xe8;
    pub const LOCK_SETUP: u8 = 0x60;
    /// Second byte of erase, buffered program and unlock.
    pub const CONFIRM: u8 = 0xd0;
    /// Second byte of lock.
    pub const LOCK: u8 = 0x01;
}

/// The status register.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct Status {
    #[bits(4)]
    pub reserved_0: u8,
    /// SR.4: a program failed. With SR.5: a command was not followed by what belongs to it.
    pub program_error: bool,
    /// SR.5: an erase failed.
    pub erase_error: bool,
    pub erase_suspended: bool,
    /// SR.7: the last operation is complete.
    pub ready: bool,
}

/// The answer to Read Query: CFI's tables for a chip of `len` bytes on an 8-bit bus.
pub fn query(len: usize) -> [u8; 0x52] {
    let mut table = [0; 0x52];
    let [blocks_low, blocks_high, ..] = ((len / BLOCK).wrapping_sub(1) as u32).to_le_bytes();
    let [block_low, block_high, ..] = (BLOCK as u32 / 256).to_le_bytes();
    table[0x10..0x13].copy_from_slice(b"QRY");
    // The command set is Intel's (1), its own table is at 31h; there is no second one.
    table[0x13..0x17].copy_from_slice(&[0x01, 0x00, 0x31, 0x00]);
    // Supply of 4.5 V to 5.5 V, none for programming.
    table[0x1b..0x1f].copy_from_slice(&[0x45, 0x55, 0x00, 0x00]);
    // Typical times as powers of two: byte and buffer in microseconds, block in milliseconds; then how much longer at most.
    table[0x1f..0x27].copy_from_slice(&[0x07, 0x07, 0x0a, 0x00, 0x04, 0x04, 0x04, 0x00]);
    // The size as a power of two. A size that is none (OVMF's code and variables are in two chips) shows as the largest
    // power of two that divides it, as in QEMU.
    table[0x27] = len.trailing_zeros() as u8;
    // 8- and 16-bit interface; the buffer; one region of equal blocks.
    table[0x28..0x2d].copy_from_slice(&[0x02, 0x00, BUFFER_LOG2, 0x00, 0x01]);
    table[0x2d..0x31].copy_from_slice(&[blocks_low, blocks_high, block_low, block_high]);
    // Intel's table, version 1.0: no chip erase, no suspension, no locking; one field of protection registers.
    table[0x31..0x36].copy_from_slice(b"PRI10");
    table[0x3f] = 0x01;
    table
}
