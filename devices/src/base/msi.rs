//! Interrupts as messages to local APICs.

use std::ops::RangeInclusive;

use super::Delivery;

/// A message: a write of `data` to `address`, as PCI MSI and the Intel SDM (volume 3, "Message Signalled Interrupts")
/// define it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msi {
    /// Destination, in FEExxxxxh.
    pub address: u64,
    /// Vector, delivery mode, trigger mode.
    pub data: u32,
}

impl Msi {
    /// The lowest address of a message: physical destination 0, the processor with that APIC id.
    pub const BASE: u64 = 0xfee0_0000;
    /// The addresses that are messages; all others are memory.
    pub const ADDRESSES: RangeInclusive<u64> = Self::BASE..=0xfeef_ffff;
    /// Bit of an address: the destination is logical.
    pub const LOGICAL: u64 = 1 << 2;
    /// Position of the destination in an address.
    pub const DESTINATION_SHIFT: u32 = 12;
    /// Position of 7 more bits of the destination, for processors that know KVM_FEATURE_MSI_EXT_DEST_ID.
    pub const EXTENDED_DESTINATION_SHIFT: u32 = 5;
    /// Position of the delivery mode in the data.
    pub const DELIVERY_MODE_SHIFT: u32 = 8;
    /// Bits of the data: asserted, level triggered.
    pub const LEVEL: u32 = 0b11 << 14;
}

/// Where messages go. Called with a device's lock held: a leaf.
pub trait MsiSink: Send + Sync {
    /// Sends a message.
    fn send(&self, message: Msi) -> Delivery;
}

/// The local APICs as the I/O APIC sees them. A leaf too.
pub trait ApicBus: MsiSink {
    /// From now on pin `pin` asks for `message`, level triggered, and wants to be told its end; or no longer (`None`).
    fn watch_end(&self, pin: u8, message: Option<Msi>);
}
