//! Chains of descriptors.

use serde::{Deserialize, Serialize};

use super::RingError;
use crate::base::{Dma, GuestBuffer, Ranges};

/// Most descriptors of a chain, whatever the size of a table.
pub const MOST_DESCRIPTORS: usize = 1024;

/// Bytes of a descriptor.
pub const DESCRIPTOR: u64 = 16;

/// Flags of a descriptor.
pub mod flag {
    /// Another one follows.
    pub const NEXT: u16 = 1 << 0;
    /// The device writes.
    pub const WRITE: u16 = 1 << 1;
    /// It stands for a table.
    pub const INDIRECT: u16 = 1 << 2;
}

/// Names a chain that the device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainId {
    /// The queue it came by.
    pub queue: u16,
    /// Its name on the queue: the number of its first descriptor, or of its buffer in the packed format.
    pub id: u16,
    /// Entries of a packed ring that it takes; 1 in the split format.
    pub entries: u16,
}

/// A request of the driver: bytes for the device to read, and then room for it to write.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Its name.
    pub id: ChainId,
    /// What the device reads.
    pub readable: GuestBuffer,
    /// What the device writes.
    pub writable: GuestBuffer,
}

/// Where a descriptor of the split format leads. The two formats have the same 16 bytes for different uses.
#[derive(Clone, Copy)]
pub struct Descriptor {
    pub address: u64,
    pub len: u32,
    /// Flags in the split format; the buffer's id in the packed one.
    pub third: u16,
    /// Number of the next in the split format; flags in the packed one.
    pub fourth: u16,
}

impl Descriptor {
    /// Reads entry `index` of a table.
    pub fn read(dma: &Dma, table: u64, index: u16) -> Result<Self, RingError> {
        let mut bytes = [0; DESCRIPTOR as usize];
        dma.read(table.wrapping_add(u64::from(index) * DESCRIPTOR), &mut bytes)?;
        let value = u128::from_le_bytes(bytes);
        Ok(Self {
            address: value as u64,
            len: (value >> 64) as u32,
            third: (value >> 96) as u16,
            fourth: (value >> 112) as u16,
        })
    }
}

/// Collects the stretches of a chain.
#[derive(Default)]
pub struct Collector {
    readable: Ranges,
    writable: Ranges,
}

impl Collector {
    /// One more descriptor.
    pub fn add(&mut self, address: u64, len: u32, flags: u16) -> Result<(), RingError> {
        if self.readable.len() + self.writable.len() >= MOST_DESCRIPTORS {
            return Err(RingError::Endless { most: MOST_DESCRIPTORS });
        }
        if len == 0 {
            return Err(RingError::Empty);
        }
        match flags & flag::WRITE != 0 {
            true => self.writable.push((address, len)),
            false if self.writable.is_empty() => self.readable.push((address, len)),
            false => return Err(RingError::Order),
        }
        Ok(())
    }

    /// The chain with what was collected.
    pub fn finish(self, dma: &Dma, id: ChainId) -> Result<Chain, RingError> {
        Ok(Chain { id, readable: dma.buffer(self.readable)?, writable: dma.buffer(self.writable)? })
    }
}

/// The number of entries of a table that a descriptor stands for.
pub fn table_entries(len: u32) -> Result<u32, RingError> {
    if len == 0 || !u64::from(len).is_multiple_of(DESCRIPTOR) {
        return Err(RingError::Indirect("is no whole number of them"));
    }
    Ok(len / DESCRIPTOR as u32)
}
