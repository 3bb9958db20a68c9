//! What kind of disc a medium is, and what only a DVD has.

use super::CdDrive;
use crate::scsi::Sense;

/// Most blocks of a CD: 80 minutes.
const MOST_CD_BLOCKS: u32 = 80 * 60 * 75;
/// Number of a DVD's first sector of data.
const DVD_START: u32 = 0x3_0000;

/// Formats of READ DVD STRUCTURE.
mod format {
    pub const PHYSICAL: u8 = 0x00;
    pub const COPYRIGHT: u8 = 0x01;
    pub const MANUFACTURER: u8 = 0x04;
    pub const LIST: u8 = 0xff;
}

/// A medium that is too large for a CD is a DVD.
pub(super) fn is_dvd(blocks: u32) -> bool {
    blocks > MOST_CD_BLOCKS
}

impl CdDrive {
    /// READ DVD STRUCTURE.
    pub(super) fn dvd_structure(&self, format: u8) -> Result<Vec<u8>, Sense> {
        let body = match format {
            // It can be asked for without a medium: format, readable, length.
            format::LIST => [(format::PHYSICAL, 0x804_u16), (format::COPYRIGHT, 8), (format::MANUFACTURER, 0x804)]
                .into_iter()
                .flat_map(|(format, len)| [[format, 0x40], len.to_be_bytes()].concat())
                .collect(),
            _ if !self.has_medium() => return Err(self.no_medium()),
            _ if !self.has_dvd() => return Err(Sense::INCOMPATIBLE_MEDIUM),
            format::PHYSICAL => {
                let mut body = vec![0; 0x800];
                // DVD-ROM, version 1; 120 mm, no stated rate; one layer, read-only.
                body[..3].copy_from_slice(&[0x01, 0x0f, 0x01]);
                body[4..8].copy_from_slice(&DVD_START.to_be_bytes());
                let last = DVD_START.saturating_add(self.blocks().saturating_sub(1));
                body[8..12].copy_from_slice(&last.to_be_bytes());
                body
            }
            // Nothing is protected.
            format::COPYRIGHT => vec![0; 4],
            format::MANUFACTURER => vec![0; 0x800],
            _ => return Err(Sense::INVALID_FIELD),
        };
        // The length counts two reserved bytes.
        Ok([&(body.len() as u16 + 2).to_be_bytes()[..], &[0, 0], &body].concat())
    }
}
