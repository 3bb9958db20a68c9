//! The DSDT: the devices that can't be enumerated, and how PCI interrupts reach the interrupt controllers.
//!
//! Everything that is known when the machine starts is plain data. An operating system evaluates this table before
//! it can do much else, and methods, loops and registers read from AML are what takes time there. What is left to
//! methods is the routing of the four PIRQs, which is the guest's to change.

use acpi_tables::Aml;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, And, Arg, BufferData, DeRefOf, Field, FieldAccessType, FieldEntry,
    FieldLockRule, FieldUpdateRule, IO, If, Index, Local, Memory32Fixed, OpRegion, OpRegionSpace, Package,
    PackageBuilder, Path, ResourceTemplate, Return, Store, ZERO,
};

use super::aml::{Dma8, FieldRef as Register, IrqNoFlags, LevelInterrupts, Raw, device, hid, method, name, scope};
use super::{Cpu, Inputs, Purpose};
use crate::machine::board::{dma, irq, pci, port};
use crate::machine::layout::{HPET, MemoryLayout, VGA_WINDOW};

/// What `_STA` says of a device that works, but is not worth showing to the user.
const STA_HIDDEN: u8 = 0x0b;
/// What it says of one that could work, but does not.
const STA_DISABLED: u8 = 0x09;
/// Interrupt link devices of PIRQA to PIRQD, and the routing register of each as a field.
const LINKS: [(&str, [u8; 4]); 4] = [("LNKA", *b"PRQA"), ("LNKB", *b"PRQB"), ("LNKC", *b"PRQC"), ("LNKD", *b"PRQD")];
/// Name of the first processor as a hexadecimal number; the others count on.
const FIRST_CPU_NAME: u32 = 0xc000;
/// The link device of what is wired to the SCI.
const SCI_LINK: &str = "LNKS";
/// In a PIRQRC register: the PIRQ is not routed. Bits 3:0 are the interrupt it is routed to.
const PIRQ_DISABLE: u8 = 1 << 7;
const PIRQ_ROUTING: u8 = 0x0f;

/// The definition block without its header.
pub(super) fn body(inputs: &Inputs<'_>) -> Vec<u8> {
    let mut system_bus = Vec::new();
    let for_firmware = inputs.purpose == Purpose::Firmware;
    if for_firmware {
        // Before the routing table: not every system resolves references in it to what it has not met yet.
        system_bus.extend((0..).zip(LINKS).map(|(uid, (link, register))| pirq_link(uid, link, register)));
        system_bus.push(sci_link());
    }
    system_bus.push(pci_root(inputs));
    if for_firmware {
        system_bus.push(pirq_registers());
    }
    if for_firmware && inputs.devices.hpet {
        system_bus.push(hpet());
    }
    system_bus.extend(processors(inputs.cpus));

    let mut body = Vec::new();
    scope("\\_SB_", &system_bus).to_aml_bytes(&mut body);
    // SLP_TYP 0 is the PIIX4's soft off.
    let soft_off = Package::new(vec![&ZERO, &ZERO, &ZERO, &ZERO]);
    name("\\_S5_", &soft_off).to_aml_bytes(&mut body);
    body
}

/// The host bridge, with the bus it owns.
fn pci_root(inputs: &Inputs<'_>) -> Raw {
    let mut children = vec![hid("PNP0A03")];
    if inputs.purpose == Purpose::Firmware {
        children.push(name("_UID", &ZERO));
    }
    children.extend([
        name("_CRS", &pci_windows(inputs.layout)),
        name("_PRT", &pci_routing(inputs.purpose)),
        isa_bridge(inputs),
    ]);
    if inputs.devices.fw_cfg {
        let registers = IO::new(port::FW_CFG, port::FW_CFG, 1, 12);
        children.push(device(
            "FWCF",
            &[
                name("_HID", &"QEMU0002"),
                name("_STA", &STA_HIDDEN),
                name("_CRS", &ResourceTemplate::new(vec![&registers])),
            ],
        ));
    }
    device("PCI0", &children)
}

/// Buses, ports and memory that the host bridge passes on. The ports of [`port::ACPI`] are left out, so that no base
/// address register is set to them.
fn pci_windows(layout: &MemoryLayout) -> Raw {
    use AddressSpaceCacheable::{Cacheable, NotCacheable};
    let [hole32, vga] = [&layout.pci_hole32, &VGA_WINDOW].map(|range| (range.start as u32, range.end as u32 - 1));
    let hole64 = &layout.pci_hole64;
    let config = port::PCI_CONFIG;
    let buses = AddressSpace::new_bus_number(0u16, 0xff);
    let registers = IO::new(config, config, 1, 8);
    let ports_below = AddressSpace::new_io(0u16, config - 1, None);
    let ports_above = AddressSpace::new_io(config + 8, port::ACPI.start - 1, None);
    let ports_on_top = AddressSpace::new_io(port::ACPI.end, 0xffff, None);
    let vga = AddressSpace::new_memory(Cacheable, true, vga.0, vga.1, None);
    let memory32 = AddressSpace::new_memory(NotCacheable, true, hole32.0, hole32.1, None);
    let memory64 = AddressSpace::new_memory(Cacheable, true, hole64.start, hole64.end.saturating_sub(1), None);
    let mut windows: Vec<&dyn Aml> =
        vec![&buses, &registers, &ports_below, &ports_above, &ports_on_top, &vga, &memory32];
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

/// The PIIX3 and the devices behind it.
fn isa_bridge(inputs: &Inputs<'_>) -> Raw {
    let devices = &inputs.devices;
    let (slot, function) = pci::ISA_BRIDGE;
    let mut children = vec![name("_ADR", &(u32::from(slot) << 16 | u32::from(function)))];
    if inputs.purpose == Purpose::Firmware {
        let length = LINKS.len();
        children.push(Raw::of(&OpRegion::new("PIRQ".into(), OpRegionSpace::PCIConfig, &pci::PIRQRCA, &length)));
    }
    if devices.i8042 {
        let (data, command) = (io(port::KBC_DATA, 1), io(port::KBC_COMMAND, 1));
        children.push(isa_device("KBD_", "PNP0303", None, &[&data, &command, &IrqNoFlags(irq::KEYBOARD)]));
        children.push(isa_device("MOU_", "PNP0F13", None, &[&IrqNoFlags(irq::MOUSE)]));
    }
    if let Some(drives) = devices.fdc {
        children.push(floppy_controller(drives));
    }
    if devices.lpt {
        children.push(isa_device("LPT1", "PNP0400", Some(1), &[&io(port::LPT, 8), &IrqNoFlags(irq::LPT)]));
    }
    for (n, present) in devices.com.into_iter().enumerate() {
        if present {
            let (path, uid) = (["COM1", "COM2", "COM3", "COM4"][n], Some(n as u8 + 1));
            children.push(isa_device(path, "PNP0501", uid, &[&io(port::COM[n], 8), &IrqNoFlags(irq::COM[n])]));
        }
    }
    children.push(isa_device("RTC_", "PNP0B00", None, &[&io(port::RTC, 2), &IrqNoFlags(irq::RTC)]));
    device("ISA_", &children)
}

/// A device with an ISA plug-and-play id and fixed resources.
fn isa_device(path: &str, id: &str, uid: Option<u8>, resources: &[&dyn Aml]) -> Raw {
    let mut children = vec![hid(id)];
    children.extend(uid.map(|uid| name("_UID", &uid)));
    children.push(name("_CRS", &ResourceTemplate::new(resources.to_vec())));
    device(path, &children)
}

/// `length` ports from `base` on, nowhere else.
fn io(base: u16, length: u8) -> IO {
    IO::new(base, base, 1, length)
}

fn floppy_controller(drives: [bool; 2]) -> Raw {
    // Floppy disk enumerate: four drives, then whether there is a tape drive (2: never).
    let present = [drives[0].into(), drives[1].into(), 0, 0, 2u32];
    let present = present.iter().flat_map(|value| value.to_le_bytes()).collect();
    let resources: [&dyn Aml; 4] = [&io(port::FDC, 4), &io(port::FDC_DIR, 1), &IrqNoFlags(irq::FDC), &Dma8(dma::FDC)];
    device(
        "FDC0",
        &[
            hid("PNP0700"),
            name("_CRS", &ResourceTemplate::new(resources.to_vec())),
            name("_FDE", &BufferData::new(present)),
        ],
    )
}

/// The PIRQ route control registers, by the names that the link devices use.
fn pirq_registers() -> Raw {
    let fields = LINKS.map(|(_, register)| FieldEntry::Named(register, 8));
    Raw::of(&Field::new(
        "PCI0.ISA_.PIRQ".into(),
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

/// The processors, numbered as in the MADT.
fn processors(cpus: &[Cpu]) -> impl Iterator<Item = Raw> {
    (0u32..).zip(cpus).map(|(uid, cpu)| {
        let mut children = vec![name("_HID", &"ACPI0007"), name("_UID", &uid)];
        if !cpu.present {
            children.push(name("_STA", &ZERO));
        }
        device(&format!("{:04X}", FIRST_CPU_NAME + uid), &children)
    })
}
