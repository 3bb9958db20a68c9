//! A command that reads, writes or verifies sectors, piece by piece.

use serde::{Deserialize, Serialize};

use super::command::Access;
use super::geometry::SECTOR;
use crate::backend::disk::Operation;

/// Most sectors of a piece that passes by DMA, or is verified.
const LONGEST_PIECE: u32 = 2048;
/// Most sectors of a command.
const MOST_SECTORS: u32 = 0x1_0000;

/// Who transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Dma {
    /// The processor, or nobody.
    None,
    /// The bus master.
    BusMaster,
}

/// The command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sectors {
    pub access: Access,
    pub dma: Dma,
    /// Sectors that pass at a time if the processor transfers them.
    block: u8,
    /// It is one of the 48-bit commands.
    pub ext: bool,
    /// The sector that comes next.
    pub next: u64,
    /// Sectors that are not done.
    pub left: u32,
    /// Sectors of the piece under way.
    piece: u32,
}

impl Sectors {
    /// A command about `count` sectors from `first` on.
    pub fn new(access: Access, dma: Dma, block: u8, ext: bool, first: u64, count: u32) -> Self {
        Self { access, dma, block, ext, next: first, left: count, piece: 0 }
    }

    /// Bytes of the next piece on a disk of `limit` sectors: at least a sector, so that one which is not there fails.
    pub fn piece_bytes(&self, limit: u64) -> usize {
        let longest = match (self.access, self.dma) {
            (Access::Verify, _) | (_, Dma::BusMaster) => LONGEST_PIECE,
            (Access::Read | Access::Write, Dma::None) => self.block.into(),
        };
        let there = u32::try_from(limit.saturating_sub(self.next)).unwrap_or(u32::MAX);
        longest.min(self.left).min(there).max(1) as usize * SECTOR
    }

    /// The next `bytes` bytes are under way.
    pub fn begin_piece(&mut self, bytes: usize) {
        self.piece = (bytes / SECTOR) as u32;
    }

    /// They have arrived.
    pub fn end_piece(&mut self) {
        self.next += u64::from(self.piece);
        self.left -= self.piece;
        self.piece = 0;
    }

    /// What the piece under way asks of the medium: operation, first byte and length.
    pub fn request(&self, write_cache: bool) -> Option<(Operation, u64, u64)> {
        let operation = match self.access {
            Access::Read | Access::Verify => Operation::Read,
            Access::Write => Operation::Write { durable: !write_cache },
        };
        let bytes = |sectors: u64| sectors.saturating_mul(SECTOR as u64);
        (self.piece > 0).then(|| (operation, bytes(self.next), bytes(self.piece.into())))
    }

    /// Whether so many bytes of the host's can be sectors of it.
    pub fn has_room_for(&self, bytes: usize) -> bool {
        bytes.is_multiple_of(SECTOR) && (bytes / SECTOR) as u64 <= self.left.into()
    }

    /// Whether a saved one can be.
    pub fn is_possible(&self) -> bool {
        let Self { block, ext, next, left, piece, .. } = self;
        let most = if *ext { MOST_SECTORS } else { 0x100 };
        (1..=super::disk::MOST_MULTIPLE).contains(block)
            && *next < 1 << 48
            && *left <= most
            && *piece <= LONGEST_PIECE.min(*left)
    }
}
