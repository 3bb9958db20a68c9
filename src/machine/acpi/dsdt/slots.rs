//! Hot-plug of PCI devices: the slots of each bus, and the methods that use the registers of
//! [`PciHotplug`](devices::chipset::hotplug::pci::PciHotplug).
//!
//! Names are those of QEMU's tables. Everything about a slot that can be a constant is one, and what slots have in common is
//! in one place: there are 32 of them on each bus, and a guest looks at all.

use acpi_tables::Aml;
use acpi_tables::aml::{
    And, Arg, BufferData, Equal, FieldAccessType, FieldEntry, GreaterEqual, Index, Local, Mutex, Notify, ONE, Package,
    Path, ShiftLeft, Uuid, ZERO,
};

use crate::machine::acpi::Slots;
use crate::machine::acpi::aml::{
    Raw, answer, call, crs, device, io, locked, method, name, path, ports, registers, scope, store, terms, when,
};
use crate::machine::board::{pci, port};

use super::{STA_HIDDEN, container};

/// Values of `Notify`: look whether the device came; let go of it.
const DEVICE_CHECK: u8 = 1;
const EJECT_REQUEST: u8 = 3;
/// The device labelling interface of the PCI firmware specification, and its function that tells a device's name.
const LABELLING: &str = "e5c937d0-3553-4d7a-9117-ea4d19c3434d";
const LABEL: u8 = 7;

/// The registers of the root bus, and the methods of all slots.
pub(super) fn machinery() -> Vec<Raw> {
    use FieldAccessType::DWord;
    let base = port::PCI_HOTPLUG;
    let word = |name: &[u8; 4]| FieldEntry::Named(*name, 32);
    vec![
        ports("PCST", base, 8),
        registers("PCST", DWord, &[word(b"PCIU"), word(b"PCID")]),
        ports("SEJ_", base + 8, 4),
        registers("SEJ_", DWord, &[word(b"B0EJ")]),
        ports("BNMR", base + 0x10, 8),
        registers("BNMR", DWord, &[word(b"BNUM"), word(b"PIDX")]),
        Raw::of(&Mutex::new("BLCK".into(), 0)),
        eject(),
        acpi_index(),
        labels(),
        container("PHPR", "PCI Hotplug resources", &[name("_STA", &STA_HIDDEN), crs(&[&io(base, 0x18)])]),
    ]
}

/// `PCEJ (bus, slot)`.
fn eject() -> Raw {
    let slot = ShiftLeft::new(&ZERO, &ONE, &Arg(1));
    method("PCEJ", 2, vec![&locked("BLCK", &[store(&path("BNUM"), &Arg(0)), store(&path("B0EJ"), &slot)])])
}

/// `AIDX (bus, slot)`: the `acpi-index` of a device, zero if it has none.
fn acpi_index() -> Raw {
    let slot = ShiftLeft::new(&ZERO, &ONE, &Arg(1));
    let ask = [store(&path("BNUM"), &Arg(0)), store(&path("PIDX"), &slot), store(&Local(0), &path("PIDX"))];
    method("AIDX", 2, vec![&locked("BLCK", &ask), &answer(&Local(0))])
}

/// `PDSM (uuid, revision, function, bus, slot)`: `_DSM` of every slot. Says by what number the device is to be named.
fn labels() -> Raw {
    let (index, label) = (Local(0), Local(1));
    let nothing = BufferData::new(vec![0]);
    let functions = BufferData::new(vec![1 << LABEL | 1]);
    let named = [
        when(&Equal::new(&Arg(2), &ZERO), &[answer(&functions)]),
        when(
            &Equal::new(&Arg(2), &LABEL),
            &[
                store(&label, &Package::new(vec![&ZERO, &""])),
                store(&Index::new(&ZERO, &label, &ZERO), &index),
                answer(&label),
            ],
        ),
    ];
    let asked = [store(&index, &call("AIDX", &[&Arg(3), &Arg(4)])), when(&index, &named)];
    let ours = when(&Equal::new(&Arg(0), &Uuid::new(LABELLING)), &[when(&GreaterEqual::new(&Arg(1), &2u8), &asked)]);
    method("PDSM", 5, vec![&ours, &answer(&nothing)])
}

/// The slots of the bus behind the device `bridge`. `extra` is what the functions of a slot add to it.
pub(super) fn bus(bridge: &str, slots: &Slots, extra: &dyn Fn(u8) -> Vec<Raw>) -> Vec<Raw> {
    let mut terms = vec![name("BSEL", &slots.number)];
    for slot in (0..pci::SLOTS).filter(|slot| (slots.present | slots.pluggable) & 1 << slot != 0) {
        let mut children = vec![name("_ADR", &(u32::from(slot) << 16)), name("ASUN", &slot)];
        let device_of_slot = [&Arg(0) as &dyn Aml, &Arg(1), &Arg(2), &path("BSEL"), &path("ASUN")];
        children.push(method("_DSM", 4, vec![&answer(&call("PDSM", &device_of_slot))]));
        if slots.pluggable & 1 << slot != 0 {
            children.push(name("_SUN", &slot));
            children.push(method("_EJ0", 1, vec![&call("PCEJ", &[&path("BSEL"), &path("_SUN")])]));
        }
        if slots.displays & 1 << slot != 0 {
            // A display keeps its contents in every sleeping state.
            children.extend(["_S1D", "_S2D", "_S3D"].map(|state| method(state, 0, vec![&answer(&ZERO)])));
        }
        children.extend(extra(slot));
        for (_, behind) in slots.bridges.iter().filter(|(bridge, _)| *bridge == slot) {
            children.extend(bus(&below(bridge, slot), behind, &|_| Vec::new()));
        }
        terms.push(device(&slot_name(slot), &children));
    }
    terms.push(notify(slots));
    terms.push(ask(bridge, slots));
    terms
}

/// Path of the device in a slot of the bus behind `bridge`.
fn below(bridge: &str, slot: u8) -> String {
    format!("{bridge}.{}", slot_name(slot))
}

/// `S08_` for slot 1: the slot's name by device and function, as one number.
pub(super) fn slot_name(slot: u8) -> String {
    format!("S{:02X}_", slot << 3)
}

/// `DVNT (slots, event)`: tells the system of an event in each of the slots.
fn notify(slots: &Slots) -> Raw {
    let each: Vec<_> = (0..pci::SLOTS)
        .filter(|slot| slots.pluggable & 1 << slot != 0)
        .map(|slot| {
            let device = Path::new(&slot_name(slot));
            let mask = 1u32 << slot;
            when(&And::new(&ZERO, &Arg(0), &mask), &[Raw::of(&Notify::new(&device, &Arg(1)))])
        })
        .collect();
    method("DVNT", 2, terms(&each))
}

/// `PCNT ()`: asks the registers of this bus, and of those behind it.
fn ask(bridge: &str, slots: &Slots) -> Raw {
    let mut body = vec![
        store(&path("BNUM"), &slots.number),
        call("DVNT", &[&path("PCIU"), &DEVICE_CHECK]),
        call("DVNT", &[&path("PCID"), &EJECT_REQUEST]),
    ];
    body.extend(slots.bridges.iter().map(|(slot, _)| call(&format!("{}.PCNT", below(bridge, *slot)), &[])));
    method("PCNT", 0, terms(&body))
}

/// The method of the general purpose event.
pub(super) fn event() -> Raw {
    let ask = locked("\\_SB_.PCI0.BLCK", &[call("\\_SB_.PCI0.PCNT", &[])]);
    scope("\\_GPE", &[method("_E01", 0, vec![&ask])])
}
