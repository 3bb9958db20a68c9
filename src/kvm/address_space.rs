//! What a vCPU reaches: ports, RAM, and the devices in between.

use std::sync::Arc;

use devices::base::Bus;
use vm_memory::GuestMemoryBackend;
use vm_memory::{Bytes, GuestAddress};

use super::fallback::GuestPhysical;
use super::memory::MemorySlots;

/// Guest-physical memory and the port space, as the processors see them.
#[derive(Clone)]
pub struct AddressSpace {
    /// I/O ports.
    pub ports: Arc<Bus>,
    /// Devices in memory space.
    pub devices: Arc<Bus>,
    /// RAM.
    pub slots: Arc<MemorySlots>,
}

/// Longest access that goes to a device in one piece.
const BUS_WIDTH: usize = 8;

impl AddressSpace {
    /// Reads guest-physical memory as an instruction would: RAM where there is RAM, devices elsewhere.
    pub fn read(&self, address: u64, data: &mut [u8]) {
        self.for_pieces(address, data.len(), |at, range, is_ram| {
            let piece = &mut data[range];
            if !(is_ram && self.slots.ram().read_slice(piece, GuestAddress(at)).is_ok()) {
                self.devices.read(at, piece);
            }
        });
    }

    /// Writes guest-physical memory as an instruction would. Writes to read-only memory vanish.
    pub fn write(&self, address: u64, data: &[u8]) {
        self.for_pieces(address, data.len(), |at, range, is_ram| {
            let piece = &data[range];
            match self.slots.find(at) {
                Some(slot) if is_ram && slot.readonly => {}
                _ if is_ram && self.slots.ram().write_slice(piece, GuestAddress(at)).is_ok() => {}
                _ => self.devices.write(at, piece),
            }
        });
    }

    /// Cuts an access where RAM begins or ends, and into aligned pieces of the bus's width outside RAM.
    fn for_pieces(&self, address: u64, len: usize, mut each: impl FnMut(u64, std::ops::Range<usize>, bool)) {
        let mut done = 0;
        while done < len {
            let at = address.wrapping_add(done as u64);
            let slot = self.slots.find(at);
            let limit = match &slot {
                Some(slot) => usize::try_from(slot.range.end - at).unwrap_or(usize::MAX),
                None => BUS_WIDTH - (at % BUS_WIDTH as u64) as usize,
            };
            let step = limit.min(len - done);
            each(at, done..done + step, slot.is_some());
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
        let slot = self.slots.find(gpa).filter(|slot| !slot.readonly)?;
        if gpa.checked_add(len as u64)? > slot.range.end {
            return None;
        }
        self.slots.ram().get_host_address(GuestAddress(gpa)).ok()
    }
}
