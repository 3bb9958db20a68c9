//! The PIIX3 and the devices behind it, which no bus enumerates.

use acpi_tables::Aml;
use acpi_tables::aml::{
    Arg, BufferData, FieldAccessType, FieldEntry, IO, OpRegion, OpRegionSpace, Package, Path, Return,
};
use devices::floppy::DriveKind;

use crate::machine::acpi::aml::{Dma8, IrqNoFlags, Raw, crs, device, hid, io, method, name, ports, registers, store};
use crate::machine::acpi::{Inputs, Purpose};
use crate::machine::board::{dma, irq, pci, port};

use super::LINKS;

/// What the bridge adds to the device in its slot.
pub(super) fn bridge(inputs: &Inputs<'_>) -> Vec<Raw> {
    let devices = &inputs.devices;
    let mut children = Vec::new();
    if inputs.purpose == Purpose::Firmware {
        let length = LINKS.len();
        children.push(Raw::of(&OpRegion::new("P40C".into(), OpRegionSpace::PCIConfig, &pci::PIRQRCA, &length)));
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
        let data = IO::new(port::LPT[0], port::LPT[0], 8, 8);
        children.push(isa_device("LPT1", "PNP0400", Some(1), &[&data, &IrqNoFlags(irq::LPT)]));
    }
    for (n, present) in devices.com.into_iter().enumerate() {
        if present {
            let (path, uid) = (["COM1", "COM2", "COM3", "COM4"][n], Some(n as u8 + 1));
            children.push(isa_device(path, "PNP0501", uid, &[&unaligned(port::COM[n], 8), &IrqNoFlags(irq::COM[n])]));
        }
    }
    children.push(isa_device("RTC_", "PNP0B00", None, &[&io(port::RTC, RTC_PORTS), &IrqNoFlags(irq::RTC)]));
    children.extend(devices.pvpanic.map(pvpanic));
    children
}

/// Ports of the RTC on a PC/AT, of which two decode.
const RTC_PORTS: u8 = 8;

/// A device with an ISA plug-and-play id and fixed resources.
fn isa_device(path: &str, id: &str, uid: Option<u8>, resources: &[&dyn Aml]) -> Raw {
    let mut children = vec![hid(id)];
    children.extend(uid.map(|uid| name("_UID", &uid)));
    children.push(crs(resources));
    device(path, &children)
}

/// Ports with the alignment that QEMU gives those of old devices; where there is one choice it means nothing.
fn unaligned(base: u16, length: u8) -> IO {
    IO::new(base, base, 0, length)
}

fn floppy_controller(drives: [Option<DriveKind>; 2]) -> Raw {
    // Floppy disk enumerate: four drives, then whether there is a tape drive (2: never).
    let present = [drives[0].is_some().into(), drives[1].is_some().into(), 0, 0, 2u32];
    let present = present.iter().flat_map(|value| value.to_le_bytes()).collect();
    let (registers, input) = (unaligned(port::FDC, 4), unaligned(port::FDC_DIR, 1));
    let mut children = vec![hid("PNP0700"), crs(&[&registers, &input, &IrqNoFlags(irq::FDC), &Dma8(dma::FDC)])];
    for (number, (path, kind)) in (0..).zip(["FLPA", "FLPB"].into_iter().zip(drives)) {
        children.extend(kind.map(|kind| floppy_drive(path, number, kind)));
    }
    children.push(name("_FDE", &BufferData::new(present)));
    device("FDC0", &children)
}

/// A drive as the BIOS call for drive parameters (INT 13h, function 08h) tells of it: the limits are those of all media
/// that it takes.
fn floppy_drive(path: &str, number: u8, kind: DriveKind) -> Raw {
    let (last_cylinder, sectors) = match kind {
        DriveKind::Mb120 => (0x52, 0x14),
        DriveKind::Mb144 => (0x52, 0x18),
        DriveKind::Mb288 => (0x4f, 0x30),
    };
    let last_head = 1;
    // Step rate and head times, motor times, bytes in a sector, sectors in a track, gaps, filler, waits: of a 1.44 MB medium.
    let parameters = [0xaf, 0x02, 0x25, 0x02, 0x12, 0x1b, 0xff, 0x6c, 0xf6, 0x0f, 0x08];
    let mut information = vec![number, kind.cmos_type(), last_cylinder, sectors, last_head];
    information.extend::<[u8; 11]>(parameters);
    let information = information.iter().map(|byte| byte as &dyn Aml).collect();
    device(path, &[name("_ADR", &number), name("_FDI", &Package::new(information))])
}

/// The port through which a guest says that it panicked, with the methods by which Linux' driver finds and uses it.
fn pvpanic(base: u16) -> Raw {
    let event = Path::new("PEPT");
    device(
        "PEVT",
        &[
            name("_HID", &"QEMU0001"),
            crs(&[&io(base, 1)]),
            ports("PEOR", base, 1),
            registers("PEOR", FieldAccessType::Byte, &[FieldEntry::Named(*b"PEPT", 8)]),
            name("_STA", &0x0fu8),
            method("RDPT", 0, vec![&Return::new(&event)]),
            method("WRPT", 1, vec![&store(&event, &Arg(0))]),
        ],
    )
}
