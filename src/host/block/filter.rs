//! Nodes that do something to the requests of one other node, and leave the rest as it is.

use std::io;
use std::sync::Arc;

use devices::backend::block::BlockError;
use vm_memory::VolatileSlice;

use super::node::{FileTally, Node, RawAccess};

/// A node over another one, of which it has length and bytes. What it does not do itself that one does.
pub(super) trait Filter: Send + Sync {
    /// The other one.
    fn below(&self) -> &Arc<dyn Node>;

    /// As [`Node::raw`]: whether requests may go past the filter it has to say itself.
    fn raw(&self) -> Option<RawAccess<'_>>;

    /// As [`Node::read`].
    fn read(&self, offset: u64, to: &[VolatileSlice<'_>]) -> Result<(), BlockError> {
        self.below().read(offset, to)
    }

    /// As [`Node::write`].
    fn write(&self, offset: u64, from: &[VolatileSlice<'_>], durable: bool) -> Result<(), BlockError> {
        self.below().write(offset, from, durable)
    }

    /// As [`Node::flush`].
    fn flush(&self) -> Result<(), BlockError> {
        self.below().flush()
    }

    /// As [`Node::discard`].
    fn discard(&self, offset: u64, len: u64) -> Result<(), BlockError> {
        self.below().discard(offset, len)
    }

    /// As [`Node::write_zeroes`].
    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> Result<(), BlockError> {
        self.below().write_zeroes(offset, len, may_unmap)
    }

    /// As [`Node::hurry`].
    fn hurry(&self, hurried: bool) {
        self.below().hurry(hurried);
    }
}

impl<F: Filter> Node for F {
    fn len(&self) -> u64 {
        self.below().len()
    }

    fn is_read_only(&self) -> bool {
        self.below().is_read_only()
    }

    fn read(&self, offset: u64, to: &[VolatileSlice<'_>]) -> Result<(), BlockError> {
        Filter::read(self, offset, to)
    }

    fn write(&self, offset: u64, from: &[VolatileSlice<'_>], durable: bool) -> Result<(), BlockError> {
        Filter::write(self, offset, from, durable)
    }

    fn flush(&self) -> Result<(), BlockError> {
        Filter::flush(self)
    }

    fn discard(&self, offset: u64, len: u64) -> Result<(), BlockError> {
        Filter::discard(self, offset, len)
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> Result<(), BlockError> {
        Filter::write_zeroes(self, offset, len, may_unmap)
    }

    fn resize(&self, len: u64) -> Result<(), BlockError> {
        self.below().resize(len)
    }

    fn hurry(&self, hurried: bool) {
        Filter::hurry(self, hurried);
    }

    fn give_up(&self) {
        self.below().give_up();
    }

    fn file_tally(&self) -> Option<FileTally> {
        self.below().file_tally()
    }

    fn raw(&self) -> Option<RawAccess<'_>> {
        Filter::raw(self)
    }

    fn synced(&self, result: io::Result<()>) -> Result<(), BlockError> {
        self.below().synced(result)
    }
}
