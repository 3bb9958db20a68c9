//! Command descriptor blocks.

use super::cd::Fields;

/// A command. What lies behind its end reads as 0.
#[derive(Clone, Copy)]
pub(crate) struct Cdb<'a>(pub &'a [u8]);

/// The data that a command moves, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transfer {
    None,
    /// So many bytes go to the host.
    ToHost(u64),
    /// So many bytes come from the host.
    FromHost(u64),
}

impl Cdb<'_> {
    fn bytes<const N: usize>(self, at: usize) -> [u8; N] {
        std::array::from_fn(|byte| self.0.get(at + byte).copied().unwrap_or(0))
    }

    /// The operation code.
    pub fn opcode(self) -> u8 {
        self.byte(0)
    }

    pub fn byte(self, at: usize) -> u8 {
        self.bytes::<1>(at)[0]
    }

    pub fn word(self, at: usize) -> u16 {
        u16::from_be_bytes(self.bytes(at))
    }

    pub fn dword(self, at: usize) -> u32 {
        u32::from_be_bytes(self.bytes(at))
    }

    pub fn qword(self, at: usize) -> u64 {
        u64::from_be_bytes(self.bytes(at))
    }

    /// First block and number of blocks of a command that reads, writes, verifies or flushes, by the group of its code.
    pub fn blocks(self) -> (u64, u64) {
        match self.opcode() >> 5 {
            0 => {
                let count = match self.byte(4) {
                    0 => 256,
                    count => count.into(),
                };
                (u64::from(self.dword(0) & 0x1f_ffff), count)
            }
            1 | 2 => (self.dword(2).into(), self.word(7).into()),
            4 => (self.qword(2), self.dword(10).into()),
            _ => (self.dword(2).into(), self.dword(6).into()),
        }
    }

    /// The data that it moves where a block has `block` bytes.
    pub fn transfer(self, block: u64) -> Transfer {
        use Transfer::{FromHost, None, ToHost};
        use opcode::*;
        let blocks = || self.blocks().1.saturating_mul(block);
        match self.opcode() {
            REQUEST_SENSE | MODE_SENSE_6 => ToHost(self.byte(4).into()),
            INQUIRY => ToHost(self.word(3).into()),
            READ_CAPACITY_10 => ToHost(8),
            SERVICE_ACTION_IN_16 => ToHost(self.dword(10).into()),
            REPORT_LUNS => ToHost(self.dword(6).into()),
            MODE_SENSE_10 | READ_TOC | GET_CONFIGURATION | GET_EVENT_STATUS | READ_DISC_INFORMATION => {
                ToHost(self.word(7).into())
            }
            READ_DVD_STRUCTURE | MECHANISM_STATUS => ToHost(self.word(8).into()),
            READ_6 | READ_10 | READ_12 | READ_16 => ToHost(blocks()),
            READ_CD => {
                let fields = Fields::new(self.byte(9)).map_or(0, Fields::len);
                ToHost(u64::from(self.dword(5) & 0xff_ffff) * fields as u64)
            }
            MODE_SELECT_6 => FromHost(self.byte(4).into()),
            MODE_SELECT_10 | UNMAP => FromHost(self.word(7).into()),
            WRITE_6 | WRITE_10 | WRITE_12 | WRITE_16 | WRITE_VERIFY_10 | WRITE_VERIFY_12 | WRITE_VERIFY_16 => {
                FromHost(blocks())
            }
            VERIFY_10 | VERIFY_12 | VERIFY_16 => match self.byte(1) >> 1 & 3 {
                1 => FromHost(blocks()),
                3 => FromHost(block),
                _ => None,
            },
            // Without a data-out buffer (NDOB) the blocks become zeroes.
            WRITE_SAME_16 if self.byte(1) & 1 != 0 => None,
            WRITE_SAME_10 | WRITE_SAME_16 => FromHost(block),
            _ => None,
        }
    }
}

/// Operation codes.
pub(crate) mod opcode {
    #![allow(missing_docs)]
    pub const TEST_UNIT_READY: u8 = 0x00;
    pub const REQUEST_SENSE: u8 = 0x03;
    pub const FORMAT_UNIT: u8 = 0x04;
    pub const READ_6: u8 = 0x08;
    pub const WRITE_6: u8 = 0x0a;
    pub const INQUIRY: u8 = 0x12;
    pub const MODE_SELECT_6: u8 = 0x15;
    pub const RESERVE_6: u8 = 0x16;
    pub const RELEASE_6: u8 = 0x17;
    pub const MODE_SENSE_6: u8 = 0x1a;
    pub const START_STOP_UNIT: u8 = 0x1b;
    pub const SEND_DIAGNOSTIC: u8 = 0x1d;
    pub const PREVENT_ALLOW: u8 = 0x1e;
    pub const READ_CAPACITY_10: u8 = 0x25;
    pub const READ_10: u8 = 0x28;
    pub const WRITE_10: u8 = 0x2a;
    pub const SEEK_10: u8 = 0x2b;
    pub const WRITE_VERIFY_10: u8 = 0x2e;
    pub const VERIFY_10: u8 = 0x2f;
    pub const SYNCHRONIZE_CACHE_10: u8 = 0x35;
    pub const WRITE_SAME_10: u8 = 0x41;
    pub const UNMAP: u8 = 0x42;
    pub const READ_TOC: u8 = 0x43;
    pub const GET_CONFIGURATION: u8 = 0x46;
    pub const GET_EVENT_STATUS: u8 = 0x4a;
    pub const READ_DISC_INFORMATION: u8 = 0x51;
    pub const MODE_SELECT_10: u8 = 0x55;
    pub const RESERVE_10: u8 = 0x56;
    pub const RELEASE_10: u8 = 0x57;
    pub const MODE_SENSE_10: u8 = 0x5a;
    pub const READ_16: u8 = 0x88;
    pub const WRITE_16: u8 = 0x8a;
    pub const WRITE_VERIFY_16: u8 = 0x8e;
    pub const VERIFY_16: u8 = 0x8f;
    pub const SYNCHRONIZE_CACHE_16: u8 = 0x91;
    pub const WRITE_SAME_16: u8 = 0x93;
    pub const SERVICE_ACTION_IN_16: u8 = 0x9e;
    pub const REPORT_LUNS: u8 = 0xa0;
    pub const READ_12: u8 = 0xa8;
    pub const WRITE_12: u8 = 0xaa;
    pub const READ_DVD_STRUCTURE: u8 = 0xad;
    pub const WRITE_VERIFY_12: u8 = 0xae;
    pub const VERIFY_12: u8 = 0xaf;
    pub const SET_CD_SPEED: u8 = 0xbb;
    pub const MECHANISM_STATUS: u8 = 0xbd;
    pub const READ_CD: u8 = 0xbe;
}

/// The service action of SERVICE ACTION IN (16) that is READ CAPACITY (16).
pub(crate) const READ_CAPACITY_16: u8 = 0x10;
