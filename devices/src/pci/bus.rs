//! The conventional PCI bus: 32 slots of 8 functions, the placement of their BARs, and the interrupt wires.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::PciFunction;
use super::config::ROM_BAR;
use crate::base::{Bus, IoDevice, IrqInput, IrqLine, MappingId, Priority, Region, ResetKind, Space, lock};

/// Slots on a bus.
pub const SLOTS: u8 = 32;
/// Functions in a slot.
pub const FUNCTIONS: u8 = 8;

/// Where a function sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PciAddress {
    /// 0 to 31.
    pub slot: u8,
    /// 0 to 7.
    pub function: u8,
}

impl PciAddress {
    /// Function 0 of a slot.
    #[must_use]
    pub const fn slot(slot: u8) -> Self {
        Self { slot, function: 0 }
    }

    fn index(self) -> usize {
        usize::from(self.slot % SLOTS) * usize::from(FUNCTIONS) + usize::from(self.function % FUNCTIONS)
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}.{:x}", self.slot, self.function)
    }
}

/// Why a function could not be given a place.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// The place is taken.
    #[error("PCI address {address} is already used by {holder}")]
    Taken {
        /// The wanted place.
        address: PciAddress,
        /// Who sits there.
        holder: String,
    },
    /// There is no free slot.
    #[error("all {SLOTS} PCI slots are in use: {holders}")]
    Full {
        /// Who sits where.
        holders: String,
    },
}

/// A window that is mapped now.
struct Mapped {
    base: u64,
    region: Region,
    id: MappingId,
}

/// A function and the places where its windows are mapped now.
struct Seat {
    name: String,
    function: Arc<Mutex<dyn PciFunction>>,
    /// The same device as its windows see it.
    io: Arc<Mutex<dyn IoDevice>>,
    /// Held through every configuration write, so that the mappings follow the writes in order.
    mapped: Mutex<Vec<Mapped>>,
}

/// The bus.
pub struct PciBus {
    ports: Arc<Bus>,
    memory: Arc<Bus>,
    /// The four interrupt wires as the slots see them: INTx of slot s is wire `(s + x - 1) mod 4`, x from 0.
    intx: [Arc<IrqInput>; 4],
    seats: RwLock<Vec<Option<Arc<Seat>>>>,
}

impl PciBus {
    /// An empty bus whose functions decode in `ports` and `memory` and interrupt through `intx`.
    #[must_use]
    pub fn new(ports: Arc<Bus>, memory: Arc<Bus>, intx: [Arc<IrqInput>; 4]) -> Self {
        let seats = vec![None; usize::from(SLOTS) * usize::from(FUNCTIONS)];
        Self { ports, memory, intx, seats: RwLock::new(seats) }
    }

    /// The lowest free slot.
    ///
    /// # Errors
    /// There is none.
    pub fn free_slot(&self) -> Result<PciAddress, SlotError> {
        let seats = self.seats.read().unwrap_or_else(PoisonError::into_inner);
        let mut slots = seats.chunks(usize::from(FUNCTIONS)).zip(0..SLOTS);
        match slots.find(|(functions, _)| functions.iter().all(Option::is_none)) {
            Some((_, slot)) => Ok(PciAddress::slot(slot)),
            None => Err(SlotError::Full { holders: list(&seats) }),
        }
    }

    /// A line from pin `pin` (1 is INTA#) of `slot` to the wire it is connected to.
    #[must_use]
    pub fn interrupt_line(&self, slot: u8, pin: u8, label: &'static str) -> IrqLine {
        let wire = (usize::from(slot) + usize::from(pin) + 2) % 4;
        self.intx[wire].line(label)
    }

    /// Puts a function at `address`. `name` is what users know it by.
    ///
    /// # Errors
    /// The place is taken.
    pub fn insert<F: PciFunction + 'static>(
        &self,
        address: PciAddress,
        name: impl Into<String>,
        function: Arc<Mutex<F>>,
    ) -> Result<(), SlotError> {
        let mut seats = self.seats.write().unwrap_or_else(PoisonError::into_inner);
        let seat = &mut seats[address.index()];
        if let Some(holder) = seat {
            return Err(SlotError::Taken { address, holder: holder.name.clone() });
        }
        let (io, name) = (function.clone(), name.into());
        *seat = Some(Arc::new(Seat { name, function, io, mapped: Mutex::default() }));
        Ok(())
    }

    /// Who sits where, in order.
    #[must_use]
    pub fn functions(&self) -> Vec<(PciAddress, String)> {
        let seats = self.seats.read().unwrap_or_else(PoisonError::into_inner);
        occupied(&seats).map(|(address, seat)| (address, seat.name.clone())).collect()
    }

    /// Reads `size` bytes (1, 2 or 4) of configuration space. Nobody answers with ones.
    #[must_use]
    pub fn config_read(&self, address: PciAddress, offset: u8, size: u8) -> u32 {
        match self.seat(address) {
            Some(seat) => lock(&seat.function).config().read(offset, size),
            None => u32::MAX >> (32 - 8 * u32::from(size.clamp(1, 4))),
        }
    }

    /// Writes `size` bytes (1, 2 or 4) of configuration space.
    pub fn config_write(&self, address: PciAddress, offset: u8, size: u8, value: u32) {
        if let Some(seat) = self.seat(address) {
            self.change(&seat, |function| {
                function.config_mut().write(offset, size, value);
                function.config_written(offset, size);
            });
        }
    }

    /// Resets every function and takes its BARs off the bus.
    pub fn reset(&self, kind: ResetKind) {
        self.for_each(|function| function.reset(kind));
    }

    /// Places all BARs by what the configuration spaces say, after they were changed behind the bus's back (load).
    pub fn remap(&self) {
        self.for_each(|_| ());
    }

    fn for_each(&self, action: impl Fn(&mut dyn PciFunction)) {
        let seats: Vec<_> = {
            let seats = self.seats.read().unwrap_or_else(PoisonError::into_inner);
            seats.iter().flatten().cloned().collect()
        };
        for seat in seats {
            self.change(&seat, &action);
        }
    }

    fn seat(&self, address: PciAddress) -> Option<Arc<Seat>> {
        let seats = self.seats.read().unwrap_or_else(PoisonError::into_inner);
        seats[address.index()].clone()
    }

    /// Applies a change to a function and moves its windows to where they then decode.
    fn change(&self, seat: &Seat, action: impl FnOnce(&mut dyn PciFunction)) {
        let mut mapped = lock(&seat.mapped);
        let mut wanted = {
            let mut function = lock(&seat.function);
            action(&mut *function);
            let config = function.config();
            let bars = (0..=ROM_BAR).filter_map(|index| Some((config.bar_address(index)?, config.bar(index)?.region)));
            let mut wanted = function.windows();
            wanted.extend(bars);
            wanted
        };
        mapped.retain(|old| {
            let at = wanted.iter().position(|new| *new == (old.base, old.region));
            match at {
                Some(at) => drop(wanted.swap_remove(at)),
                None => self.space(&old.region).unmap(old.id),
            }
            at.is_some()
        });
        for (base, region) in wanted {
            let id = self.space(&region).map(base, region, Priority::Movable, seat.io.clone());
            mapped.push(Mapped { base, region, id });
        }
    }

    fn space(&self, region: &Region) -> &Bus {
        match region.space {
            Space::Port => &self.ports,
            Space::Memory => &self.memory,
        }
    }
}

fn occupied(seats: &[Option<Arc<Seat>>]) -> impl Iterator<Item = (PciAddress, &Arc<Seat>)> {
    seats.iter().zip(0_u16..).filter_map(|(seat, index)| {
        let address = PciAddress { slot: (index / 8) as u8, function: (index % 8) as u8 };
        Some((address, seat.as_ref()?))
    })
}

fn list(seats: &[Option<Arc<Seat>>]) -> String {
    let names: Vec<_> = occupied(seats).map(|(address, seat)| format!("{address} {}", seat.name)).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests;
