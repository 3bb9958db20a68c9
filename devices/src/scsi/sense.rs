//! Why a command failed (SPC-4, 4.5).

use serde::{Deserialize, Serialize};

/// Sense key, additional sense code and its qualifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sense {
    key: u8,
    code: u8,
    qualifier: u8,
    /// The block that could not be read or written, or the first byte that is not the same.
    information: Option<u64>,
}

impl Sense {
    pub(crate) const NONE: Self = Self::new(0, 0, 0);
    pub(crate) const NO_MEDIUM: Self = Self::new(NOT_READY, 0x3a, 0x00);
    pub(crate) const NO_MEDIUM_TRAY_CLOSED: Self = Self::new(NOT_READY, 0x3a, 0x01);
    pub(crate) const NO_MEDIUM_TRAY_OPEN: Self = Self::new(NOT_READY, 0x3a, 0x02);
    pub(crate) const MEDIUM_CHANGED: Self = Self::new(UNIT_ATTENTION, 0x28, 0x00);
    pub(crate) const POWER_ON_OR_RESET: Self = Self::new(UNIT_ATTENTION, 0x29, 0x00);
    pub(crate) const DEVICE_RESET: Self = Self::new(UNIT_ATTENTION, 0x29, 0x03);
    pub(crate) const NEXUS_LOST: Self = Self::new(UNIT_ATTENTION, 0x29, 0x07);
    pub(crate) const CAPACITY_CHANGED: Self = Self::new(UNIT_ATTENTION, 0x2a, 0x09);
    pub(crate) const UNITS_CHANGED: Self = Self::new(UNIT_ATTENTION, 0x3f, 0x0e);
    pub(crate) const PARAMETER_LIST_LENGTH: Self = Self::new(ILLEGAL_REQUEST, 0x1a, 0x00);
    pub(crate) const INVALID_OPCODE: Self = Self::new(ILLEGAL_REQUEST, 0x20, 0x00);
    pub(crate) const OUT_OF_RANGE: Self = Self::new(ILLEGAL_REQUEST, 0x21, 0x00);
    pub(crate) const INVALID_FIELD: Self = Self::new(ILLEGAL_REQUEST, 0x24, 0x00);
    pub(crate) const NO_SUCH_UNIT: Self = Self::new(ILLEGAL_REQUEST, 0x25, 0x00);
    pub(crate) const INVALID_PARAMETER: Self = Self::new(ILLEGAL_REQUEST, 0x26, 0x00);
    pub(crate) const INCOMPATIBLE_MEDIUM: Self = Self::new(ILLEGAL_REQUEST, 0x30, 0x02);
    pub(crate) const SAVING_NOT_SUPPORTED: Self = Self::new(ILLEGAL_REQUEST, 0x39, 0x00);
    pub(crate) const REMOVAL_PREVENTED: Self = Self::new(ILLEGAL_REQUEST, 0x53, 0x02);
    pub(crate) const WRONG_TRACK_MODE: Self = Self::new(ILLEGAL_REQUEST, 0x64, 0x00);
    pub(crate) const WRITE_PROTECTED: Self = Self::new(DATA_PROTECT, 0x27, 0x00);
    pub(crate) const NO_SPACE: Self = Self::new(DATA_PROTECT, 0x27, 0x07);
    pub(crate) const CACHE_NOT_WRITTEN: Self = Self::new(MEDIUM_ERROR, 0x0c, 0x00);

    const fn new(key: u8, code: u8, qualifier: u8) -> Self {
        Self { key, code, qualifier, information: None }
    }

    /// The medium can't be read at `block`.
    pub(crate) const fn unrecovered_read(block: u64) -> Self {
        Self { information: Some(block), ..Self::new(MEDIUM_ERROR, 0x11, 0x00) }
    }

    /// The medium can't be written at `block`.
    pub(crate) const fn write_error(block: u64) -> Self {
        Self { information: Some(block), ..Self::new(MEDIUM_ERROR, 0x0c, 0x00) }
    }

    /// What was to be compared differs from byte `at` on.
    pub(crate) const fn miscompare(at: u64) -> Self {
        Self { information: Some(at), ..Self::new(MISCOMPARE, 0x1d, 0x00) }
    }

    /// The error register of a packet command that has failed so.
    pub(crate) fn error_register(self) -> u8 {
        self.key << 4
    }

    /// Additional sense code, and its qualifier in the upper half: the reason of a virtio-scsi event.
    #[must_use]
    pub fn reason(self) -> u32 {
        u32::from(self.code) | u32::from(self.qualifier) << 8
    }

    /// The fixed format.
    #[must_use]
    pub fn data(self) -> Vec<u8> {
        let mut data = vec![0; 18];
        let information = self.information.and_then(|information| u32::try_from(information).ok());
        // Current error; the information field is valid if it has something.
        data[0] = 0x70 | u8::from(information.is_some()) << 7;
        data[2] = self.key;
        data[3..7].copy_from_slice(&information.unwrap_or(0).to_be_bytes());
        data[7] = 10;
        data[12] = self.code;
        data[13] = self.qualifier;
        data
    }

    /// The descriptor format.
    #[must_use]
    pub fn descriptors(self) -> Vec<u8> {
        let information =
            self.information.map(|information| [&[0, 10, 0x80, 0], &information.to_be_bytes()[..]].concat());
        let information = information.unwrap_or_default();
        [&[0x72, self.key, self.code, self.qualifier, 0, 0, 0, information.len() as u8], &information[..]].concat()
    }
}

const NOT_READY: u8 = 2;
const MEDIUM_ERROR: u8 = 3;
const ILLEGAL_REQUEST: u8 = 5;
const UNIT_ATTENTION: u8 = 6;
const DATA_PROTECT: u8 = 7;
const MISCOMPARE: u8 = 14;
