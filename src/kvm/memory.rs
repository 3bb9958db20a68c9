//! Memory slots: which guest-physical addresses are backed by guest RAM.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use devices::base::{GuestRam, lock};
use kvm_bindings::{KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use vm_memory::{GuestAddress, GuestMemoryBackend};

/// Why a slot could not be set.
#[derive(Debug, thiserror::Error)]
#[error("can't map guest memory {:#x}-{:#x}", .range.start, .range.end)]
pub struct SlotError {
    range: Range<u64>,
    #[source]
    source: std::io::Error,
}

/// A stretch of guest RAM that the guest can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Guest-physical addresses. All of them are RAM of one region.
    pub range: Range<u64>,
    /// Writes come out as MMIO.
    pub readonly: bool,
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

    /// Makes exactly `wanted` visible within `window`: slots there that are not wanted go, missing ones come, the rest
    /// is not touched. Slots may not cross the edges of the window.
    ///
    /// # Errors
    /// The kernel refuses a change.
    pub fn replace(&self, window: Range<u64>, wanted: &[Slot]) -> Result<(), SlotError> {
        let mut slots = lock(&self.slots);
        let inside = |slot: &Slot| window.contains(&slot.range.start);
        for (number, place) in slots.iter_mut().enumerate() {
            if let Some(slot) = place.take_if(|slot| inside(slot) && !wanted.contains(slot)) {
                self.set(number, &slot, 0)?;
            }
        }
        for slot in wanted {
            if slots.iter().flatten().any(|present| present == slot) {
                continue;
            }
            let number = slots.iter().position(Option::is_none).unwrap_or(slots.len());
            self.set(number, slot, slot.range.end - slot.range.start)?;
            if number == slots.len() {
                slots.push(None);
            }
            slots[number] = Some(slot.clone());
        }
        let mut view: Vec<_> = slots.iter().flatten().cloned().collect();
        view.sort_by_key(|slot| slot.range.start);
        self.view.store(Arc::new(view));
        Ok(())
    }

    /// Tells KVM; a `size` of 0 removes the slot.
    fn set(&self, number: usize, slot: &Slot, size: u64) -> Result<(), SlotError> {
        let Some(vm) = &self.vm else { return Ok(()) };
        let error = |source| SlotError { range: slot.range.clone(), source };
        let host = self
            .ram
            .get_slice(GuestAddress(slot.range.start), (slot.range.end - slot.range.start) as usize)
            .map_err(|source| error(std::io::Error::other(source)))?;
        let region = kvm_userspace_memory_region {
            slot: number as u32,
            flags: if slot.readonly { KVM_MEM_READONLY } else { 0 },
            guest_phys_addr: slot.range.start,
            memory_size: size,
            userspace_addr: host.ptr_guard_mut().as_ptr() as u64,
        };
        // SAFETY: the memory belongs to `self.ram`, which is never unmapped while the VM exists, and guest RAM is only
        // ever accessed through volatile slices.
        unsafe { vm.set_user_memory_region(region) }
            .map_err(|errno| error(std::io::Error::from_raw_os_error(errno.errno())))
    }
}
