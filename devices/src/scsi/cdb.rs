//! Command descriptor blocks.

/// A command. What lies behind its end reads as 0.
#[derive(Clone, Copy)]
pub(crate) struct Cdb<'a>(pub &'a [u8]);

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
}

/// Operation codes.
pub(crate) mod opcode {
    #![allow(missing_docs)]
    pub const TEST_UNIT_READY: u8 = 0x00;
    pub const REQUEST_SENSE: u8 = 0x03;
    pub const INQUIRY: u8 = 0x12;
    pub const START_STOP_UNIT: u8 = 0x1b;
    pub const PREVENT_ALLOW: u8 = 0x1e;
    pub const READ_CAPACITY_10: u8 = 0x25;
    pub const READ_10: u8 = 0x28;
    pub const SEEK_10: u8 = 0x2b;
    pub const READ_TOC: u8 = 0x43;
    pub const GET_CONFIGURATION: u8 = 0x46;
    pub const GET_EVENT_STATUS: u8 = 0x4a;
    pub const READ_DISC_INFORMATION: u8 = 0x51;
    pub const MODE_SELECT_10: u8 = 0x55;
    pub const MODE_SENSE_10: u8 = 0x5a;
    pub const READ_12: u8 = 0xa8;
    pub const READ_DVD_STRUCTURE: u8 = 0xad;
    pub const SET_CD_SPEED: u8 = 0xbb;
    pub const MECHANISM_STATUS: u8 = 0xbd;
    pub const READ_CD: u8 = 0xbe;
}
