//! The PIIX3 and the devices behind it, which no bus enumerates.

use acpi_tables::Aml;
use acpi_tables::aml::{Arg, BufferData, FieldAccessType, FieldEntry, IO, OpRegion, OpRegionSpace, Path, Return};

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

fn floppy_controller(drives: [bool; 2]) -> Raw {
    // Floppy disk enumerate: four drives, then whether there is a tape drive (2: never).
    let present = [drives[0].into(), drives[1].into(), 0, 0, 2u32];
    let present = present.iter().flat_map(|value| value.to_le_bytes()).collect();
    let (registers, input) = (unaligned(port::FDC, 4), unaligned(port::FDC_DIR, 1));
    device(
        "FDC0",
        &[
            hid("PNP0700"),
            crs(&[&registers, &input, &IrqNoFlags(irq::FDC), &Dma8(dma::FDC)]),
            name("_FDE", &BufferData::new(present)),
        ],
    )
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
