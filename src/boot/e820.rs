//! The memory map as firmware reports it: INT 15h AX=E820h (ACPI specification, "System Address Map Interfaces").
//!
//! The board builds one list; every boot protocol hands the same list to the guest in its own format. The numbers of
//! [`E820Kind`] are those of the interface, and `hvm_start_info` and multiboot use them unchanged.

use std::ops::Range;

/// What a range of guest physical addresses is (the type numbers of E820h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum E820Kind {
    /// Usable memory.
    Ram = 1,
    /// Not for use by the operating system.
    Reserved = 2,
    /// ACPI tables: memory that is free once they have been read.
    Acpi = 3,
    /// ACPI non-volatile storage: to be kept across sleep.
    Nvs = 4,
    /// Memory in which errors were found.
    Unusable = 5,
    /// Persistent memory.
    Pmem = 7,
}

/// One line of the memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct E820Entry {
    /// First guest physical address.
    pub addr: u64,
    /// Length in bytes.
    pub size: u64,
    /// What is there.
    pub kind: E820Kind,
}

impl E820Entry {
    /// An entry of `size` bytes from `addr` on.
    pub const fn new(addr: u64, size: u64, kind: E820Kind) -> Self {
        Self { addr, size, kind }
    }

    /// The addresses covered; an entry that would wrap is cut off at the top of the address space.
    pub const fn range(&self) -> Range<u64> {
        self.addr..self.addr.saturating_add(self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapping_entry_is_cut_off() {
        let e = E820Entry::new(u64::MAX - 1, 16, E820Kind::Reserved);
        assert_eq!(e.range(), u64::MAX - 1..u64::MAX);
    }
}
