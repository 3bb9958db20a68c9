//! SET FEATURES: transfer modes and the cache.

use serde::{Deserialize, Serialize};

use super::registers::error;
use super::task_file::TaskFile;

/// Most modes of each kind of transfer.
const MOST_PIO: u8 = 4;
const MOST_MULTIWORD: u8 = 2;
const MOST_ULTRA: u8 = 5;
const MOST_SINGLE_WORD: u8 = 2;

/// The kind of DMA that is chosen, and its mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum DmaMode {
    /// None.
    Off,
    /// Single word, which ATA/ATAPI-6 has no more.
    SingleWord(u8),
    /// Multiword.
    Multiword(u8),
    /// Ultra.
    Ultra(u8),
}

impl DmaMode {
    /// Words 62, 63 and 88 of the identification: the modes that there are, and the one that is chosen.
    pub fn words(self) -> [u16; 3] {
        let bit = |mode: u8| 0x100 << mode;
        let (single, multi, ultra) = match self {
            Self::Off => (0, 0, 0),
            Self::SingleWord(mode) => (bit(mode), 0, 0),
            Self::Multiword(mode) => (0, bit(mode), 0),
            Self::Ultra(mode) => (0, 0, bit(mode)),
        };
        [0x07 | single, 0x07 | multi, 0x3f | ultra]
    }

    fn is_possible(self) -> bool {
        match self {
            Self::Off => true,
            Self::SingleWord(mode) => mode <= MOST_SINGLE_WORD,
            Self::Multiword(mode) => mode <= MOST_MULTIWORD,
            Self::Ultra(mode) => mode <= MOST_ULTRA,
        }
    }
}

/// What SET FEATURES sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Features {
    /// Writes may end before they are on the medium.
    pub write_cache: bool,
    /// Read look-ahead, which nobody can tell from none.
    pub look_ahead: bool,
    /// A reset by software makes the features what they are after power-on.
    pub reverts: bool,
    pub dma: DmaMode,
}

impl Features {
    /// As they are after power-on.
    pub const fn new(write_cache: bool) -> Self {
        Self { write_cache, look_ahead: true, reverts: false, dma: DmaMode::Ultra(MOST_ULTRA) }
    }

    /// Whether saved ones can be.
    pub fn is_possible(&self) -> bool {
        self.dma.is_possible()
    }
}

/// Sets the transfer mode that the sector count register names.
///
/// # Errors
/// There is no such mode: bits of the error register.
pub(super) fn set_transfer_mode(dma: &mut DmaMode, code: u8) -> Result<(), u8> {
    let mode = code & 7;
    let chosen = match code >> 3 {
        // The default mode of PIO, with flow control or without.
        0 if mode <= 1 => return Ok(()),
        1 if mode <= MOST_PIO => return Ok(()),
        2 => DmaMode::SingleWord(mode),
        4 => DmaMode::Multiword(mode),
        8 => DmaMode::Ultra(mode),
        _ => return Err(error::ABRT),
    };
    if !chosen.is_possible() {
        return Err(error::ABRT);
    }
    *dma = chosen;
    Ok(())
}

/// Obeys the command of a disk; `true`: the write cache has been switched off.
///
/// # Errors
/// There is no such feature: bits of the error register.
pub(super) fn set_features(features: &mut Features, file: &TaskFile) -> Result<bool, u8> {
    match file.feature() {
        0x02 => features.write_cache = true,
        0x82 => return Ok(std::mem::replace(&mut features.write_cache, false)),
        0x03 => set_transfer_mode(&mut features.dma, file.count.now)?,
        0x55 => features.look_ahead = false,
        0xaa => features.look_ahead = true,
        0x66 => features.reverts = false,
        0xcc => features.reverts = true,
        _ => return Err(error::ABRT),
    }
    Ok(false)
}
