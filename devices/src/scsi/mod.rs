//! SCSI: commands and what they lead to, whatever carries them.
//!
//! Follows SPC-4, SBC-3 and MMC-3.

pub(crate) mod cd;
mod cdb;
mod outcome;
mod sense;

pub(crate) use cdb::{Cdb, opcode};
pub(crate) use outcome::Outcome;
pub(crate) use sense::Sense;

/// The characters of a text as a device has them, filled up with spaces or cut off to `len` of them.
pub(crate) fn padded(text: &str, len: usize) -> Vec<u8> {
    let ascii = text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c as u8 } else { b'?' });
    ascii.chain(std::iter::repeat(b' ')).take(len).collect()
}
