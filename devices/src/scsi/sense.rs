//! Why a command failed.

use serde::{Deserialize, Serialize};

/// Sense key, additional sense code and its qualifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sense {
    key: u8,
    code: u8,
    qualifier: u8,
    /// The block that could not be read.
    block: Option<u32>,
}

impl Sense {
    pub const NONE: Self = Self::new(0, 0, 0);
    pub const NO_MEDIUM_TRAY_CLOSED: Self = Self::new(NOT_READY, 0x3a, 0x01);
    pub const NO_MEDIUM_TRAY_OPEN: Self = Self::new(NOT_READY, 0x3a, 0x02);
    pub const MEDIUM_CHANGED: Self = Self::new(UNIT_ATTENTION, 0x28, 0x00);
    pub const PARAMETER_LIST_LENGTH: Self = Self::new(ILLEGAL_REQUEST, 0x1a, 0x00);
    pub const INVALID_OPCODE: Self = Self::new(ILLEGAL_REQUEST, 0x20, 0x00);
    pub const OUT_OF_RANGE: Self = Self::new(ILLEGAL_REQUEST, 0x21, 0x00);
    pub const INVALID_FIELD: Self = Self::new(ILLEGAL_REQUEST, 0x24, 0x00);
    pub const INVALID_PARAMETER: Self = Self::new(ILLEGAL_REQUEST, 0x26, 0x00);
    pub const INCOMPATIBLE_MEDIUM: Self = Self::new(ILLEGAL_REQUEST, 0x30, 0x02);
    pub const SAVING_NOT_SUPPORTED: Self = Self::new(ILLEGAL_REQUEST, 0x39, 0x00);
    pub const REMOVAL_PREVENTED: Self = Self::new(ILLEGAL_REQUEST, 0x53, 0x02);
    pub const WRONG_TRACK_MODE: Self = Self::new(ILLEGAL_REQUEST, 0x64, 0x00);

    const fn new(key: u8, code: u8, qualifier: u8) -> Self {
        Self { key, code, qualifier, block: None }
    }

    /// The medium can't be read at `block`.
    pub const fn unrecovered_read(block: u32) -> Self {
        Self { key: MEDIUM_ERROR, code: 0x11, qualifier: 0x00, block: Some(block) }
    }

    /// The error register of a packet command that has failed so.
    pub fn error_register(self) -> u8 {
        self.key << 4
    }

    /// What REQUEST SENSE gives.
    pub fn data(self) -> Vec<u8> {
        let mut data = vec![0; 18];
        // Current error; the information field is valid if it has a block.
        data[0] = 0x70 | u8::from(self.block.is_some()) << 7;
        data[2] = self.key;
        data[3..7].copy_from_slice(&self.block.unwrap_or(0).to_be_bytes());
        data[7] = 10;
        data[12] = self.code;
        data[13] = self.qualifier;
        data
    }
}

const NOT_READY: u8 = 2;
const MEDIUM_ERROR: u8 = 3;
const ILLEGAL_REQUEST: u8 = 5;
const UNIT_ATTENTION: u8 = 6;
