//! Hot-plug of PCI devices as QEMU's `pc` has it (`docs/specs/acpi_pci_hotplug`), at ports AE00h-AE17h there.
//!
//! Six 32-bit registers, one bit for each slot of the bus that BNUM selects. Buses are numbered as the DSDT numbers them
//! (`BSEL`): 0 is the root bus. Other accesses than 32-bit ones read as zero and write nothing.
//!
//! Emulated completely. Whoever plugs and unplugs devices calls [`PciHotplug::plug`] and [`PciHotplug::request_unplug`]; the
//! guest lets go of a device through [`HotplugEvents::eject_slot`], and so does a reset for every device that it was asked
//! to let go of. The machine has no command that does (`device_add`, `device_del`): until then guests find the registers and
//! no event.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::HotplugEvents;
use crate::base::{AccessRule, Device, Inspector, IoDevice, Region, ResetKind, State, StateError};
use crate::chipset::gpe::GpeInput;

/// Buses that the registers can select.
const MOST_BUSES: u32 = 256;
/// Slots of a bus.
const SLOTS: u8 = 32;

/// Offsets of the registers, by the names that QEMU's DSDT gives them.
mod reg {
    /// Read and cleared: slots with a new device.
    pub const PCIU: u64 = 0x00;
    /// Read: slots whose device shall go.
    pub const PCID: u64 = 0x04;
    /// Written: let go of the device in the lowest of these slots.
    pub const B0EJ: u64 = 0x08;
    /// Read: slots whose device may go, or that are empty.
    pub const PCRM: u64 = 0x0c;
    /// The bus that the others are about.
    pub const BNUM: u64 = 0x10;
    /// Written: a slot, as a bit; then read once: the `acpi-index` of its device.
    pub const PIDX: u64 = 0x14;
}

/// What the registers tell of the slots of a bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusSlots {
    /// Slots whose device may go, or that are empty, as a bit mask.
    pub pluggable: u32,
    /// `acpi-index` of the device in each slot; 0: none.
    pub acpi_index: [u32; SLOTS as usize],
}

impl Default for BusSlots {
    /// An empty bus.
    fn default() -> Self {
        Self { pluggable: u32::MAX, acpi_index: [0; SLOTS as usize] }
    }
}

#[derive(Default)]
struct HotBus {
    slots: BusSlots,
    up: u32,
    down: u32,
}

/// The registers.
pub struct PciHotplug {
    event: GpeInput,
    events: Arc<dyn HotplugEvents>,
    /// By their numbers.
    buses: Vec<HotBus>,
    selected: u32,
    acpi_index: u32,
}

impl PciHotplug {
    /// The ports.
    pub const REGION: Region = Region::ports(0, "acpi-pci-hotplug", 0x18, AccessRule::native(1, 4).guest(1, 4));

    /// The registers for one empty bus. `event` is raised by every change.
    #[must_use]
    pub fn new(event: GpeInput, events: Arc<dyn HotplugEvents>) -> Self {
        Self { event, events, buses: vec![HotBus::default()], selected: 0, acpi_index: 0 }
    }

    /// Tells what is in the slots of bus `number` now. Numbers from 256 on, which no register can select, are left out.
    pub fn describe(&mut self, number: u32, slots: BusSlots) {
        let Some(index) = usize::try_from(number).ok().filter(|_| number < MOST_BUSES) else { return };
        if self.buses.len() <= index {
            self.buses.resize_with(index + 1, HotBus::default);
        }
        self.buses[index].slots = slots;
    }

    /// Slot `slot` of bus `number` has a new device, which [`Self::describe`] has told of. Does nothing where there is no
    /// such slot.
    pub fn plug(&mut self, number: u32, slot: u8) {
        let bit = slot_bit(slot);
        if let Some(bus) = self.bus_mut(number).filter(|bus| bus.slots.pluggable & bit != 0) {
            bus.up |= bit;
            self.event.raise();
        }
    }

    /// Asks the guest to let go of the device in slot `slot` of bus `number`. Does nothing where that is not possible.
    pub fn request_unplug(&mut self, number: u32, slot: u8) {
        let bit = slot_bit(slot);
        if let Some(bus) = self.bus_mut(number).filter(|bus| bus.slots.pluggable & bit != 0) {
            bus.down |= bit;
            self.event.raise();
        }
    }

    fn bus_mut(&mut self, number: u32) -> Option<&mut HotBus> {
        self.buses.get_mut(usize::try_from(number).ok()?)
    }

    /// The guest lets go of the device in the lowest slot of `slots`.
    fn eject(&mut self, slots: u32) {
        let (number, slot) = (self.selected, slots.trailing_zeros() as u8);
        let bit = slot_bit(slot);
        let Some(bus) = self.bus_mut(number).filter(|_| bit != 0) else { return };
        bus.up &= !bit;
        bus.down &= !bit;
        if bus.slots.pluggable & bit != 0 {
            self.events.eject_slot(number, slot);
        }
    }
}

/// A slot as a bit; none for one that does not exist.
fn slot_bit(slot: u8) -> u32 {
    1_u32.checked_shl(slot.into()).unwrap_or(0)
}

impl IoDevice for PciHotplug {
    fn read(&mut self, _region: u16, offset: u64, size: u8) -> u64 {
        let selected = self.selected;
        if size != 4 || selected >= MOST_BUSES {
            return 0;
        }
        let value = match offset {
            reg::BNUM => selected,
            reg::PIDX => std::mem::take(&mut self.acpi_index),
            _ => match (offset, self.bus_mut(selected)) {
                (reg::PCIU, Some(bus)) => std::mem::take(&mut bus.up),
                (reg::PCID, Some(bus)) => bus.down,
                (reg::PCRM, Some(bus)) => bus.slots.pluggable,
                // A bus that does not exist has nothing that could not go.
                (reg::PCRM, None) => u32::MAX,
                _ => 0,
            },
        };
        value.into()
    }

    fn write(&mut self, _region: u16, offset: u64, size: u8, value: u64) {
        if size != 4 {
            return;
        }
        let value = value as u32;
        match offset {
            reg::B0EJ => self.eject(value),
            reg::BNUM => self.selected = value,
            reg::PIDX => {
                let (number, slot) = (self.selected, value.trailing_zeros() as usize);
                let bus = self.bus_mut(number);
                if let Some(index) = bus.and_then(|bus| bus.slots.acpi_index.get(slot).copied()) {
                    self.acpi_index = index;
                }
            }
            _ => {}
        }
    }
}

mod state {
    use super::{Deserialize, Serialize};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub selected: u32,
        pub acpi_index: u32,
        pub buses: Vec<Bus>,
    }

    /// What has changed on a bus.
    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Bus {
        pub up: u32,
        pub down: u32,
    }
}

impl Device for PciHotplug {
    fn name(&self) -> &'static str {
        "acpi-pci-hotplug"
    }

    /// What the guest was to let go of is gone after a reset.
    fn reset(&mut self, _kind: ResetKind) {
        self.selected = 0;
        self.acpi_index = 0;
        for (number, bus) in (0..).zip(&mut self.buses) {
            bus.up = 0;
            let down = std::mem::take(&mut bus.down);
            for slot in (0..SLOTS).filter(|slot| down & slot_bit(*slot) != 0) {
                self.events.eject_slot(number, slot);
            }
        }
    }

    fn save(&self) -> State {
        let Self { event: _, events: _, buses, selected, acpi_index } = self;
        let buses = buses.iter().map(|HotBus { slots: _, up, down }| state::Bus { up: *up, down: *down }).collect();
        State::of(state::VERSION, &state::V1 { selected: *selected, acpi_index: *acpi_index, buses })
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 { selected, acpi_index, buses } = state.decode(state::VERSION)?;
        if buses.len() != self.buses.len() {
            let why = format!("has {} buses, and the machine {}", buses.len(), self.buses.len());
            return Err(StateError::invalid("buses", why));
        }
        let fits = |(bus, saved): (&HotBus, &state::Bus)| (saved.up | saved.down) & !bus.slots.pluggable == 0;
        if !self.buses.iter().zip(&buses).all(fits) {
            return Err(StateError::invalid("buses", "has an event of a slot whose device is there to stay"));
        }
        for (bus, state::Bus { up, down }) in self.buses.iter_mut().zip(buses) {
            (bus.up, bus.down) = (up, down);
        }
        (self.selected, self.acpi_index) = (selected, acpi_index);
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        out.register("BNUM", self.selected, 32);
        for (number, bus) in self.buses.iter().enumerate() {
            out.register(format!("bus {number} PCIU"), bus.up, 32);
            out.register(format!("bus {number} PCID"), bus.down, 32);
            out.register(format!("bus {number} PCRM"), bus.slots.pluggable, 32);
        }
    }
}

#[cfg(test)]
mod tests;
