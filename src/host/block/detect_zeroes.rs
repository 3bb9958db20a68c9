//! `detect-zeroes=`: writes of nothing but zeroes become requests for zeroes, which the host can carry out without writing.

use std::io;
use std::sync::Arc;

use devices::backend::block::BlockError;
use vm_memory::VolatileSlice;

use super::file::SECTOR;
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

impl Node for ZeroDetector {
    fn len(&self) -> u64 {
        self.below.len()
    }

    fn is_read_only(&self) -> bool {
        self.below.is_read_only()
    }

    fn read(&self, offset: u64, to: &[VolatileSlice<'_>]) -> Result<(), BlockError> {
        self.below.read(offset, to)
    }

    fn write(&self, offset: u64, from: &[VolatileSlice<'_>], durable: bool) -> Result<(), BlockError> {
        let len = total_len(from) as u64;
        if len == 0 || !offset.is_multiple_of(SECTOR) || !len.is_multiple_of(SECTOR) || !all_zeroes(from) {
            return self.below.write(offset, from, durable);
        }
        self.below.write_zeroes(offset, len, self.unmap)?;
        if durable { self.below.flush() } else { Ok(()) }
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.below.flush()
    }

    fn discard(&self, offset: u64, len: u64) -> Result<(), BlockError> {
        self.below.discard(offset, len)
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> Result<(), BlockError> {
        self.below.write_zeroes(offset, len, may_unmap)
    }

    fn resize(&self, len: u64) -> Result<(), BlockError> {
        self.below.resize(len)
    }

    fn hurry(&self, hurried: bool) {
        self.below.hurry(hurried);
    }

    fn give_up(&self) {
        self.below.give_up();
    }

    fn synced(&self, result: io::Result<()>) -> Result<(), BlockError> {
        self.below.synced(result)
    }

    /// Writes have to be looked at.
    fn raw(&self) -> Option<RawAccess<'_>> {
        self.below.raw().map(|raw| RawAccess { watched: u64::MAX, ..raw })
    }
}
