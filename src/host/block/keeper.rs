//! `discard=ignore` of a node that another one is built on: what is not needed any more stays where it is.

use std::sync::Arc;

use devices::backend::block::BlockError;

use super::filter::Filter;
use super::node::{Node, RawAccess};

/// A node that gives nothing back.
pub(super) struct Keeper(pub Arc<dyn Node>);

impl Filter for Keeper {
    fn below(&self) -> &Arc<dyn Node> {
        &self.0
    }

    fn raw(&self) -> Option<RawAccess<'_>> {
        self.0.raw()
    }

    fn discard(&self, _offset: u64, _len: u64) -> Result<(), BlockError> {
        Ok(())
    }

    fn write_zeroes(&self, offset: u64, len: u64, _may_unmap: bool) -> Result<(), BlockError> {
        self.0.write_zeroes(offset, len, false)
    }
}
