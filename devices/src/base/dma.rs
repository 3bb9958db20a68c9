//! Bus-master access to guest RAM.
//!
//! A handle reaches RAM only: a device can't be re-entered through its own transfers. While the gate of its function
//! (Bus Master Enable) is closed every access fails, which the device reports as its data sheet says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vm_memory::{
    AtomicAccess, ByteValued, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
    VolatileSlice,
};

/// The guest's RAM.
pub type GuestRam = Arc<GuestMemoryMmap<()>>;

/// The gate in front of a function's transfers: bit 2 of its PCI command register, or always open off PCI. Behind a
/// bridge the bridge's own gate has to be open too.
#[derive(Clone, Debug)]
pub struct BusMaster(Arc<Gate>);

#[derive(Debug)]
struct Gate {
    open: AtomicBool,
    upstream: Option<BusMaster>,
}

impl BusMaster {
    fn new(open: bool, upstream: Option<Self>) -> Self {
        Self(Arc::new(Gate { open: AtomicBool::new(open), upstream }))
    }

    /// A gate that stays open, for masters on the board itself.
    #[must_use]
    pub fn always() -> Self {
        Self::new(true, None)
    }

    /// A closed gate.
    #[must_use]
    pub fn closed() -> Self {
        Self::new(false, None)
    }

    /// A closed gate for a function behind the bridge that this gate belongs to.
    #[must_use]
    pub fn behind(&self) -> Self {
        Self::new(false, Some(self.clone()))
    }

    /// Opens or closes the gate.
    pub fn set(&self, open: bool) {
        self.0.open.store(open, Ordering::Release);
    }

    /// Whether transfers pass.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.open.load(Ordering::Acquire) && self.0.upstream.as_ref().is_none_or(Self::is_open)
    }
}

/// Why a transfer failed.
#[derive(Debug, thiserror::Error)]
pub enum DmaError {
    /// Bus Master Enable is clear.
    #[error("bus mastering is disabled")]
    Disabled,
    /// Part of the range is not RAM.
    #[error("guest address {address:#x}+{len:#x} is not RAM")]
    NotRam {
        /// First guest-physical address of the transfer.
        address: u64,
        /// Its length in bytes.
        len: usize,
    },
}

/// A device's way to guest RAM.
#[derive(Clone)]
pub struct Dma {
    ram: GuestRam,
    gate: BusMaster,
}

impl Dma {
    /// Access to `ram` through `gate`.
    #[must_use]
    pub fn new(ram: GuestRam, gate: BusMaster) -> Self {
        Self { ram, gate }
    }

    /// Whether the gate is open.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.gate.is_open()
    }

    pub(super) fn ram(&self) -> &GuestRam {
        &self.ram
    }

    /// Reads guest RAM at `address`.
    ///
    /// # Errors
    /// The gate is closed or part of the range is not RAM; `data` is then undefined.
    pub fn read(&self, address: u64, data: &mut [u8]) -> Result<(), DmaError> {
        self.check()?;
        let len = data.len();
        if let Some(slice) = self.slice(address, len) {
            slice.copy_to(data);
            return Ok(());
        }
        self.ram.read_slice(data, GuestAddress(address)).map_err(|_| DmaError::NotRam { address, len })
    }

    /// Writes guest RAM at `address`.
    ///
    /// # Errors
    /// The gate is closed or part of the range is not RAM; what lies before that part has been written.
    pub fn write(&self, address: u64, data: &[u8]) -> Result<(), DmaError> {
        self.check()?;
        if let Some(slice) = self.slice(address, data.len()) {
            slice.copy_from(data);
            return Ok(());
        }
        self.ram.write_slice(data, GuestAddress(address)).map_err(|_| DmaError::NotRam { address, len: data.len() })
    }

    /// Reads one value, in the guest's (little-endian) representation.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_value<T: ByteValued>(&self, address: u64) -> Result<T, DmaError> {
        self.check()?;
        self.ram.read_obj(GuestAddress(address)).map_err(|_| DmaError::NotRam { address, len: size_of::<T>() })
    }

    /// Writes one value, in the guest's (little-endian) representation.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_value<T: ByteValued>(&self, address: u64, value: T) -> Result<(), DmaError> {
        self.check()?;
        self.ram.write_obj(value, GuestAddress(address)).map_err(|_| DmaError::NotRam { address, len: size_of::<T>() })
    }

    /// Reads one value that a processor may write at the same time, with a barrier of the given order. The address has to be a multiple
    /// of its size.
    ///
    /// # Errors
    /// As [`Self::read`], or the address is not aligned.
    pub fn load<T: AtomicAccess>(&self, address: u64, order: Ordering) -> Result<T, DmaError> {
        self.check()?;
        let loaded = self.slice(address, size_of::<T>()).and_then(|slice| slice.load(0, order).ok());
        loaded.ok_or(DmaError::NotRam { address, len: size_of::<T>() })
    }

    /// Writes one value that a processor may read at the same time, with a barrier of the given order. The address has to be a
    /// multiple of its size.
    ///
    /// # Errors
    /// As [`Self::write`], or the address is not aligned.
    pub fn store<T: AtomicAccess>(&self, address: u64, value: T, order: Ordering) -> Result<(), DmaError> {
        self.check()?;
        let stored = self.slice(address, size_of::<T>()).and_then(|slice| slice.store(value, 0, order).ok());
        stored.ok_or(DmaError::NotRam { address, len: size_of::<T>() })
    }

    /// How many of the `len` bytes at `address` are alike: of one block of RAM, or no RAM. At least 1, unless `len` is 0.
    #[must_use]
    pub fn extent(&self, address: u64, len: usize) -> usize {
        let last = match self.ram.find_region(GuestAddress(address)) {
            Some(region) => Some(region.last_addr().0),
            None => {
                let starts = self.ram.iter().map(|region| region.start_addr().0);
                starts.filter(|start| *start > address).min().map(|next| next - 1)
            }
        };
        let room = last.map_or(u64::MAX, |last| (last - address).saturating_add(1));
        len.min(usize::try_from(room).unwrap_or(usize::MAX))
    }

    /// A stretch, unless it is not all in one block of RAM. Nearly all are, and this is the short way to them.
    pub(super) fn slice(&self, address: u64, len: usize) -> Option<VolatileSlice<'_>> {
        self.ram.get_slice(GuestAddress(address), len).ok()
    }

    pub(super) fn check(&self) -> Result<(), DmaError> {
        if self.gate.is_open() { Ok(()) } else { Err(DmaError::Disabled) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_gate_and_holes_are_errors() {
        let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
        let gate = BusMaster::closed();
        let dma = Dma::new(Arc::new(ram), gate.clone());
        assert!(matches!(dma.write(0, &[1]), Err(DmaError::Disabled)));
        gate.set(true);
        dma.write_value(0xffc, 0x1234_5678_u32).unwrap();
        assert_eq!(dma.read_value::<u16>(0xffe).unwrap(), 0x1234);
        assert!(matches!(dma.read_value::<u32>(0xffe), Err(DmaError::NotRam { address: 0xffe, len: 4 })));
        assert!(dma.write(u64::MAX, &[0; 2]).is_err());
    }

    /// A transfer that began in one block of RAM and was longer went on behind the block in the host's memory.
    #[test]
    fn cve_2017_11334_transfers_across_the_end_of_a_block_of_ram() {
        let block = |start| (GuestAddress(start), 0x1000);
        let ram = Arc::new(GuestMemoryMmap::from_ranges(&[block(0), block(0x1000), block(0x4000)]).unwrap());
        let dma = Dma::new(ram, BusMaster::always());
        // Into the next block, which is elsewhere in the host's memory.
        dma.write(0xff8, &[0x5a; 16]).unwrap();
        for address in [0xff8, 0x1000] {
            assert_eq!(dma.read_value::<u64>(address).unwrap(), u64::from_ne_bytes([0x5a; 8]), "{address:#x}");
        }
        // Out of RAM.
        let mut data = vec![0; 0x10_0000];
        for (address, len) in [(0x1ff8, 16), (0x1000, 0x1001), (0x4ff8, 0x10_0000), (0, 0x10_0000)] {
            assert!(matches!(dma.write(address, &data[..len]), Err(DmaError::NotRam { .. })), "{address:#x} {len:#x}");
            assert!(matches!(dma.read(address, &mut data[..len]), Err(DmaError::NotRam { .. })), "{address:#x}");
            data.fill(0);
        }
    }

    #[test]
    fn the_extent_ends_where_ram_begins_or_ends() {
        let block = |start, len| (GuestAddress(start), len);
        let ram =
            GuestMemoryMmap::from_ranges(&[block(0, 0x1000), block(0x1000, 0x1000), block(0x4000, 0x1000)]).unwrap();
        let dma = Dma::new(Arc::new(ram), BusMaster::always());
        for (address, len, extent) in [
            (0, 0x10, 0x10),
            (0xff0, 0x20, 0x10),
            (0x1ff0, 0x20, 0x10),
            (0x2000, 0x10_0000, 0x2000),
            (0x3fff, 2, 1),
            (0x5000, usize::MAX, usize::MAX),
            (u64::MAX, 7, 7),
            (0, 0, 0),
        ] {
            assert_eq!(dma.extent(address, len), extent, "{address:#x} {len:#x}");
        }
    }
}
