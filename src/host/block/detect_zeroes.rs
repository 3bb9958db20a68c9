//! `detect-zeroes=`: writes of nothing but zeroes become requests for zeroes, which the host can carry out without writing.

use std::sync::Arc;

use devices::backend::block::BlockError;
use vm_memory::VolatileSlice;

use super::file::SECTOR;
use super::filter::Filter;
use super::node::{Node, RawAccess, total_len};

/// Bytes that are looked at together.
const PIECE: usize = 4096;

/// A node above another.
pub(super) struct ZeroDetector {
    below: Arc<dyn Node>,
    unmap: bool,
}

impl ZeroDetector {
    /// `unmap`: the zeroes need not keep room on the host.
    pub fn new(below: Arc<dyn Node>, unmap: bool) -> Self {
        Self { below, unmap }
    }
}

/// Whether there is nothing but zeroes, at the time of looking.
fn all_zeroes(slices: &[VolatileSlice<'_>]) -> bool {
    let mut piece = [0; PIECE];
    slices.iter().all(|slice| {
        (0..slice.len()).step_by(PIECE).all(|at| {
            let copied = slice.offset(at).map_or(0, |rest| rest.copy_to(&mut piece[..]));
            piece[..copied].iter().all(|byte| *byte == 0)
        })
    })
}

impl Filter for ZeroDetector {
    fn below(&self) -> &Arc<dyn Node> {
        &self.below
    }

    /// Writes have to be looked at.
    fn raw(&self) -> Option<RawAccess<'_>> {
        self.below.raw().map(|raw| RawAccess { watched: u64::MAX, ..raw })
    }

    fn write(&self, offset: u64, from: &[VolatileSlice<'_>], durable: bool) -> Result<(), BlockError> {
        let len = total_len(from) as u64;
        if len == 0 || !offset.is_multiple_of(SECTOR) || !len.is_multiple_of(SECTOR) || !all_zeroes(from) {
            return self.below.write(offset, from, durable);
        }
        self.below.write_zeroes(offset, len, self.unmap)?;
        if durable { self.below.flush() } else { Ok(()) }
    }
}
