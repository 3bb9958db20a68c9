//! Stretches of guest RAM that a back end reads or fills.

use smallvec::SmallVec;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, VolatileSlice};

use super::dma::{Dma, DmaError, GuestRam};

/// Addresses and lengths of stretches. Most requests have one or two, for which nothing is allocated.
pub type Ranges = SmallVec<[(u64, u32); 2]>;

/// A list of stretches of guest RAM, one after the other. It stays valid as long as it lives, whatever the guest does; what is in it
/// the guest may change at any time.
#[derive(Clone)]
pub struct GuestBuffer {
    ram: GuestRam,
    /// Addresses and lengths, all of them RAM.
    ranges: Ranges,
    len: usize,
}

impl Dma {
    /// The bytes at these addresses, one stretch after the other.
    ///
    /// # Errors
    /// The gate is closed or part of a stretch is not RAM.
    pub fn buffer(&self, ranges: impl Into<Ranges>) -> Result<GuestBuffer, DmaError> {
        self.check()?;
        self.buffer_in_ram(ranges)
    }

    /// As [`Self::buffer`] whether the gate is open or not: for a transfer that began while it was.
    ///
    /// # Errors
    /// Part of a stretch is not RAM.
    pub fn buffer_in_ram(&self, ranges: impl Into<Ranges>) -> Result<GuestBuffer, DmaError> {
        let ranges = ranges.into();
        for (address, len) in &ranges {
            let len = *len as usize;
            if self.slice(*address, len).is_none() && !self.ram().check_range(GuestAddress(*address), len) {
                return Err(DmaError::NotRam { address: *address, len });
            }
        }
        let len = ranges.iter().map(|(_, len)| *len as usize).sum();
        Ok(GuestBuffer { ram: GuestRam::clone(self.ram()), ranges, len })
    }

    /// A buffer of no bytes.
    #[must_use]
    pub fn nowhere(&self) -> GuestBuffer {
        GuestBuffer { ram: GuestRam::clone(self.ram()), ranges: Ranges::new(), len: 0 }
    }
}

impl GuestBuffer {
    /// Bytes in all stretches.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first `len` bytes, or all if there are fewer.
    #[must_use]
    pub fn first(&self, len: usize) -> Self {
        self.part(0, len)
    }

    /// The `len` bytes from `start` on, or as many of them as there are.
    #[must_use]
    pub fn part(&self, start: usize, len: usize) -> Self {
        let mut ranges = Ranges::with_capacity(self.ranges.len());
        let mut total = 0;
        self.parts(start, len, |address, len| {
            // A part of a stretch is no longer than the stretch.
            ranges.push((address, len as u32));
            total += len;
        });
        Self { ram: GuestRam::clone(&self.ram), ranges, len: total }
    }

    /// Guest-physical addresses and lengths.
    #[must_use]
    pub fn ranges(&self) -> &[(u64, u32)] {
        &self.ranges
    }

    /// The stretches as the host has them mapped, for system calls that take vectors.
    pub fn slices(&self) -> impl Iterator<Item = VolatileSlice<'_>> {
        let slices = |&(address, len): &(u64, u32)| self.ram.get_slices(GuestAddress(address), len as usize);
        self.ranges.iter().flat_map(slices).flatten()
    }

    /// Replaces the bytes from `start` on by `data`. What does not fit is left out.
    pub fn fill_from(&self, start: usize, data: &[u8]) {
        let mut done = 0;
        self.parts(start, data.len(), |address, len| {
            // It has been found to be RAM.
            let (at, part) = (GuestAddress(address), &data[done..done + len]);
            match self.ram.get_slice(at, len) {
                Ok(slice) => slice.copy_from(part),
                Err(_) => drop(self.ram.write_slice(part, at)),
            }
            done += len;
        });
    }

    /// Copies the bytes from `start` on to `data`. What does not exist is left as it is.
    pub fn copy_to(&self, start: usize, data: &mut [u8]) {
        let mut done = 0;
        self.parts(start, data.len(), |address, len| {
            let (at, part) = (GuestAddress(address), &mut data[done..done + len]);
            match self.ram.get_slice(at, len) {
                Ok(slice) => drop(slice.copy_to(part)),
                Err(_) => drop(self.ram.read_slice(part, at)),
            }
            done += len;
        });
    }

    /// The addresses of `len` bytes from `start` on, stretch by stretch.
    fn parts(&self, start: usize, len: usize, mut each: impl FnMut(u64, usize)) {
        let (mut skip, mut left) = (start, len);
        for (address, size) in self.ranges.iter().map(|(address, len)| (*address, *len as usize)) {
            let from = skip.min(size);
            let part = (size - from).min(left);
            if part > 0 {
                each(address + from as u64, part);
            }
            skip -= from;
            left -= part;
        }
    }
}

impl std::fmt::Debug for GuestBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes of RAM at {:x?}", self.len, self.ranges)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::BusMaster;
    use vm_memory::GuestMemoryMmap;

    #[test]
    fn stretches_are_filled_one_after_the_other_and_checked() {
        let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000), (GuestAddress(0x1000), 0x1000)]).unwrap();
        let dma = Dma::new(Arc::new(ram), BusMaster::always());
        let buffer = dma.buffer(vec![(0xffe, 4), (0, 0), (0x10, 3)]).unwrap();
        assert_eq!((buffer.len(), buffer.slices().map(|slice| slice.len()).collect::<Vec<_>>()), (7, vec![2, 2, 3]));
        buffer.fill_from(0, b"abcdefg");
        let mut data = [0; 9];
        buffer.copy_to(3, &mut data);
        assert_eq!(data, *b"defg\0\0\0\0\0");
        buffer.fill_from(5, b"XYZ");
        let mut stretch = [0; 4];
        dma.read(0x10, &mut stretch).unwrap();
        assert_eq!(stretch, *b"eXY\0");
        assert_eq!((buffer.first(5).ranges(), buffer.first(5).len()), (&[(0xffe, 4), (0x10, 1)][..], 5));
        assert_eq!((buffer.part(3, 2).ranges(), buffer.part(3, 2).len()), (&[(0x1001, 1), (0x10, 1)][..], 2));
        assert_eq!((buffer.part(6, 9).ranges(), buffer.part(7, 1).len()), (&[(0x12, 1)][..], 0));
        assert!(matches!(dma.buffer(vec![(0x1fff, 2)]), Err(DmaError::NotRam { .. })));
        assert!(dma.buffer(vec![(u64::MAX, 2)]).is_err());
        let closed = Dma::new(GuestRam::clone(dma.ram()), BusMaster::closed());
        assert!(matches!(closed.buffer(vec![(0, 1)]), Err(DmaError::Disabled)));
        assert!(closed.buffer_in_ram(vec![(0, 1)]).is_ok());
    }
}
