//! The guest while it is being laid out: its memory, what the board says about it, and what is still free.

use std::ops::Range;

use vm_memory::GuestMemoryMmap;

use super::Platform;
use super::e820::E820Kind;
use super::place::{FreeRam, PlaceError};
use super::ram;

/// Guest memory and the rules for using it.
pub(super) struct Guest<'a> {
    pub(super) mem: &'a GuestMemoryMmap,
    pub(super) platform: &'a Platform<'a>,
    pub(super) free: FreeRam,
}

impl<'a> Guest<'a> {
    pub(super) fn new(mem: &'a GuestMemoryMmap, platform: &'a Platform<'a>) -> Self {
        Self { mem, platform, free: FreeRam::new(platform.e820, platform.reserved) }
    }

    /// Stores something small that the kernel reads at its start, aligned to `align`; returns its address.
    pub(super) fn put(&mut self, bytes: &[u8], align: u64) -> Result<u64, PlaceError> {
        let addr = self.free.take_for_boot_data(bytes.len() as u64, align)?;
        ram::write(self.mem, addr, bytes)?;
        Ok(addr)
    }

    /// Stores a string with a zero at its end; returns its address.
    pub(super) fn put_string(&mut self, text: &[u8]) -> Result<u64, PlaceError> {
        let mut bytes = text.to_vec();
        bytes.push(0);
        self.put(&bytes, 16)
    }

    /// Clears part of a kernel's memory that its file has no bytes for, unless it is clear anyway.
    pub(super) fn clear(&self, range: Range<u64>) -> Result<(), PlaceError> {
        if !self.platform.ram_is_clear {
            ram::clear(self.mem, range.start, range.end - range.start)?;
        }
        Ok(())
    }

    /// End of the RAM that is contiguous from `addr` on; `addr` itself if there is none.
    pub(super) fn ram_from(&self, addr: u64) -> u64 {
        let ram_at =
            |addr: u64| (self.platform.e820.iter()).find(|e| e.kind == E820Kind::Ram && e.range().contains(&addr));
        let mut end = addr;
        while let Some(entry) = ram_at(end) {
            end = entry.range().end;
        }
        end
    }
}
