//! The processors: devices numbered as in the MADT, and for firmware the methods that use the registers of
//! [`CpuHotplug`](devices::chipset::hotplug::cpu::CpuHotplug).

use acpi_tables::Aml;
use acpi_tables::aml::{
    Add, Arg, BufferData, EISAName, Else, Equal, FieldAccessType, FieldEntry, GreaterEqual, LessThan, Local, Mutex,
    Notify, ONE, Path, While, ZERO,
};

use crate::machine::acpi::aml::{
    Raw, answer, call, crs, device, io, locked, method, name, path, ports, registers, scope, store, terms, when,
};
use crate::machine::acpi::{Cpu, tables};
use crate::machine::board::port;

use super::container;

/// Name of the first processor as a hexadecimal number; the others count on.
const FIRST_CPU_NAME: u32 = 0xc000;
/// Values of `Notify`: look whether the processor came; let go of it.
const DEVICE_CHECK: u8 = 1;
const EJECT_REQUEST: u8 = 3;
/// Values of the command register.
const NEXT_EVENT: u8 = 0;
const OST_EVENT: u8 = 1;
const OST_STATUS: u8 = 2;
/// What `_STA` says of a processor that is there.
const STA_PRESENT: u8 = 0x0f;

/// The registers by their names in the tables.
fn register(name: &str) -> Path {
    Path::new(&format!("\\_SB_.PCI0.PRES.{name}"))
}

/// The processors of a machine in which none comes or goes.
pub(super) fn fixed(cpus: &[Cpu]) -> impl Iterator<Item = Raw> {
    (0u32..).zip(cpus).map(|(uid, cpu)| {
        let mut children = vec![name("_HID", &"ACPI0007"), name("_UID", &uid)];
        if !cpu.present {
            children.push(name("_STA", &ZERO));
        }
        device(&cpu_name(uid), &children)
    })
}

fn cpu_name(uid: u32) -> String {
    format!("{:04X}", FIRST_CPU_NAME + uid)
}

/// The hot-plug registers, as a device of the host bridge.
pub(super) fn machinery() -> Raw {
    let bit = |name: &[u8; 4]| FieldEntry::Named(*name, 1);
    let flags = [
        FieldEntry::Reserved(32),
        bit(b"CPEN"),
        bit(b"CINS"),
        bit(b"CRMV"),
        bit(b"CEJ0"),
        bit(b"CEJF"),
        FieldEntry::Reserved(3),
        FieldEntry::Named(*b"CCMD", 8),
    ];
    let words = [FieldEntry::Named(*b"CSEL", 32), FieldEntry::Reserved(32), FieldEntry::Named(*b"CDAT", 32)];
    container(
        "PRES",
        "CPU Hotplug resources",
        &[
            Raw::of(&Mutex::new("CPLK".into(), 0)),
            crs(&[&io(port::CPU_HOTPLUG, 12)]),
            ports("PRST", port::CPU_HOTPLUG, 12),
            registers("PRST", FieldAccessType::Byte, &flags),
            registers("PRST", FieldAccessType::DWord, &words),
            // The first write of zero puts the registers in the place of the bitmap.
            method("_INI", 0, vec![&store(&path("CSEL"), &ZERO)]),
        ],
    )
}

/// The processors of a machine in which they may come and go.
pub(super) fn pluggable(cpus: &[Cpu]) -> Raw {
    let mut children = vec![name("_HID", &"ACPI0010"), name("_CID", &EISAName::new("PNP0A05"))];
    children.extend([notify(cpus), status(), eject(), scan(cpus), report()]);
    children.extend((0u32..).zip(cpus).map(|(uid, cpu)| processor(uid, *cpu)));
    device("CPUS", &children)
}

fn processor(uid: u32, cpu: Cpu) -> Raw {
    let mut entry = Vec::new();
    tables::madt_processor(&mut entry, uid, Cpu { present: true, ..cpu });
    let mut children = vec![
        name("_HID", &"ACPI0007"),
        name("_UID", &uid),
        method("_STA", 0, vec![&answer(&call("CSTA", &[&uid]))]),
        name("_MAT", &BufferData::new(entry)),
        method("_OST", 3, vec![&call("COST", &[&uid, &Arg(0), &Arg(1)])]),
    ];
    // The machine can't do without its first processor.
    if uid != 0 {
        children.push(method("_EJ0", 1, vec![&call("CEJ0", &[&uid])]));
    }
    children.extend(cpu.node.map(|node| name("_PXM", &node)));
    device(&cpu_name(uid), &children)
}

/// `CTFY (cpu, event)`: tells the system of an event of a processor.
fn notify(cpus: &[Cpu]) -> Raw {
    let each: Vec<_> = (0u32..)
        .zip(cpus)
        .map(|(uid, _)| {
            let device = Path::new(&cpu_name(uid));
            when(&Equal::new(&Arg(0), &uid), &[Raw::of(&Notify::new(&device, &Arg(1)))])
        })
        .collect();
    method("CTFY", 2, terms(&each))
}

/// Body of a method that selects the processor that its first argument names, under the lock of the registers.
fn selected(then: Vec<Raw>) -> Raw {
    let mut body = vec![store(&register("CSEL"), &Arg(0))];
    body.extend(then);
    locked("\\_SB_.PCI0.PRES.CPLK", &body)
}

/// `CSTA (cpu)`: `_STA` of a processor.
fn status() -> Raw {
    let present = when(&register("CPEN"), &[store(&Local(0), &STA_PRESENT)]);
    let body = selected(vec![store(&Local(0), &ZERO), present]);
    method("CSTA", 1, vec![&body, &answer(&Local(0))])
}

/// `CEJ0 (cpu)`: `_EJ0` of a processor.
fn eject() -> Raw {
    method("CEJ0", 1, vec![&selected(vec![store(&register("CEJ0"), &ONE)])])
}

/// `COST (cpu, event, status)`: `_OST` of a processor.
fn report() -> Raw {
    let (command, data) = (register("CCMD"), register("CDAT"));
    let body = [(OST_EVENT, Arg(1)), (OST_STATUS, Arg(2))].into_iter();
    let body = body.flat_map(|(what, value)| [store(&command, &what), store(&data, &value)]).collect();
    method("COST", 3, vec![&selected(body)])
}

/// `CSCN ()`: goes from event to event, until there is none or the search has come round.
fn scan(cpus: &[Cpu]) -> Raw {
    let (next, found, more) = (Local(0), Local(1), Local(2));
    let count = cpus.len() as u32;
    let tell = |flag: &str, event: &dyn Aml| {
        let tell = [call("CTFY", &[&found, event]), store(&register(flag), &ONE)];
        let go_on = store(&more, &LessThan::new(&next, &count));
        when(&register(flag), &[&tell[..], &[go_on]].concat())
    };
    let otherwise = Raw::of(&Else::new(vec![&tell("CRMV", &EJECT_REQUEST)]));
    let seen = [Raw::of(&Add::new(&next, &found, &ONE)), tell("CINS", &DEVICE_CHECK), otherwise];
    let step = [
        store(&more, &ZERO),
        store(&register("CSEL"), &next),
        store(&register("CCMD"), &NEXT_EVENT),
        store(&found, &register("CDAT")),
        when(&GreaterEqual::new(&found, &next), &seen),
    ];
    let search = Raw::of(&While::new(&more, terms(&step)));
    let body = locked("\\_SB_.PCI0.PRES.CPLK", &[store(&next, &ZERO), store(&more, &ONE), search]);
    method("CSCN", 0, vec![&body])
}

/// The method of the general purpose event.
pub(super) fn event() -> Raw {
    scope("\\_GPE", &[method("_E02", 0, vec![&call("\\_SB_.CPUS.CSCN", &[])])])
}
