//! `discard=ignore` of a node that another one is built on: what is not needed any more stays where it is.

use std::io;
use std::sync::Arc;

use devices::backend::block::BlockError;
use vm_memory::VolatileSlice;

use super::node::{Node, RawAccess};

/// A node that gives nothing back.
pub(super) struct Keeper(pub Arc<dyn Node>);

impl Node for Keeper {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn is_read_only(&self) -> bool {
        self.0.is_read_only()
    }

    fn read(&self, offset: u64, to: &[VolatileSlice<'_>]) -> Result<(), BlockError> {
        self.0.read(offset, to)
    }

    fn write(&self, offset: u64, from: &[VolatileSlice<'_>], durable: bool) -> Result<(), BlockError> {
        self.0.write(offset, from, durable)
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.0.flush()
    }

    fn write_zeroes(&self, offset: u64, len: u64, _may_unmap: bool) -> Result<(), BlockError> {
        self.0.write_zeroes(offset, len, false)
    }

    fn resize(&self, len: u64) -> Result<(), BlockError> {
        self.0.resize(len)
    }

    fn hurry(&self, hurried: bool) {
        self.0.hurry(hurried);
    }

    fn give_up(&self) {
        self.0.give_up();
    }

    fn synced(&self, result: io::Result<()>) -> Result<(), BlockError> {
        self.0.synced(result)
    }

    fn raw(&self) -> Option<RawAccess<'_>> {
        self.0.raw()
    }
}
