//! The conventional PCI bus: 32 slots of 8 functions, the placement of their BARs, and the interrupt wires.
//!
//! Buses behind bridges form a tree ([`PciBus::behind`]). A window of a function is seen where it overlaps with what
//! every bridge above it forwards: bridges cost nothing when a guest accesses a device.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use super::config::ROM_BAR;
use super::{Forwarding, PciFunction};
use crate::base::{
    Bus, BusMaster, Device, Inspector, IoDevice, IrqInput, IrqLine, MappingId, Priority, Region, ResetKind, Space,
    State, StateError, lock, shared,
};

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
    #[error("all {SLOTS} slots of PCI bus {bus} are in use: {holders}")]
    Full {
        /// The bus.
        bus: String,
        /// Who sits where.
        holders: String,
    },
    /// Function 0 of the slot says that it is the only one.
    #[error(
        "PCI: single function device can't be populated in function {address}: {holder} in function 0 needs \
         multifunction=on"
    )]
    SingleFunction {
        /// The wanted place.
        address: PciAddress,
        /// Who sits in function 0.
        holder: String,
    },
    /// The newcomer says that it is the only function of the slot, and is not.
    #[error(
        "PCI: {address} indicates single function, but {other} is already populated by {holder}; give multifunction=on"
    )]
    OthersExist {
        /// The wanted place: a function 0.
        address: PciAddress,
        /// Another function of the slot.
        other: PciAddress,
        /// Who sits there.
        holder: String,
    },
}

/// A window, or the part of it that bridges let through.
#[derive(PartialEq)]
struct Window {
    base: u64,
    part: RangeInclusive<u64>,
    region: Region,
    /// It shows the expansion ROM.
    rom: bool,
}

/// A window that is mapped now.
struct Mapped {
    window: Window,
    id: MappingId,
}

/// A function and the places where its windows are mapped now.
struct Seat {
    name: String,
    slot: u8,
    function: Arc<Mutex<dyn PciFunction>>,
    /// The same device as its windows see it.
    io: Arc<Mutex<dyn IoDevice>>,
    /// Held through every configuration write, so that the mappings follow the writes in order.
    mapped: Mutex<Vec<Mapped>>,
    /// The bus behind it, if it is a bridge.
    secondary: Option<Arc<PciBus>>,
}

/// How a bus hangs on the one above it.
struct Upstream {
    bus: Weak<PciBus>,
    /// What the bridge between them forwards.
    forwarding: Mutex<Forwarding>,
    /// The bridge's own bus master enable.
    gate: BusMaster,
}

/// The bus.
pub struct PciBus {
    name: String,
    ports: Arc<Bus>,
    memory: Arc<Bus>,
    /// `None` for the root.
    upstream: Option<Upstream>,
    /// The four interrupt wires as the slots see them: INTx of slot s is wire `(s + x - 1) mod 4`, x from 0.
    intx: [Arc<IrqInput>; 4],
    seats: RwLock<Vec<Option<Arc<Seat>>>>,
}

impl PciBus {
    /// An empty root bus whose functions decode in `ports` and `memory` and interrupt through `intx`.
    #[must_use]
    pub fn new(ports: Arc<Bus>, memory: Arc<Bus>, intx: [Arc<IrqInput>; 4]) -> Self {
        Self { name: "pci.0".into(), ports, memory, upstream: None, intx, seats: RwLock::new(empty()) }
    }

    /// An empty bus, called `name`, for the bridge that will sit in `slot` of `parent` and masters it through `gate`.
    #[must_use]
    pub fn behind(parent: &Arc<Self>, slot: u8, name: impl Into<String>, gate: BusMaster) -> Arc<Self> {
        // INTx of slot s arrives at pin (s + x) mod 4 of the bridge, x from 0 (PCI-to-PCI Bridge Architecture
        // Specification 1.1, section 9.1): one wire further than a root bus would have it.
        let intx = std::array::from_fn(|wire| {
            let pin = (wire + 1) % 4;
            parent.wire(slot, pin as u8 + 1)
        });
        let upstream = Upstream { bus: Arc::downgrade(parent), forwarding: Mutex::default(), gate };
        Arc::new(Self {
            name: name.into(),
            ports: Arc::clone(&parent.ports),
            memory: Arc::clone(&parent.memory),
            upstream: Some(upstream),
            intx,
            seats: RwLock::new(empty()),
        })
    }

    /// What users call the bus.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A gate for a function on this bus: open while the function and all bridges above it may be masters.
    #[must_use]
    pub fn bus_master(&self) -> BusMaster {
        match &self.upstream {
            Some(upstream) => upstream.gate.behind(),
            None => BusMaster::closed(),
        }
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
            None => Err(SlotError::Full { bus: self.name.clone(), holders: list(&seats) }),
        }
    }

    /// A line from pin `pin` (1 is INTA#) of `slot` to the wire it is connected to.
    #[must_use]
    pub fn interrupt_line(&self, slot: u8, pin: u8, label: &'static str) -> IrqLine {
        self.wire(slot, pin).line(label)
    }

    fn wire(&self, slot: u8, pin: u8) -> Arc<IrqInput> {
        let wire = (usize::from(slot) + usize::from(pin) + 2) % 4;
        Arc::clone(&self.intx[wire])
    }

    /// Puts a function at `address`. `name` is what users know it by.
    ///
    /// # Errors
    /// The place is taken, or its slot holds a device of a single function.
    pub fn insert<F: PciFunction + 'static>(
        &self,
        address: PciAddress,
        name: impl Into<String>,
        function: Arc<Mutex<F>>,
    ) -> Result<(), SlotError> {
        self.seat_down(address, name.into(), function, None)
    }

    /// Puts a bridge at `address`, and behind it the bus that was made for it with [`Self::behind`].
    ///
    /// # Errors
    /// As [`Self::insert`].
    pub fn insert_bridge<F: PciFunction + 'static>(
        &self,
        address: PciAddress,
        name: impl Into<String>,
        function: Arc<Mutex<F>>,
        secondary: Arc<Self>,
    ) -> Result<(), SlotError> {
        self.seat_down(address, name.into(), function, Some(secondary))
    }

    fn seat_down<F: PciFunction + 'static>(
        &self,
        address: PciAddress,
        name: String,
        function: Arc<Mutex<F>>,
        secondary: Option<Arc<Self>>,
    ) -> Result<(), SlotError> {
        let multifunction = lock(&function).config().is_multifunction();
        let mut seats = self.seats.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(holder) = &seats[address.index()] {
            return Err(SlotError::Taken { address, holder: holder.name.clone() });
        }
        if address.function != 0 {
            let first = seats[PciAddress::slot(address.slot).index()].as_ref();
            if let Some(first) = first.filter(|first| !lock(&first.function).config().is_multifunction()) {
                return Err(SlotError::SingleFunction { address, holder: first.name.clone() });
            }
        } else if !multifunction {
            let others = (1..FUNCTIONS).map(|function| PciAddress { slot: address.slot, function });
            if let Some((other, holder)) = others.filter_map(|at| Some((at, seats[at.index()].as_ref()?))).next() {
                return Err(SlotError::OthersExist { address, other, holder: holder.name.clone() });
            }
        }
        let seat = Arc::new_cyclic(|seat| {
            let io: Arc<Mutex<dyn IoDevice>> = match secondary.as_ref().and_then(|bus| bus.upstream.as_ref()) {
                Some(upstream) => shared(BridgeWindow {
                    bridge: function.clone(),
                    seat: Weak::clone(seat),
                    bus: Weak::clone(&upstream.bus),
                }),
                None => function.clone(),
            };
            Seat { name, slot: address.slot, function, io, mapped: Mutex::default(), secondary }
        });
        seats[address.index()] = Some(Arc::clone(&seat));
        drop(seats);
        // Some windows are there from the start: those that registers of its own place.
        self.change(&seat, |_| ());
        Ok(())
    }

    /// Who sits where, in order.
    #[must_use]
    pub fn functions(&self) -> Vec<(PciAddress, String)> {
        let seats = self.seats.read().unwrap_or_else(PoisonError::into_inner);
        occupied(&seats).map(|(address, seat)| (address, seat.name.clone())).collect()
    }

    /// Shows the function at `address`, locked, to `look`.
    pub fn look_at<R>(&self, address: PciAddress, look: impl FnOnce(&dyn PciFunction) -> R) -> Option<R> {
        let seat = self.seat(address)?;
        let function = lock(&seat.function);
        Some(look(&*function))
    }

    /// Reads `size` bytes (1, 2 or 4) of configuration space. Nobody answers with ones.
    #[must_use]
    pub fn config_read(&self, address: PciAddress, offset: u8, size: u8) -> u32 {
        match self.seat(address).filter(|seat| !self.is_isolated(seat)) {
            Some(seat) => {
                let mut function = lock(&seat.function);
                function.config_wanted(offset, size);
                function.config().read(offset, size)
            }
            None => u32::MAX >> (32 - 8 * u32::from(size.clamp(1, 4))),
        }
    }

    /// Writes `size` bytes (1, 2 or 4) of configuration space.
    pub fn config_write(&self, address: PciAddress, offset: u8, size: u8, value: u32) {
        if let Some(seat) = self.seat(address).filter(|seat| !self.is_isolated(seat)) {
            self.change(&seat, |function| {
                function.config_mut().write(offset, size, value);
                function.config_written(offset, size);
            });
        }
    }

    /// Resets every function here and behind bridges, and takes their BARs off the bus.
    pub fn reset(&self, kind: ResetKind) {
        self.for_each(&|function| function.reset(kind));
    }

    /// Places all BARs by what the configuration spaces say, after they were changed behind the bus's back (load).
    pub fn remap(&self) {
        self.for_each(&|_| ());
    }

    /// Bus `number`, if a bridge here or further down leads to it.
    #[must_use]
    pub fn find(&self, number: u8) -> Option<Arc<Self>> {
        let seats = self.seats.read().unwrap_or_else(PoisonError::into_inner);
        seats.iter().flatten().filter_map(|seat| seat.secondary.as_ref()).find_map(|secondary| {
            let buses = secondary.forwarding()?.buses;
            match () {
                () if buses.contains(&number) && number == *buses.start() => Some(Arc::clone(secondary)),
                () if buses.contains(&number) => secondary.find(number),
                () => None,
            }
        })
    }

    /// The buses directly behind bridges on this one, with the places of their bridges.
    #[must_use]
    pub fn secondaries(&self) -> Vec<(PciAddress, Arc<Self>)> {
        let seats = self.seats.read().unwrap_or_else(PoisonError::into_inner);
        occupied(&seats).filter_map(|(address, seat)| Some((address, seat.secondary.clone()?))).collect()
    }

    fn taken_seats(&self) -> Vec<Arc<Seat>> {
        let seats = self.seats.read().unwrap_or_else(PoisonError::into_inner);
        seats.iter().flatten().cloned().collect()
    }

    fn for_each(&self, action: &dyn Fn(&mut dyn PciFunction)) {
        self.taken_seats().iter().for_each(|seat| self.for_each_from(seat, action));
    }

    /// Applies an action to a function and all that are behind it.
    fn for_each_from(&self, seat: &Seat, action: &dyn Fn(&mut dyn PciFunction)) {
        self.change(seat, action);
        if let Some(secondary) = &seat.secondary {
            secondary.for_each(action);
        }
    }

    /// Whether the bridge above has cut the slot off.
    fn is_isolated(&self, seat: &Seat) -> bool {
        let isolated = self.upstream.as_ref().map_or(0, |upstream| lock(&upstream.forwarding).isolated);
        isolated >> (seat.slot % SLOTS) & 1 != 0
    }

    /// What the bridge above forwards; `None` for the root.
    fn forwarding(&self) -> Option<Forwarding> {
        self.upstream.as_ref().map(|upstream| lock(&upstream.forwarding).clone())
    }

    /// The bridge above now forwards this.
    fn follow(&self, forwarding: Forwarding) {
        let Some(upstream) = &self.upstream else { return };
        let before = std::mem::replace(&mut *lock(&upstream.forwarding), forwarding.clone());
        let powered_down = forwarding.isolated & !before.isolated;
        for seat in self.taken_seats().iter().filter(|seat| powered_down >> (seat.slot % SLOTS) & 1 != 0) {
            self.for_each_from(seat, &|function| function.reset(ResetKind::PowerOn));
        }
        if forwarding.in_reset && !before.in_reset {
            self.reset(ResetKind::System);
        } else if forwarding != before {
            self.remap();
        }
    }

    /// The parts of a range of addresses that all bridges from here to the processor forward.
    fn visible(&self, space: Space, range: RangeInclusive<u64>) -> Vec<RangeInclusive<u64>> {
        let Some(upstream) = &self.upstream else { return vec![range] };
        let Some(parent) = upstream.bus.upgrade() else { return Vec::new() };
        let passed = lock(&upstream.forwarding).clip(space, &range);
        passed.into_iter().flat_map(|part| parent.visible(space, part)).collect()
    }

    fn seat(&self, address: PciAddress) -> Option<Arc<Seat>> {
        let seats = self.seats.read().unwrap_or_else(PoisonError::into_inner);
        seats[address.index()].clone()
    }

    /// Applies a change to a function and moves its windows to where they then decode.
    fn change(&self, seat: &Seat, action: impl FnOnce(&mut dyn PciFunction)) {
        let mut mapped = lock(&seat.mapped);
        let (windows, rom, forwarding) = {
            let mut function = lock(&seat.function);
            action(&mut *function);
            let config = function.config();
            let bar = |index| Some((config.bar_address(index)?, config.bar(index)?.region, index == ROM_BAR));
            let own = function.windows().into_iter().map(|(base, region)| (base, region, false));
            let mut windows: Vec<_> = (0..=ROM_BAR).filter_map(bar).chain(own).collect();
            if self.is_isolated(seat) {
                windows.clear();
            }
            (windows, config.option_rom(), function.forwarding())
        };
        let visible = |(base, region, rom): (u64, Region, bool)| {
            let parts = self.visible(region.space, base..=base.saturating_add(region.len - 1));
            parts.into_iter().map(move |part| Window { base, part, region, rom })
        };
        let mut wanted: Vec<_> = windows.into_iter().flat_map(visible).collect();
        mapped.retain(|old| {
            let at = wanted.iter().position(|new| *new == old.window);
            match at {
                Some(at) => drop(wanted.swap_remove(at)),
                None => self.space(&old.window.region).unmap(old.id),
            }
            at.is_some()
        });
        for window in wanted {
            let device: Arc<Mutex<dyn IoDevice>> = match &rom {
                Some(rom) if window.rom => rom.clone(),
                _ => seat.io.clone(),
            };
            let Window { base, ref part, region, .. } = window;
            let id = self.space(&region).map_part(base, part.clone(), region, Priority::Movable, device);
            mapped.push(Mapped { window, id });
        }
        if let (Some(secondary), Some(forwarding)) = (&seat.secondary, forwarding) {
            secondary.follow(forwarding);
        }
    }

    fn space(&self, region: &Region) -> &Bus {
        match region.space {
            Space::Port => &self.ports,
            Space::Memory => &self.memory,
        }
    }
}

/// A bridge as its windows see it: what is written there may change what the bridge forwards, which the buses have to act on.
struct BridgeWindow<F> {
    bridge: Arc<Mutex<F>>,
    seat: Weak<Seat>,
    /// The bus on which the bridge sits.
    bus: Weak<PciBus>,
}

impl<F: PciFunction> IoDevice for BridgeWindow<F> {
    fn read(&mut self, region: u16, offset: u64, size: u8) -> u64 {
        lock(&self.bridge).read(region, offset, size)
    }

    fn write(&mut self, region: u16, offset: u64, size: u8, value: u64) {
        if let (Some(bus), Some(seat)) = (self.bus.upgrade(), self.seat.upgrade()) {
            bus.change(&seat, |bridge| bridge.write(region, offset, size, value));
        }
    }
}

/// Reset and state are those of the bridge itself.
impl<F: PciFunction> Device for BridgeWindow<F> {
    fn name(&self) -> &'static str {
        lock(&self.bridge).name()
    }

    fn reset(&mut self, kind: ResetKind) {
        lock(&self.bridge).reset(kind);
    }

    fn save(&self) -> State {
        lock(&self.bridge).save()
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        lock(&self.bridge).load(state)
    }

    fn inspect(&self, out: &mut Inspector) {
        lock(&self.bridge).inspect(out);
    }
}

fn empty() -> Vec<Option<Arc<Seat>>> {
    vec![None; usize::from(SLOTS) * usize::from(FUNCTIONS)]
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
