//! ACPI hot-plug: its registers, and what becomes of what the guest does with them.

use std::sync::Arc;

use devices::base::{Shared, lock, shared};
use devices::chipset::hotplug::HotplugEvents;
use devices::chipset::hotplug::cpu::CpuHotplug;
use devices::chipset::hotplug::pci::{BusSlots, PciHotplug};
use devices::pci::PciBus;

use super::Board;
use crate::machine::acpi::{Cpu, Slots};
use crate::machine::board::{gpe, port};

/// The root bus's number in the hot-plug registers.
const ROOT_BUS: u32 = 0;

/// Offset of class and subclass in configuration space, and their value for VGA.
const CLASS: u8 = 0x0a;
const CLASS_VGA: u32 = 0x0300;

/// The parts of the board that take part in hot-plug.
pub(super) struct Hotplug {
    slots: Shared<PciHotplug>,
    /// Bus, slot and `acpi-index` of each device that has one.
    acpi_indices: Vec<(String, u8, u16)>,
}

/// What the guest lets go of stays: nothing comes or goes while the machine runs. The guest can say so as often as it likes,
/// which is therefore for the curious only.
struct Stay;

impl HotplugEvents for Stay {
    fn eject_slot(&self, bus: u32, slot: u8) {
        log::debug!("the guest ejects PCI device {slot:02x} of bus {bus}, which can't leave a running machine");
    }

    fn eject_cpu(&self, cpu: u32) {
        log::debug!("the guest ejects CPU {cpu}, which can't leave a running machine");
    }

    fn cpu_status(&self, cpu: u32, event: u32, status: u32) {
        log::debug!("the guest reports on CPU {cpu}: event {event:#x}, status {status:#x}");
    }
}

impl Board {
    /// Adds the registers. Without the power management function there are no events, and so no hot-plug.
    pub(super) fn add_hotplug(&mut self, cpus: &[Cpu]) {
        let Some(events) = self.power.as_ref().map(|power| Arc::clone(&power.general_events)) else { return };
        let apic_ids: Vec<_> = cpus.iter().map(|cpu| cpu.apic_id).collect();
        let present = cpus.iter().filter(|cpu| cpu.present).count();
        let processors = CpuHotplug::new(&apic_ids, present, events.input(gpe::CPU_HOTPLUG), Arc::new(Stay));
        self.add(&shared(processors), &[(port::CPU_HOTPLUG, CpuHotplug::REGION)]);
        let slots = shared(PciHotplug::new(events.input(gpe::PCI_HOTPLUG), Arc::new(Stay)));
        self.add(&slots, &[(port::PCI_HOTPLUG, PciHotplug::REGION)]);
        self.hotplug = Some(Hotplug { slots, acpi_indices: Vec::new() });
    }

    /// Remembers that ACPI names the device in a slot by a number.
    pub(super) fn set_acpi_index(&mut self, bus: &PciBus, slot: u8, index: u16) {
        if let Some(hotplug) = &mut self.hotplug {
            hotplug.acpi_indices.push((bus.name().to_owned(), slot, index));
        }
    }

    /// Tells the registers who sits on the buses. To be called once everybody does.
    pub(super) fn describe_slots(&self) {
        if let Some(hotplug) = &self.hotplug {
            describe(&self.pci, &self.slots(), &hotplug.acpi_indices, &mut lock(&hotplug.slots));
        }
    }

    /// The root bus, and what is behind its bridges, as the firmware's tables describe it.
    #[must_use]
    pub fn slots(&self) -> Slots {
        let mut next_number = ROOT_BUS;
        slots(&self.pci, &mut next_number)
    }
}

/// What sits on a bus. Buses are numbered from `next_number` on, each before those behind it.
fn slots(bus: &PciBus, next_number: &mut u32) -> Slots {
    let mut slots = Slots { number: *next_number, pluggable: u32::MAX, ..Slots::default() };
    *next_number += 1;
    for (address, _) in bus.functions() {
        let bit = 1 << address.slot;
        // What is there when the machine starts stays.
        slots.pluggable &= !bit;
        if address.function == 0 {
            slots.present |= bit;
        }
        if bus.config_read(address, CLASS, 2) == CLASS_VGA {
            slots.displays |= bit;
        }
    }
    for (address, secondary) in bus.secondaries() {
        slots.bridges.push((address.slot, self::slots(&secondary, next_number)));
    }
    slots
}

/// Tells the registers of a bus and of those behind it.
fn describe(bus: &PciBus, slots: &Slots, indices: &[(String, u8, u16)], registers: &mut PciHotplug) {
    let mut told = BusSlots { pluggable: slots.pluggable, ..BusSlots::default() };
    for (_, slot, index) in indices.iter().filter(|(name, ..)| name == bus.name()) {
        told.acpi_index[usize::from(*slot)] = (*index).into();
    }
    registers.describe(slots.number, told);
    for ((_, secondary), (_, behind)) in bus.secondaries().iter().zip(&slots.bridges) {
        describe(secondary, behind, indices, registers);
    }
}
