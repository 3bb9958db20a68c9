//! DATA SET MANAGEMENT with TRIM: blocks that the host does not need any more.

use serde::{Deserialize, Serialize};

use super::geometry::SECTOR;
use super::registers::error;
use crate::backend::disk::Operation;

/// Most ranges of a block: its bytes by 8.
const MOST_RANGES: usize = SECTOR / 8;

/// The command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trim {
    /// Blocks of ranges that the host has yet to send.
    blocks: u32,
    /// Ranges of the last block that are not done, in reverse: first sector and count.
    ranges: Vec<(u64, u16)>,
    /// The range under way.
    current: Option<(u64, u16)>,
}

impl Trim {
    /// The host will send `blocks` blocks of ranges.
    pub fn new(blocks: u32) -> Self {
        Self { blocks, ranges: Vec::new(), current: None }
    }

    /// Whether the next thing is a block of the host's.
    pub fn wants_block(&self) -> bool {
        self.current.is_none() && self.ranges.is_empty() && self.blocks > 0
    }

    /// A block of ranges has come.
    pub fn add(&mut self, list: &[u8; SECTOR]) {
        self.blocks = self.blocks.saturating_sub(1);
        let entries = list.chunks_exact(8).map(|entry| {
            let entry = entry.iter().rfold(0, |value, byte| value << 8 | u64::from(*byte));
            (entry & ((1 << 48) - 1), (entry >> 48) as u16)
        });
        // A range of length 0 is none.
        self.ranges = entries.filter(|(_, count)| *count > 0).collect();
        self.ranges.reverse();
    }

    /// Goes on to the next range, if there is one, of a disk of `limit` sectors.
    ///
    /// # Errors
    /// It is not on the disk: bits of the error register.
    pub fn next(&mut self, limit: u64) -> Result<Option<(Operation, u64, u64)>, u8> {
        self.current = self.ranges.pop();
        if self.current.is_some_and(|(first, count)| first + u64::from(count) > limit) {
            return Err(error::IDNF);
        }
        Ok(self.request())
    }

    /// What the range under way asks of the medium: operation, first byte and length.
    pub fn request(&self) -> Option<(Operation, u64, u64)> {
        let (first, count) = self.current?;
        Some((Operation::Discard, first * SECTOR as u64, u64::from(count) * SECTOR as u64))
    }

    /// Whether a saved one can be.
    pub fn is_possible(&self) -> bool {
        let possible = |(first, count): &(u64, u16)| *first < 1 << 48 && *count > 0;
        self.blocks <= 0x1_0000
            && self.ranges.len() <= MOST_RANGES
            && self.ranges.iter().chain(&self.current).all(possible)
    }
}
