//! What a vCPU reaches: ports, RAM, and the devices in between.

use std::ops::Range;
use std::sync::Arc;

use devices::base::Bus;
use vm_memory::VolatileSlice;

use super::fallback::GuestPhysical;
use super::memory::{Backing, MemorySlots, Slot};

/// Guest-physical memory and the port space, as the processors see them.
#[derive(Clone)]
pub struct AddressSpace {
    /// I/O ports.
    pub ports: Arc<Bus>,
    /// Devices in memory space.
    pub devices: Arc<Bus>,
    /// RAM and ROM.
    pub slots: Arc<MemorySlots>,
}

/// Longest access that goes to a device in one piece.
const BUS_WIDTH: usize = 8;

impl AddressSpace {
    /// Reads guest-physical memory as an instruction would: memory where there is a slot, devices elsewhere.
    pub fn read(&self, address: u64, data: &mut [u8]) {
        self.for_pieces(address, data.len(), |at, range, slot| {
            let piece = &mut data[range];
            match slot.and_then(|slot| self.memory(slot, at, piece.len())) {
                Some(memory) => {
                    memory.copy_to(piece);
                }
                None => self.devices.read(at, piece),
            }
        });
    }

    /// Writes guest-physical memory as an instruction would. Writes to read-only memory go to the device behind it, if
    /// there is one.
    pub fn write(&self, address: u64, data: &[u8]) {
        self.for_pieces(address, data.len(), |at, range, slot| {
            let piece = &data[range];
            let writable = slot.filter(|slot| !slot.readonly);
            match writable.and_then(|slot| self.memory(slot, at, piece.len())) {
                Some(memory) => memory.copy_from(piece),
                None => self.devices.write(at, piece),
            }
        });
    }

    fn memory<'a>(&'a self, slot: &'a Slot, address: u64, len: usize) -> Option<VolatileSlice<'a>> {
        self.slots.memory(slot, address..address + len as u64).ok()
    }

    /// Cuts an access where a slot begins or ends, and into aligned pieces of the bus's width where a device may see it.
    fn for_pieces(&self, address: u64, len: usize, mut each: impl FnMut(u64, Range<usize>, Option<&Slot>)) {
        let mut done = 0;
        while done < len {
            let at = address.wrapping_add(done as u64);
            let slot = self.slots.find(at);
            let to_bus_width = BUS_WIDTH - (at % BUS_WIDTH as u64) as usize;
            let limit = match &slot {
                Some(slot) => {
                    let rest = usize::try_from(slot.range.end - at).unwrap_or(usize::MAX);
                    if slot.readonly { rest.min(to_bus_width) } else { rest }
                }
                None => to_bus_width,
            };
            let step = limit.min(len - done);
            each(at, done..done + step, slot.as_ref());
            done += step;
        }
    }
}

impl GuestPhysical for AddressSpace {
    fn read(&self, gpa: u64, data: &mut [u8]) {
        Self::read(self, gpa, data);
    }

    fn write(&self, gpa: u64, data: &[u8]) {
        Self::write(self, gpa, data);
    }

    fn is_memory(&self, gpa: u64, len: usize) -> bool {
        self.slots.find(gpa).is_some_and(|slot| gpa.saturating_add(len as u64) <= slot.range.end)
    }

    fn ram(&self, gpa: u64, len: usize) -> Option<*mut u8> {
        // Other memory of the host is not there for as long as the pointer.
        let slot = self.slots.find(gpa).filter(|slot| !slot.readonly && slot.backing == Backing::Ram)?;
        if gpa.checked_add(len as u64)? > slot.range.end {
            return None;
        }
        self.memory(&slot, gpa, len).map(|memory| memory.ptr_guard_mut().as_ptr())
    }
}
