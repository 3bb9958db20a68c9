//! `driver=raw` with an offset or a size: a part of what is below.

use std::sync::Arc;

use devices::backend::block::{BlockError, check_range};
use vm_memory::VolatileSlice;

use super::node::{Node, check_transfer};

/// A part of a node.
pub(super) struct Window {
    below: Arc<dyn Node>,
    offset: u64,
    len: u64,
}

impl Window {
    /// `len` bytes of `below` from `offset` on, which are all there.
    pub fn new(below: Arc<dyn Node>, offset: u64, len: u64) -> Self {
        Self { below, offset, len }
    }

    /// Where bytes of the window are below.
    fn place(&self, offset: u64, len: u64) -> Result<u64, BlockError> {
        check_range(self.len, offset, usize::try_from(len).unwrap_or(usize::MAX))?;
        Ok(self.offset + offset)
    }
}

impl Node for Window {
    fn len(&self) -> u64 {
        self.len
    }

    fn is_read_only(&self) -> bool {
        self.below.is_read_only()
    }

    fn read(&self, offset: u64, to: &[VolatileSlice<'_>]) -> Result<(), BlockError> {
        check_transfer(self.len, offset, to)?;
        self.below.read(self.offset + offset, to)
    }

    fn write(&self, offset: u64, from: &[VolatileSlice<'_>], durable: bool) -> Result<(), BlockError> {
        check_transfer(self.len, offset, from)?;
        self.below.write(self.offset + offset, from, durable)
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.below.flush()
    }

    fn discard(&self, offset: u64, len: u64) -> Result<(), BlockError> {
        self.below.discard(self.place(offset, len)?, len)
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> Result<(), BlockError> {
        self.below.write_zeroes(self.place(offset, len)?, len, may_unmap)
    }

    fn hurry(&self, hurried: bool) {
        self.below.hurry(hurried);
    }

    fn give_up(&self) {
        self.below.give_up();
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::Memory;
    use super::super::node::{read_bytes, write_bytes};
    use super::*;

    #[test]
    fn nothing_outside_is_reached() {
        let memory = Arc::new(Memory::new((0..8).collect()));
        let window = Window::new(Arc::clone(&memory) as _, 2, 4);
        let mut found = [0; 4];
        read_bytes(&window, 0, &mut found).unwrap();
        assert_eq!(found, [2, 3, 4, 5]);
        write_bytes(&window, 3, &mut [9], false).unwrap();
        window.write_zeroes(0, 1, false).unwrap();
        assert_eq!(memory.contents(), [0, 1, 0, 3, 4, 9, 6, 7]);
        for (offset, len) in [(4, 1), (3, 2), (u64::MAX, 1)] {
            assert!(read_bytes(&window, offset, &mut vec![0; len]).is_err());
            assert!(write_bytes(&window, offset, &mut vec![0; len], false).is_err());
            assert!(window.write_zeroes(offset, len as u64, true).is_err());
            assert!(window.discard(offset, len as u64).is_err());
        }
    }
}
