//! Mode pages.

use serde::{Deserialize, Serialize};

use super::CdDrive;

use crate::scsi::{Outcome, Sense};

const ERROR_RECOVERY: u8 = 0x01;
const CAPABILITIES: u8 = 0x2a;
const ALL: u8 = 0x3f;
/// Bytes before the pages.
const HEADER: usize = 8;
/// Longest list of parameters that a host may send.
pub(crate) const LONGEST_PARAMETERS: usize = 256;
/// Times that a read is tried again by default.
const RETRIES: u8 = 5;

/// What MODE SELECT can change: the error recovery page, whose values have no effect on a medium that has no scratches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModePages {
    recovery: u8,
    retries: u8,
}

/// Which values MODE SENSE gives.
enum Values {
    Current,
    /// A mask of the bits that can be changed.
    Changeable,
    Default,
}

impl ModePages {
    pub const fn new() -> Self {
        Self { recovery: 0, retries: RETRIES }
    }

    fn error_recovery(self) -> Vec<u8> {
        vec![ERROR_RECOVERY, 6, self.recovery, self.retries, 0, 0, 0, 0]
    }
}

impl CdDrive {
    /// MODE SENSE(10): page and page control in one byte.
    pub(super) fn mode_sense(&self, page: u8) -> Result<Vec<u8>, Sense> {
        let values = match page >> 6 {
            0 => Values::Current,
            1 => Values::Changeable,
            2 => Values::Default,
            _ => return Err(Sense::SAVING_NOT_SUPPORTED),
        };
        let recovery = match values {
            Values::Current => self.memory.pages,
            Values::Changeable => ModePages { recovery: 0xff, retries: 0xff },
            Values::Default => ModePages::new(),
        };
        let recovery = recovery.error_recovery();
        let capabilities = self.capabilities(&values);
        let pages = match page & 0x3f {
            ERROR_RECOVERY => recovery,
            CAPABILITIES => capabilities,
            ALL => [recovery, capabilities].concat(),
            _ => return Err(Sense::INVALID_FIELD),
        };
        let len = (HEADER - 2 + pages.len()) as u16;
        Ok([&len.to_be_bytes()[..], &[self.medium_type(), 0, 0, 0, 0, 0], &pages].concat())
    }

    /// A 120 mm disc with data, a closed drive without a disc, or an open one (SFF-8020i).
    fn medium_type(&self) -> u8 {
        match (self.memory.tray_open, self.has_medium()) {
            (true, _) => 0x71,
            (false, true) => 0x01,
            (false, false) => 0x70,
        }
    }

    fn capabilities(&self, values: &Values) -> Vec<u8> {
        let mut page = vec![0; 22];
        page[..2].copy_from_slice(&[CAPABILITIES, 20]);
        if matches!(values, Values::Changeable) {
            return page;
        }
        // It reads CD-R, CD-RW, DVD-ROM, DVD-R and DVD-RAM.
        page[2] = 0x3b;
        // Mode 2 in both forms, and several sessions.
        page[4] = 0x70;
        // A tray, which ejects and can be locked, and whether it is.
        page[6] = 0x29 | u8::from(self.memory.locked) << 1;
        // Speed at most and now, in KB/s; KB of buffer.
        page[8..10].copy_from_slice(&706_u16.to_be_bytes());
        page[12..14].copy_from_slice(&512_u16.to_be_bytes());
        page[14..16].copy_from_slice(&706_u16.to_be_bytes());
        page
    }

    /// The parameters of MODE SELECT(10) have come.
    pub fn take_parameters(&mut self, data: &[u8]) -> Outcome {
        let Some(mut rest) = data.get(HEADER..) else { return Outcome::Check(Sense::PARAMETER_LIST_LENGTH) };
        let mut pages = self.memory.pages;
        while let [code, len, body @ ..] = rest {
            let Some((body, next)) = body.split_at_checked(usize::from(*len)) else {
                return Outcome::Check(Sense::PARAMETER_LIST_LENGTH);
            };
            match (code & 0x3f, body) {
                (ERROR_RECOVERY, [recovery, retries, 0, 0, 0, 0]) => {
                    pages = ModePages { recovery: *recovery, retries: *retries };
                }
                // The others can't be changed.
                _ => return Outcome::Check(Sense::INVALID_PARAMETER),
            }
            rest = next;
        }
        self.memory.pages = pages;
        Outcome::Good
    }
}
