//! Which RAM is still free while a guest is being laid out.
//!
//! Everything that a boot puts into guest memory is taken from one [`FreeRam`], so no two things can overlap, and nothing
//! lands on what the board has put there (ACPI tables, BIOS data) or on what the memory map does not call RAM.

use std::ops::Range;

use super::e820::{E820Entry, E820Kind};
use super::ram::MemoryError;

/// What an allocation may use: everything below 4 GiB is reachable in every CPU mode a kernel starts in.
pub(super) const BELOW_4G: Range<u64> = 0x1000..1 << 32;

/// Conventional memory without its first page, which belongs to the interrupt vectors and the BIOS data area.
const CONVENTIONAL: Range<u64> = 0x1000..0xa_0000;

const MIB: u64 = 1 << 20;

/// With more than this, part of RAM is above 4 GiB, and what is below does not grow with `-m` any more.
const MOST_LOW_RAM: u64 = 3 << 30;

/// RAM that nobody has claimed.
pub(super) struct FreeRam {
    /// Disjoint, in ascending order.
    free: Vec<Range<u64>>,
    /// End of the RAM that starts at or covers 1 MiB.
    end_of_low_ram: u64,
    /// Bytes directly above `end_of_low_ram` that the memory map gives to something else (tables at the end of RAM).
    beyond_low_ram: u64,
}

/// Why something cannot be put into guest memory.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The range ends above RAM, and more RAM would help.
    #[error("it needs guest memory up to {end:#x}: give the machine at least `-m {mib}M`")]
    TooLittleRam {
        /// First address after what is needed.
        end: u64,
        /// The least amount of memory that would do, in MiB.
        mib: u64,
    },
    /// The range is one that no amount of RAM provides, or that the machine itself uses.
    #[error(
        "it needs guest memory from {start:#x} to {end:#x}, which is not free RAM on this machine; the image is linked for a \
         different memory map"
    )]
    Unavailable {
        /// First address needed.
        start: u64,
        /// First address after what is needed.
        end: u64,
    },
    /// Nothing free is large enough in the part of memory where it may go.
    #[error("it needs {size} contiguous bytes below {below:#x}, more than this machine can have free there")]
    TooLarge {
        /// How much is needed in bytes.
        size: u64,
        /// First address above the part of memory where it may go.
        below: u64,
    },
    /// The memory map and guest memory disagree.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

impl FreeRam {
    /// The RAM of `e820` without what overlaps an entry of another kind or one of `reserved`.
    pub(super) fn new(e820: &[E820Entry], reserved: &[Range<u64>]) -> Self {
        let (ram, other): (Vec<E820Entry>, Vec<E820Entry>) = e820.iter().partition(|e| e.kind == E820Kind::Ram);
        let mut this =
            Self { free: merge(ram.iter().map(|e| e.range()).collect()), end_of_low_ram: 0, beyond_low_ram: 0 };
        this.end_of_low_ram = (this.free.iter()).find(|r| r.contains(&MIB)).map_or(0, |r| r.end);
        this.beyond_low_ram = (merge(other.iter().map(|e| e.range()).collect()).iter())
            .find(|r| r.contains(&this.end_of_low_ram))
            .map_or(0, |r| r.end - this.end_of_low_ram);
        for range in other.iter().map(|e| e.range()) {
            this.remove(&range);
        }
        for range in reserved {
            this.remove(range);
        }
        this
    }

    /// Claims exactly `range`.
    pub(super) fn take(&mut self, range: Range<u64>) -> Result<(), PlaceError> {
        if range.is_empty() {
            return Ok(());
        }
        if !self.is_free(&range) {
            return Err(self.refusal(range));
        }
        self.remove(&range);
        Ok(())
    }

    /// Whether all of `range` is free.
    pub(super) fn is_free(&self, range: &Range<u64>) -> bool {
        (self.free.iter()).any(|r| r.start <= range.start && range.end <= r.end)
    }

    /// Claims `size` bytes aligned to `align` (a power of two) inside `within`, as low as possible.
    pub(super) fn take_lowest(&mut self, size: u64, align: u64, within: Range<u64>) -> Option<u64> {
        let start = self.free.iter().find_map(|r| {
            let start = r.start.max(within.start).checked_next_multiple_of(align)?;
            let end = start.checked_add(size)?;
            (end <= r.end.min(within.end)).then_some(start)
        })?;
        self.remove(&(start..start + size));
        Some(start)
    }

    /// Claims `size` bytes aligned to `align` (a power of two) inside `within`, as high as possible.
    pub(super) fn take_highest(&mut self, size: u64, align: u64, within: Range<u64>) -> Option<u64> {
        let start = self.free.iter().rev().find_map(|r| {
            let start = r.end.min(within.end).checked_sub(size)? & !(align - 1);
            (start >= r.start.max(within.start)).then_some(start)
        })?;
        self.remove(&(start..start + size));
        Some(start)
    }

    /// Claims memory for the small structures that a kernel reads at its start: conventional memory, as boot loaders use
    /// it and kernels expect it, or the lowest free place above where that is full.
    pub(super) fn take_for_boot_data(&mut self, size: u64, align: u64) -> Result<u64, PlaceError> {
        self.take_lowest(size, align, CONVENTIONAL)
            .or_else(|| self.take_lowest(size, align, BELOW_4G))
            .ok_or(PlaceError::TooLarge { size, below: BELOW_4G.end })
    }

    /// Why `range` can't be had: too little memory, or the wrong memory.
    pub(super) fn refusal(&self, range: Range<u64>) -> PlaceError {
        let needed = range.end.saturating_add(self.beyond_low_ram);
        if range.start >= MIB && range.end > self.end_of_low_ram && needed <= MOST_LOW_RAM {
            PlaceError::TooLittleRam { end: range.end, mib: needed.div_ceil(MIB) }
        } else {
            PlaceError::Unavailable { start: range.start, end: range.end }
        }
    }

    fn remove(&mut self, range: &Range<u64>) {
        if range.is_empty() {
            return;
        }
        self.free = (self.free.iter())
            .flat_map(|r| [r.start..r.end.min(range.start), r.start.max(range.end)..r.end])
            .filter(|r| !r.is_empty())
            .collect();
    }
}

/// Sorts ranges and joins those that touch or overlap.
fn merge(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|r| !r.is_empty());
    ranges.sort_by_key(|r| r.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}
