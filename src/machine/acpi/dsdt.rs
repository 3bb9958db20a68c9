//! The DSDT: the devices that can't be enumerated, and how PCI interrupts reach the interrupt controllers.
//!
//! Everything that is known when the machine starts is plain data. An operating system evaluates this table before
//! it can do much else, and methods, loops and registers read from AML are what takes time there. What is left to
//! methods is the routing of the four PIRQs, which is the guest's to change.

mod isa;
mod processors;
mod slots;

use acpi_tables::Aml;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, And, Arg, DeRefOf, Field, FieldAccessType, FieldEntry, FieldLockRule,
    FieldUpdateRule, If, Index, Local, Memory32Fixed, Package, PackageBuilder, Path, ResourceTemplate, Return, Store,
    ZERO,
};

use super::aml::{FieldRef as Register, LevelInterrupts, Raw, crs, device, hid, io, method, name, scope};
use super::{Inputs, Purpose};
use crate::machine::board::{irq, pci, port};
use crate::machine::layout::{HPET, MemoryLayout, VGA_WINDOW};

/// What `_STA` says of a device that works, but is not worth showing to the user.
const STA_HIDDEN: u8 = 0x0b;
/// What it says of one that could work, but does not.
const STA_DISABLED: u8 = 0x09;
/// Interrupt link devices of PIRQA to PIRQD, and the routing register of each as a field.
const LINKS: [(&str, [u8; 4]); 4] = [("LNKA", *b"PRQ0"), ("LNKB", *b"PRQ1"), ("LNKC", *b"PRQ2"), ("LNKD", *b"PRQ3")];
/// The link device of what is wired to the SCI.
const SCI_LINK: &str = "LNKS";
/// In a PIRQRC register: the PIRQ is not routed. Bits 3:0 are the interrupt it is routed to.
const PIRQ_DISABLE: u8 = 1 << 7;
const PIRQ_ROUTING: u8 = 0x0f;
/// `SLP_TYP` of soft off and of suspend to RAM, which the PIIX4 has fixed.
const SLEEP_S5: u8 = 0;
const SLEEP_S3: u8 = 1;

/// The definition block without its header.
pub(super) fn body(inputs: &Inputs<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    let mut add = |term: Raw| term.to_aml_bytes(&mut body);
    let mut system_bus = Vec::new();
    match inputs.purpose {
        Purpose::Firmware => {
            // Before the routing table: not every system resolves references in it to what it has not met yet.
            system_bus.extend((0..).zip(LINKS).map(|(uid, (link, register))| pirq_link(uid, link, register)));
            system_bus.push(sci_link());
            system_bus.push(pci_root(inputs));
            system_bus.push(pirq_registers());
            if inputs.devices.hpet.is_some() {
                system_bus.push(hpet());
            }
            system_bus.push(processors::pluggable(inputs.cpus));
            add(scope("\\_SB_", &system_bus));
            add(scope("\\_GPE", &[name("_HID", &"ACPI0006")]));
            add(slots::event());
            add(processors::event());
            if inputs.sleep.s3 {
                add(sleep_state("\\_S3_", SLEEP_S3));
            }
            if let Some(value) = inputs.sleep.s4 {
                add(sleep_state("\\_S4_", value));
            }
        }
        Purpose::DirectBoot { .. } => {
            system_bus.push(pci_root(inputs));
            system_bus.extend(processors::fixed(inputs.cpus));
            add(scope("\\_SB_", &system_bus));
        }
    }
    add(sleep_state("\\_S5_", SLEEP_S5));
    body
}

/// What to write to PM1a and, if there were one, PM1b.
fn sleep_state(path: &str, value: u8) -> Raw {
    name(path, &Package::new(vec![&value, &value, &ZERO, &ZERO]))
}

/// The host bridge, with the bus it owns.
fn pci_root(inputs: &Inputs<'_>) -> Raw {
    let mut children = vec![hid("PNP0A03")];
    if inputs.purpose == Purpose::Firmware {
        children.push(name("_UID", &ZERO));
    }
    children.extend([name("_CRS", &pci_windows(inputs)), name("_PRT", &pci_routing(inputs.purpose))]);
    if inputs.purpose == Purpose::Firmware {
        children.extend(slots::machinery());
        children.push(processors::machinery());
        children.push(container("GPE0", "GPE0 resources", &[name("_STA", &STA_HIDDEN), crs(&[&io(port::GPE0, 4)])]));
        let of_the_board = |slot| if slot == pci::ISA_BRIDGE.0 { isa::bridge(inputs) } else { Vec::new() };
        children.extend(slots::bus("\\_SB_.PCI0", inputs.slots, &of_the_board));
    } else {
        let (slot, function) = pci::ISA_BRIDGE;
        let mut bridge = vec![name("_ADR", &(u32::from(slot) << 16 | u32::from(function)))];
        bridge.extend(isa::bridge(inputs));
        children.push(device(&slots::slot_name(slot), &bridge));
    }
    if inputs.devices.fw_cfg {
        let resources = crs(&[&io(port::FW_CFG, 12)]);
        children.push(device("FWCF", &[name("_HID", &"QEMU0002"), name("_STA", &STA_HIDDEN), resources]));
    }
    device("PCI0", &children)
}

/// A device that stands for resources which no other device names.
fn container(path: &str, uid: &'static str, children: &[Raw]) -> Raw {
    device(path, &[&[hid("PNP0A06"), name("_UID", &uid)], children].concat())
}

/// Buses, ports and memory that the host bridge passes on. Where no device names the ports of [`port::ACPI`] they are left
/// out, so that no base address register is set to them.
fn pci_windows(inputs: &Inputs<'_>) -> Raw {
    use AddressSpaceCacheable::{Cacheable, NotCacheable};
    let MemoryLayout { pci_hole32, .. } = inputs.layout;
    let [hole32, vga] = [pci_hole32, &VGA_WINDOW].map(|range| (range.start as u32, range.end as u32 - 1));
    let hole64 = &inputs.pci_hole64;
    let config = port::PCI_CONFIG;
    let buses = AddressSpace::new_bus_number(0u16, 0xff);
    let registers = io(config, 8);
    let ports_below = AddressSpace::new_io(0u16, config - 1, None);
    let ports_above = match inputs.purpose {
        Purpose::Firmware => vec![AddressSpace::new_io(config + 8, 0xffff, None)],
        Purpose::DirectBoot { .. } => vec![
            AddressSpace::new_io(config + 8, port::ACPI.start - 1, None),
            AddressSpace::new_io(port::ACPI.end, 0xffff, None),
        ],
    };
    let vga = AddressSpace::new_memory(Cacheable, true, vga.0, vga.1, None);
    let memory32 = AddressSpace::new_memory(NotCacheable, true, hole32.0, hole32.1, None);
    let memory64 = AddressSpace::new_memory(Cacheable, true, hole64.start, hole64.end.saturating_sub(1), None);
    let mut windows: Vec<&dyn Aml> = vec![&buses, &registers, &ports_below];
    windows.extend(ports_above.iter().map(|window| window as &dyn Aml));
    windows.extend([&vga as &dyn Aml, &memory32]);
    if !hole64.is_empty() {
        windows.push(&memory64);
    }
    Raw::of(&ResourceTemplate::new(windows))
}

/// Where each pin of each slot goes.
fn pci_routing(purpose: Purpose) -> PackageBuilder {
    let links = LINKS.map(|(link, _)| Path::new(link));
    let sci_link = Path::new(SCI_LINK);
    let in_use = match purpose {
        Purpose::Firmware => u32::MAX,
        Purpose::DirectBoot { slots, .. } => slots,
    };
    let mut table = PackageBuilder::new();
    for slot in (0..pci::SLOTS).filter(|slot| in_use & 1 << slot != 0) {
        for pin in 0..4u8 {
            let any_function = u32::from(slot) << 16 | 0xffff;
            let (link, interrupt): (&dyn Aml, u8) = match purpose {
                Purpose::DirectBoot { pirqs, .. } => (&ZERO, pci::interrupt(slot, pin, pirqs)),
                Purpose::Firmware if (slot, pin) == (pci::ISA_BRIDGE.0, 0) => (&sci_link, 0),
                Purpose::Firmware => (&links[usize::from(pci::pirq(slot, pin))], 0),
            };
            table.add_element(&Package::new(vec![&any_function, &pin, link, &interrupt]));
        }
    }
    table
}

/// The PIRQ route control registers, by the names that the link devices use.
fn pirq_registers() -> Raw {
    let fields = LINKS.map(|(_, register)| FieldEntry::Named(register, 8));
    Raw::of(&Field::new(
        "PCI0.S08_.P40C".into(),
        FieldAccessType::Byte,
        FieldLockRule::NoLock,
        FieldUpdateRule::Preserve,
        fields.to_vec(),
    ))
}

/// The interrupt link device of a PIRQ.
fn pirq_link(uid: u8, path: &str, register: [u8; 4]) -> Raw {
    let register = Register(register);
    let choices = LevelInterrupts(&irq::PIRQ_CHOICES);
    let current = LevelInterrupts(&[0]);
    let (current, local) = (ResourceTemplate::new(vec![&current]), Local(0));
    device(
        path,
        &[
            hid("PNP0C0F"),
            name("_UID", &uid),
            name("_PRS", &ResourceTemplate::new(vec![&choices])),
            method(
                "_STA",
                0,
                vec![
                    &If::new(&And::new(&ZERO, &register, &PIRQ_DISABLE), vec![&Return::new(&STA_DISABLED)]),
                    &Return::new(&STA_HIDDEN),
                ],
            ),
            method(
                "_CRS",
                0,
                vec![
                    &Store::new(&local, &current),
                    &And::new(&Index::new(&ZERO, &local, &LevelInterrupts::NUMBER), &register, &PIRQ_ROUTING),
                    &Return::new(&local),
                ],
            ),
            method(
                "_SRS",
                1,
                vec![&Store::new(&register, &DeRefOf::new(&Index::new(&ZERO, &Arg(0), &LevelInterrupts::NUMBER)))],
            ),
            method("_DIS", 0, vec![&Store::new(&register, &PIRQ_DISABLE)]),
        ],
    )
}

/// The interrupt link device of what can only be the SCI.
fn sci_link() -> Raw {
    let interrupt = LevelInterrupts(&[irq::SCI]);
    let resources = ResourceTemplate::new(vec![&interrupt]);
    device(
        SCI_LINK,
        &[
            hid("PNP0C0F"),
            name("_UID", &(LINKS.len() as u8)),
            name("_STA", &STA_HIDDEN),
            name("_PRS", &resources),
            name("_CRS", &resources),
            method("_SRS", 1, vec![]),
            method("_DIS", 0, vec![]),
        ],
    )
}

fn hpet() -> Raw {
    let registers = Memory32Fixed::new(false, HPET.start as u32, (HPET.end - HPET.start) as u32);
    device("HPET", &[hid("PNP0103"), name("_UID", &ZERO), name("_CRS", &ResourceTemplate::new(vec![&registers]))])
}
