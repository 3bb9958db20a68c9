//! The map from addresses to devices, and the adaptation of guest accesses to native registers.
//!
//! The map is immutable and swapped as a whole, so that vCPUs read it without a lock; it is released before a device
//! is called. Edits are serialised by a mutex under which no device is called.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use super::io::{IoDevice, Region, Space};
use super::lock;

/// Who wins where windows overlap; among equals the one mapped first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// A window the guest places itself (a PCI BAR).
    Movable,
    /// A window of the board.
    Fixed,
    /// A window that deliberately covers part of a fixed one (CF9h inside CF8h-CFBh).
    Overlay,
}

/// Names a mapping for [`Bus::unmap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappingId(u64);

type SharedIo = Arc<Mutex<dyn IoDevice>>;

struct Mapping {
    id: MappingId,
    /// Where the window would begin if all of it were to be seen.
    base: u64,
    /// The part that is to be seen.
    part: RangeInclusive<u64>,
    region: Region,
    priority: Priority,
    device: SharedIo,
}

impl Mapping {
    fn first(&self) -> u64 {
        *self.part.start()
    }

    fn last(&self) -> u64 {
        *self.part.end()
    }

    /// Whether an access of `size` bytes at `address`, which is inside, is one to a native register.
    fn takes_natively(&self, address: u64, size: usize) -> bool {
        let rule = &self.region.rule;
        rule.takes(size) && rule.is_native(address - self.base, size) && self.holds(address, size)
    }

    /// Whether `size` bytes from `address`, which is inside, are inside too.
    fn holds(&self, address: u64, size: usize) -> bool {
        size as u64 - 1 <= self.last() - address
    }
}

/// A stretch of addresses that belongs to one mapping.
struct Range {
    first: u64,
    last: u64,
    mapping: Arc<Mapping>,
}

#[derive(Default)]
struct Map {
    /// Sorted by address, disjoint.
    ranges: Vec<Range>,
}

impl Map {
    fn find(&self, address: u64) -> Option<&Range> {
        let next = self.ranges.partition_point(|range| range.first <= address);
        self.ranges[..next].last().filter(|range| address <= range.last)
    }

    /// Lays the mappings over each other: the strongest first, the others into the gaps that are left.
    fn flatten(mappings: &[Arc<Mapping>]) -> Self {
        let mut order: Vec<_> = mappings.iter().collect();
        order.sort_by_key(|mapping| (std::cmp::Reverse(mapping.priority), mapping.id.0));
        let mut ranges: Vec<Range> = Vec::with_capacity(mappings.len());
        for mapping in order {
            let mut first = mapping.first();
            let mut at = ranges.partition_point(|range| range.last < first);
            loop {
                let gap_last = match ranges.get(at) {
                    Some(next) if next.first <= mapping.last() => next.first.checked_sub(1),
                    _ => Some(mapping.last()),
                };
                if let Some(last) = gap_last
                    && first <= last
                {
                    ranges.insert(at, Range { first, last, mapping: Arc::clone(mapping) });
                    at += 1;
                }
                match ranges.get(at) {
                    Some(next) if next.first <= mapping.last() && next.last < mapping.last() => first = next.last + 1,
                    _ => break,
                }
                at += 1;
            }
        }
        Self { ranges }
    }
}

/// One address space with its devices.
pub struct Bus {
    space: Space,
    map: ArcSwap<Map>,
    mappings: Mutex<Vec<Arc<Mapping>>>,
    next_id: AtomicU64,
    unclaimed: AtomicU64,
    refused: AtomicU64,
}

/// A native access that covers part of a guest access.
struct Piece {
    /// Offset of the register in the window.
    offset: u64,
    /// Size of the register in bytes.
    size: u8,
    /// First byte of the register that belongs to the access.
    skip: usize,
    /// Number of bytes of the access it covers.
    len: usize,
}

impl Piece {
    /// The widest native register that covers the start of `[offset, offset + remaining)`.
    fn at(mapping: &Mapping, address: u64, remaining: usize) -> Self {
        let (rule, offset) = (mapping.region.rule, address - mapping.base);
        let in_window = usize::try_from(mapping.last() - address).unwrap_or(usize::MAX).saturating_add(1);
        let mut size = rule.native_max();
        while size > rule.native_min()
            && (!offset.is_multiple_of(u64::from(size)) || usize::from(size) > remaining.min(in_window))
        {
            size /= 2;
        }
        let start = offset - offset % u64::from(size);
        let skip = usize::try_from(offset - start).unwrap_or(0);
        let len = (usize::from(size) - skip).min(remaining).min(in_window);
        Self { offset: start, size, skip, len }
    }

    fn is_partial(&self) -> bool {
        self.len != usize::from(self.size)
    }
}

impl Bus {
    /// An empty space.
    #[must_use]
    pub fn new(space: Space) -> Self {
        Self {
            space,
            map: ArcSwap::default(),
            mappings: Mutex::default(),
            next_id: AtomicU64::new(0),
            unclaimed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Makes a device's window appear at `base`. Parts that a stronger mapping holds stay with that mapping, and
    /// come to this one when the stronger one goes.
    pub fn map(&self, base: u64, region: Region, priority: Priority, device: SharedIo) -> MappingId {
        let last = base.saturating_add(region.len - 1);
        self.map_part(base, base..=last, region, priority, device)
    }

    /// As [`Self::map`], but only `part` of the window is seen: what the bridges above a device let through to it.
    pub fn map_part(
        &self,
        base: u64,
        part: RangeInclusive<u64>,
        region: Region,
        priority: Priority,
        device: SharedIo,
    ) -> MappingId {
        debug_assert_eq!(region.space, self.space, "{} mapped in the wrong space", region.name);
        debug_assert!(base <= *part.start() && part.start() <= part.end() && part.end() - base < region.len);
        let id = MappingId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let mapping = Arc::new(Mapping { id, base, part, region, priority, device });
        let mut mappings = lock(&self.mappings);
        mappings.push(mapping);
        self.map.store(Arc::new(Map::flatten(&mappings)));
        id
    }

    /// Removes a mapping. An access that found it before may still be on its way to the device.
    pub fn unmap(&self, id: MappingId) {
        let mut mappings = lock(&self.mappings);
        mappings.retain(|mapping| mapping.id != id);
        self.map.store(Arc::new(Map::flatten(&mappings)));
    }

    /// Removes all mappings, so that devices which hold on to the bus can go.
    pub fn clear(&self) {
        let mut mappings = lock(&self.mappings);
        mappings.clear();
        self.map.store(Arc::default());
    }

    /// Number of accesses so far that no device claimed.
    #[must_use]
    pub fn unclaimed(&self) -> u64 {
        self.unclaimed.load(Ordering::Relaxed)
    }

    /// Number of accesses so far of a size that the addressed window does not take.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// The windows as they lie in the space: first and last address and name, in order of address.
    #[must_use]
    pub fn ranges(&self) -> Vec<(u64, u64, &'static str)> {
        self.map.load().ranges.iter().map(|range| (range.first, range.last, range.mapping.region.name)).collect()
    }

    /// Performs a read of any size. Bytes that nobody claims read as ones.
    pub fn read(&self, address: u64, data: &mut [u8]) {
        let Some(mapping) = self.find(address) else {
            data.fill(0xff);
            self.count_unclaimed("read", address, data.len());
            return;
        };
        if !mapping.region.rule.takes(data.len()) {
            data.fill(0xff);
            self.count_refused("read", &mapping, address, data.len());
            return;
        }
        let offset = address - mapping.base;
        if mapping.region.rule.is_native(offset, data.len()) && mapping.holds(address, data.len()) {
            let value = lock(&mapping.device).read(mapping.region.id, offset, size_of_slice(data));
            data.copy_from_slice(&value.to_le_bytes()[..data.len()]);
            self.trace(&mapping, "read", address, data);
            return;
        }
        self.for_pieces(address, data.len(), |done, piece| {
            let Some((mapping, piece)) = piece else {
                data[done] = 0xff;
                return;
            };
            let value = lock(&mapping.device).read(mapping.region.id, piece.offset, piece.size).to_le_bytes();
            data[done..done + piece.len].copy_from_slice(&value[piece.skip..piece.skip + piece.len]);
        });
        self.trace(&mapping, "read", address, data);
    }

    /// Performs a write of any size. Bytes that nobody claims vanish.
    pub fn write(&self, address: u64, data: &[u8]) {
        let Some(mapping) = self.find(address) else {
            self.count_unclaimed("write", address, data.len());
            return;
        };
        if !mapping.region.rule.takes(data.len()) {
            self.count_refused("write", &mapping, address, data.len());
            return;
        }
        self.trace(&mapping, "write", address, data);
        let offset = address - mapping.base;
        if mapping.region.rule.is_native(offset, data.len()) && mapping.holds(address, data.len()) {
            let mut value = [0; 8];
            value[..data.len()].copy_from_slice(data);
            let value = u64::from_le_bytes(value);
            lock(&mapping.device).write(mapping.region.id, offset, size_of_slice(data), value);
            return;
        }
        self.for_pieces(address, data.len(), |done, piece| {
            let Some((mapping, piece)) = piece else { return };
            let mut device = lock(&mapping.device);
            let mut value = [0; 8];
            if piece.is_partial() {
                // A narrower write than the register: the other bytes keep what they read as.
                value = device.read(mapping.region.id, piece.offset, piece.size).to_le_bytes();
                value[usize::from(piece.size)..].fill(0);
            }
            value[piece.skip..piece.skip + piece.len].copy_from_slice(&data[done..done + piece.len]);
            device.write(mapping.region.id, piece.offset, piece.size, u64::from_le_bytes(value));
        });
    }

    /// Performs reads of `size` bytes, all of the same address, one for each element of `data` (a string instruction).
    pub fn read_string(&self, address: u64, size: usize, data: &mut [u8]) {
        if data.len() > size
            && let Some(mapping) = self.find(address)
            && mapping.takes_natively(address, size)
        {
            let mut device = lock(&mapping.device);
            for element in data.chunks_exact_mut(size) {
                let value = device.read(mapping.region.id, address - mapping.base, size as u8);
                element.copy_from_slice(&value.to_le_bytes()[..size]);
                self.trace(&mapping, "read", address, element);
            }
            return;
        }
        data.chunks_mut(size.max(1)).for_each(|element| self.read(address, element));
    }

    /// Performs writes as [`Self::read_string`] does reads.
    pub fn write_string(&self, address: u64, size: usize, data: &[u8]) {
        if data.len() > size
            && let Some(mapping) = self.find(address)
            && mapping.takes_natively(address, size)
        {
            let mut device = lock(&mapping.device);
            for element in data.chunks_exact(size) {
                self.trace(&mapping, "write", address, element);
                let mut value = [0; 8];
                value[..size].copy_from_slice(element);
                device.write(mapping.region.id, address - mapping.base, size as u8, u64::from_le_bytes(value));
            }
            return;
        }
        data.chunks(size.max(1)).for_each(|element| self.write(address, element));
    }

    fn find(&self, address: u64) -> Option<Arc<Mapping>> {
        self.map.load().find(address).map(|range| Arc::clone(&range.mapping))
    }

    /// Cuts an access into native pieces; what runs past one window goes on in the next.
    fn for_pieces(&self, address: u64, len: usize, mut each: impl FnMut(usize, Option<(&Mapping, Piece)>)) {
        let mut done = 0;
        let mut current: Option<Arc<Mapping>> = None;
        while done < len {
            let at = address.wrapping_add(done as u64);
            if !current.as_ref().is_some_and(|mapping| mapping.part.contains(&at)) {
                current = self.find(at);
            }
            match &current {
                Some(mapping) => {
                    let piece = Piece::at(mapping, at, len - done);
                    let step = piece.len;
                    each(done, Some((mapping, piece)));
                    done += step;
                }
                None => {
                    each(done, None);
                    done += 1;
                }
            }
        }
    }

    /// One line for each access, under the name of the window.
    fn trace(&self, mapping: &Mapping, what: &str, address: u64, data: &[u8]) {
        log::trace!(target: "access", "{}: {:?} {what} at {address:#x}: {data:02x?}", mapping.region.name, self.space);
    }

    fn count_unclaimed(&self, what: &str, address: u64, size: usize) {
        self.unclaimed.fetch_add(1, Ordering::Relaxed);
        log::trace!(target: "unclaimed", "{:?} {what} of {size} bytes at {address:#x}", self.space);
    }

    fn count_refused(&self, what: &str, mapping: &Mapping, address: u64, size: usize) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        log::trace!(target: "refused", "{}: {what} of {size} bytes at {address:#x}", mapping.region.name);
    }
}

/// The size of an access that has been found native, hence at most 8.
fn size_of_slice(data: &[u8]) -> u8 {
    data.len() as u8
}

#[cfg(test)]
mod tests;
