//! Register windows and the accesses a guest may make to them.

use super::Device;

/// An address space of the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// I/O ports, 0 to FFFFh.
    Port,
    /// Guest-physical memory addresses.
    Memory,
}

/// Which accesses a window takes from the guest and in what form the device sees them.
///
/// The [`Bus`](super::Bus) splits, widens and merges between the two, so that a device only ever sees an aligned
/// access of a native size that lies inside its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessRule {
    guest_max: u8,
    guest_min: u8,
    native_max: u8,
    native_min: u8,
}

impl AccessRule {
    /// Guest accesses of 1 to 4 bytes, split into bytes: an 8-bit device on the ISA bus.
    pub const BYTE: Self = Self::native(1, 1);
    /// Guest accesses of 1 to 8 bytes, seen as aligned accesses of up to 4 bytes each at their own size.
    pub const UP_TO_DWORD: Self = Self::native(1, 4);
    /// Guest accesses of any size, seen as aligned 32-bit registers.
    pub const DWORD: Self = Self::native(4, 4);

    /// All guest sizes; native sizes `min` to `max` (powers of two, 1 to 8).
    #[must_use]
    pub const fn native(min: u8, max: u8) -> Self {
        assert!(min.is_power_of_two() && max.is_power_of_two() && min <= max && max <= 8);
        Self { guest_min: 1, guest_max: 8, native_min: min, native_max: max }
    }

    /// Restricts the sizes a guest may use. Other accesses read as all-ones and write nothing.
    #[must_use]
    pub const fn guest(mut self, min: u8, max: u8) -> Self {
        assert!(min.is_power_of_two() && max.is_power_of_two() && min <= max && max <= 8);
        self.guest_min = min;
        self.guest_max = max;
        self
    }

    /// Whether a guest access of `size` bytes is taken at all.
    #[must_use]
    pub fn takes(self, size: usize) -> bool {
        (usize::from(self.guest_min)..=usize::from(self.guest_max)).contains(&size)
    }

    /// Whether an access needs no splitting or widening.
    #[must_use]
    pub fn is_native(self, offset: u64, size: usize) -> bool {
        size.is_power_of_two()
            && (usize::from(self.native_min)..=usize::from(self.native_max)).contains(&size)
            && offset.is_multiple_of(size as u64)
    }

    /// Smallest access the device sees, in bytes.
    #[must_use]
    pub fn native_min(self) -> u8 {
        self.native_min
    }

    /// Largest access the device sees, in bytes.
    #[must_use]
    pub fn native_max(self) -> u8 {
        self.native_max
    }
}

/// One window of registers that a device offers. Where it appears is the board's decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Tells a device's windows apart in [`IoDevice::read`] and [`IoDevice::write`].
    pub id: u16,
    /// Name in traces and in the memory tree.
    pub name: &'static str,
    /// The space it belongs to.
    pub space: Space,
    /// Length in bytes, at least 1.
    pub len: u64,
    /// Accesses taken and their native form.
    pub rule: AccessRule,
}

impl Region {
    /// A window in port space.
    #[must_use]
    pub const fn ports(id: u16, name: &'static str, len: u64, rule: AccessRule) -> Self {
        Self { id, name, space: Space::Port, len, rule }
    }

    /// A window in memory space.
    #[must_use]
    pub const fn memory(id: u16, name: &'static str, len: u64, rule: AccessRule) -> Self {
        Self { id, name, space: Space::Memory, len, rule }
    }
}

/// A device with registers.
pub trait IoDevice: Device {
    /// Reads `size` bytes at `offset` of the window `region`, little-endian in the low bytes of the result.
    ///
    /// The bus guarantees a native size, alignment, and `offset + size <= len`.
    fn read(&mut self, region: u16, offset: u64, size: u8) -> u64;

    /// Writes the low `size` bytes of `value` (the rest is zero) at `offset` of the window `region`.
    fn write(&mut self, region: u16, offset: u64, size: u8, value: u64);
}
