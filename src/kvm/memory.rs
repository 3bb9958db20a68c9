//! Memory slots: which guest-physical addresses are backed by guest RAM, or by memory of the host beside it (ROM).

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use devices::base::{GuestRam, lock};
use kvm_bindings::{KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use vm_memory::{GuestAddress, GuestMemoryBackend, MmapRegion, VolatileMemory, VolatileSlice};

/// Why a slot could not be set.
#[derive(Debug, thiserror::Error)]
#[error("can't map guest memory {:#x}-{:#x}", .range.start, .range.end)]
pub struct SlotError {
    range: Range<u64>,
    #[source]
    source: io::Error,
}

/// What the guest sees in a slot.
#[derive(Clone, Debug)]
pub enum Backing {
    /// The RAM at the same guest-physical addresses; all of it in one region.
    Ram,
    /// Other memory of the host.
    Host {
        /// The memory.
        memory: Arc<MmapRegion>,
        /// Guest-physical address, modulo 2^64, at which its first byte would be if the slot reached so far.
        base: u64,
    },
}

impl PartialEq for Backing {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ram, Self::Ram) => true,
            (Self::Host { memory, base }, Self::Host { memory: other, base: other_base }) => {
                Arc::ptr_eq(memory, other) && base == other_base
            }
            (Self::Ram, Self::Host { .. }) | (Self::Host { .. }, Self::Ram) => false,
        }
    }
}

/// A stretch of memory that the guest can reach.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// Guest-physical addresses.
    pub range: Range<u64>,
    /// Writes come out as MMIO.
    pub readonly: bool,
    /// What is there.
    pub backing: Backing,
}

impl Slot {
    /// RAM.
    #[must_use]
    pub fn ram(range: Range<u64>) -> Self {
        Self { range, readonly: false, backing: Backing::Ram }
    }

    /// Whether this slot can stay when `wanted` is wanted: it shows a part of the same.
    fn is_part_of(&self, wanted: &Self) -> bool {
        let within = wanted.range.start <= self.range.start && self.range.end <= wanted.range.end;
        within && self.readonly == wanted.readonly && self.backing == wanted.backing
    }
}

/// The memory slots of a VM; or, without one, just what natoma itself sees where.
pub struct MemorySlots {
    vm: Option<Arc<VmFd>>,
    ram: GuestRam,
    /// Index is the slot number. Held through every change.
    slots: Mutex<Vec<Option<Slot>>>,
    /// The same, sorted, for readers that must not wait.
    view: ArcSwap<Vec<Slot>>,
}

impl MemorySlots {
    /// No slots yet. `ram` is kept for as long as KVM may use it.
    #[must_use]
    pub fn new(vm: Arc<VmFd>, ram: GuestRam) -> Self {
        Self { vm: Some(vm), ram, slots: Mutex::default(), view: ArcSwap::default() }
    }

    /// No slots yet, and no processors to see them.
    #[must_use]
    pub fn without_vm(ram: GuestRam) -> Self {
        Self { vm: None, ram, slots: Mutex::default(), view: ArcSwap::default() }
    }

    /// The RAM behind the slots.
    #[must_use]
    pub fn ram(&self) -> &GuestRam {
        &self.ram
    }

    /// The slot that covers `address`.
    #[must_use]
    pub fn find(&self, address: u64) -> Option<Slot> {
        let view = self.view.load();
        let next = view.partition_point(|slot| slot.range.start <= address);
        view[..next].last().filter(|slot| slot.range.contains(&address)).cloned()
    }

    /// All slots in order of address.
    #[must_use]
    pub fn all(&self) -> Arc<Vec<Slot>> {
        self.view.load_full()
    }

    /// Makes exactly `wanted` visible within `window`, by as few changes as possible: slots there that are no part of what
    /// is wanted go, what is missing comes, the rest is not touched. Slots may not cross the edges of the window, and
    /// wanted ones may not overlap.
    ///
    /// # Errors
    /// The kernel refuses a change.
    pub fn replace(&self, window: Range<u64>, wanted: &[Slot]) -> Result<(), SlotError> {
        let mut slots = lock(&self.slots);
        let result = self.change(&mut slots, &window, wanted);
        // Whatever came of it.
        let mut view: Vec<_> = slots.iter().flatten().cloned().collect();
        view.sort_by_key(|slot| slot.range.start);
        self.view.store(Arc::new(view));
        result
    }

    fn change(&self, slots: &mut Vec<Option<Slot>>, window: &Range<u64>, wanted: &[Slot]) -> Result<(), SlotError> {
        let inside = |slot: &Slot| window.contains(&slot.range.start);
        let goes = |slot: &Slot| inside(slot) && !wanted.iter().any(|wanted| slot.is_part_of(wanted));
        for (number, place) in slots.iter_mut().enumerate() {
            if let Some(slot) = place.as_ref().filter(|slot| goes(slot)) {
                // A slot that KVM does not let go of keeps its number and its memory.
                self.set(number, slot, 0)?;
                *place = None;
            }
        }
        for wanted in wanted {
            for range in Self::gaps(slots, wanted.range.clone()) {
                let slot = Slot { range, ..wanted.clone() };
                let number = slots.iter().position(Option::is_none).unwrap_or(slots.len());
                self.set(number, &slot, slot.range.end - slot.range.start)?;
                if number == slots.len() {
                    slots.push(None);
                }
                slots[number] = Some(slot);
            }
        }
        Ok(())
    }

    /// The parts of `range` where no slot is.
    fn gaps(slots: &[Option<Slot>], range: Range<u64>) -> Vec<Range<u64>> {
        let mut present: Vec<_> = slots.iter().flatten().map(|slot| slot.range.clone()).collect();
        present.retain(|present| present.start < range.end && range.start < present.end);
        present.sort_by_key(|present| present.start);
        let mut start = range.start;
        let mut gaps = Vec::new();
        for present in present {
            gaps.push(start..present.start);
            start = present.end;
        }
        gaps.push(start..range.end);
        gaps.retain(|gap| gap.start < gap.end);
        gaps
    }

    /// The host memory behind `range`, which is part of what `slot` shows.
    ///
    /// # Errors
    /// The slot shows more than there is.
    pub fn memory<'a>(&'a self, slot: &'a Slot, range: Range<u64>) -> io::Result<VolatileSlice<'a>> {
        let len = (range.end - range.start) as usize;
        match &slot.backing {
            Backing::Ram => self.ram.get_slice(GuestAddress(range.start), len).map_err(io::Error::other),
            Backing::Host { memory, base } => {
                memory.get_slice(range.start.wrapping_sub(*base) as usize, len).map_err(io::Error::other)
            }
        }
    }

    /// Tells KVM; a `size` of 0 removes the slot.
    fn set(&self, number: usize, slot: &Slot, size: u64) -> Result<(), SlotError> {
        let Some(vm) = &self.vm else { return Ok(()) };
        let error = |source| SlotError { range: slot.range.clone(), source };
        let host = self.memory(slot, slot.range.clone()).map_err(error)?;
        let region = kvm_userspace_memory_region {
            slot: number as u32,
            flags: if slot.readonly { KVM_MEM_READONLY } else { 0 },
            guest_phys_addr: slot.range.start,
            memory_size: size,
            userspace_addr: host.ptr_guard_mut().as_ptr() as u64,
        };
        // SAFETY: the memory belongs to `self.ram`, which is never unmapped while the VM exists, or to a region that the
        // slot, once it is kept in `slots`, holds on to; and both are only ever accessed through volatile slices.
        unsafe { vm.set_user_memory_region(region) }.map_err(|errno| error(io::Error::from_raw_os_error(errno.errno())))
    }
}

#[cfg(test)]
mod tests {
    use kvm_ioctls::Kvm;
    use vm_memory::GuestMemoryMmap;

    use super::*;

    #[test]
    fn a_slot_that_kvm_does_not_let_go_of_stays() {
        let Ok(kvm) = Kvm::new() else {
            eprintln!("SKIPPED: there is no KVM");
            return;
        };
        let vm = Arc::new(kvm.create_vm().unwrap());
        let ram = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x4000)]).unwrap());
        let slots = MemorySlots::new(Arc::clone(&vm), ram);
        slots.replace(0..0x1000, &[Slot::ram(0..0x1000)]).unwrap();
        // Behind its back: KVM can't remove what it does not have.
        // SAFETY: the slot goes; no memory is given to the VM.
        unsafe { vm.set_user_memory_region(kvm_userspace_memory_region::default()) }.unwrap();
        assert!(slots.replace(0..0x1000, &[]).is_err());
        slots.replace(0x2000..0x3000, &[Slot::ram(0x2000..0x3000)]).unwrap();
        let numbers =
            lock(&slots.slots).iter().map(|slot| slot.as_ref().map(|slot| slot.range.start)).collect::<Vec<_>>();
        assert_eq!(numbers, [Some(0), Some(0x2000)]);
        assert!(slots.find(0).is_some() && slots.find(0x2000).is_some());
    }
}
