//! Mode pages.

use serde::{Deserialize, Serialize};

use super::CdDrive;
use crate::scsi::mode::{self, Header, Page};
use crate::scsi::{Cdb, Outcome, Sense};

const ERROR_RECOVERY: u8 = 0x01;
const CAPABILITIES: u8 = 0x2a;
/// Times that a read is tried again by default.
const RETRIES: u8 = 5;

/// What MODE SELECT can change: the error recovery page, whose values have no effect on a medium that has no scratches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModePages {
    recovery: u8,
    retries: u8,
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
    fn pages(&self) -> [Page; 2] {
        let recovery = Page {
            current: self.memory.pages.error_recovery(),
            default: ModePages::new().error_recovery(),
            changeable: ModePages { recovery: 0xff, retries: 0xff }.error_recovery(),
        };
        [recovery, Page::fixed(self.capabilities())]
    }

    pub(super) fn mode_sense(&self, command: Cdb<'_>) -> Result<Vec<u8>, Sense> {
        mode::sense(command, &self.header(), &self.pages())
    }

    fn header(&self) -> Header {
        Header { medium_type: self.medium_type(), ..Header::default() }
    }

    /// A 120 mm disc with data, a closed drive without a disc, or an open one (SFF-8020i).
    fn medium_type(&self) -> u8 {
        match (self.memory.tray_open, self.has_medium()) {
            (true, _) => 0x71,
            (false, true) => 0x01,
            (false, false) => 0x70,
        }
    }

    fn capabilities(&self) -> Vec<u8> {
        let mut page = vec![0; 22];
        page[..2].copy_from_slice(&[CAPABILITIES, 20]);
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

    /// The parameters of MODE SELECT(10) have come, or, `short`, those of MODE SELECT(6).
    pub(crate) fn take_parameters(&mut self, short: bool, data: &[u8]) -> Outcome {
        match mode::select(short, data, &self.header(), &self.pages()) {
            Ok(selected) => {
                for page in selected {
                    if let [ERROR_RECOVERY, _, recovery, retries, ..] = page[..] {
                        self.memory.pages = ModePages { recovery, retries };
                    }
                }
                Outcome::Good
            }
            Err(sense) => Outcome::Check(sense),
        }
    }
}
