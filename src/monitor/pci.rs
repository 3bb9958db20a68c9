//! PCI functions, as monitors tell of them.

use std::fmt::Write;

use serde_json::{Value, json};

/// A function on a PCI bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PciFunctionInfo {
    /// Where it is.
    pub bus: u8,
    /// Its slot on the bus.
    pub slot: u8,
    /// Its number in the slot.
    pub function: u8,
    /// Class and subclass.
    pub class: u16,
    /// Who made it, and what it is.
    pub vendor: u16,
    /// What it is.
    pub device: u16,
    /// Vendor and device of the card that it is on; bridges do not tell.
    pub subsystem: Option<(u16, u16)>,
    /// Its interrupt pin, 1 (A) to 4, and the interrupt line that firmware noted; `None`: it has no pin.
    pub interrupt: Option<(u8, u8)>,
    /// The id that the user gave it, or nothing.
    pub id: String,
    /// Its windows.
    pub bars: Vec<BarInfo>,
    /// What is behind it, if it is a bridge.
    pub bridge: Option<BridgeInfo>,
}

/// A window of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarInfo {
    /// Its number; 6 is the ROM.
    pub number: usize,
    /// Where it is; `None`: nowhere.
    pub address: Option<u64>,
    /// Its size in bytes.
    pub size: u64,
    /// What kind of memory it is; `None`: I/O ports.
    pub memory: Option<MemoryBar>,
}

/// A window of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBar {
    /// Its address has 64 bits.
    pub wide: bool,
    /// Reading has no side effects.
    pub prefetchable: bool,
}

/// What a bridge forwards: first and last addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeInfo {
    /// Numbers of the buses: before, behind, and the highest one behind.
    pub primary: u8,
    /// The bus behind it; 0: firmware has not numbered it.
    pub secondary: u8,
    /// The highest bus behind it.
    pub subordinate: u8,
    /// I/O ports.
    pub io: (u64, u64),
    /// Memory.
    pub memory: (u64, u64),
    /// Memory without side effects.
    pub prefetchable: (u64, u64),
    /// The functions behind it.
    pub functions: Vec<PciFunctionInfo>,
}

/// What QEMU calls a class of functions.
#[must_use]
pub fn class_name(class: u16) -> String {
    let name = match class {
        0x0001 => "VGA controller",
        0x0100 => "SCSI controller",
        0x0101 => "IDE controller",
        0x0102 => "Floppy controller",
        0x0104 => "RAID controller",
        0x0106 => "SATA controller",
        0x0180 => "Storage controller",
        0x0200 => "Ethernet controller",
        0x0280 => "Network controller",
        0x0300 => "VGA controller",
        0x0380 => "Display controller",
        0x0400 => "Video controller",
        0x0401 | 0x0403 => "Audio controller",
        0x0480 => "Multimedia controller",
        0x0500 => "RAM controller",
        0x0580 => "Memory controller",
        0x0600 => "Host bridge",
        0x0601 => "ISA bridge",
        0x0604 => "PCI bridge",
        0x0680 => "Bridge",
        0x0700 => "Serial port",
        0x0701 => "Parallel port",
        0x0900 => "Keyboard",
        0x0902 => "Mouse",
        0x0c03 => "USB controller",
        0x0c05 => "SMBus",
        // Decimal, as in QEMU.
        _ => return format!("Class {class:04}"),
    };
    name.to_owned()
}

/// As `info pci` tells them.
#[must_use]
pub fn text(functions: &[PciFunctionInfo]) -> String {
    functions.iter().map(PciFunctionInfo::text).collect()
}

impl PciFunctionInfo {
    fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String can't fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Self { bus, slot, function, class, vendor, device, .. } = self;
        writeln!(out, "  Bus {bus:2}, device {slot:3}, function {function}:")?;
        writeln!(out, "    {}: PCI device {vendor:04x}:{device:04x}", class_name(*class))?;
        if let Some((vendor, device)) = self.subsystem {
            writeln!(out, "      PCI subsystem {vendor:04x}:{device:04x}")?;
        }
        if let Some((pin, line)) = self.interrupt {
            writeln!(out, "      IRQ {line}, pin {}", char::from(b'A' + pin - 1))?;
        }
        if let Some(BridgeInfo { primary, secondary, subordinate, io, memory, prefetchable, .. }) = &self.bridge {
            writeln!(
                out,
                "      BUS {primary}.\n      secondary bus {secondary}.\n      subordinate bus {subordinate}."
            )?;
            writeln!(out, "      IO range [{:#06x}, {:#06x}]", io.0, io.1)?;
            writeln!(out, "      memory range [{:#010x}, {:#010x}]", memory.0, memory.1)?;
            writeln!(out, "      prefetchable memory range [{:#010x}, {:#010x}]", prefetchable.0, prefetchable.1)?;
        }
        for BarInfo { number, address, size, memory } in &self.bars {
            // What does not decode is at ones, as QEMU tells it.
            let first = address.unwrap_or(u64::MAX);
            let last = first.wrapping_add(size - 1);
            match memory {
                None => writeln!(out, "      BAR{number}: I/O at {first:#06x} [{last:#06x}].")?,
                Some(MemoryBar { wide, prefetchable }) => {
                    let (bits, kind) = (if *wide { 64 } else { 32 }, if *prefetchable { " prefetchable" } else { "" });
                    writeln!(out, "      BAR{number}: {bits} bit{kind} memory at {first:#010x} [{last:#010x}].")?;
                }
            }
        }
        writeln!(out, "      id \"{}\"", self.id)?;
        let behind = self.bridge.iter().filter(|bridge| bridge.secondary != 0).flat_map(|bridge| &bridge.functions);
        behind.into_iter().try_for_each(|function| function.write(out))
    }

    /// As `query-pci` tells it.
    pub(super) fn json(&self) -> Value {
        let Self { bus, slot, function, class, vendor, device, subsystem, interrupt, id, bars, bridge } = self;
        let mut ids = json!({ "vendor": vendor, "device": device });
        if let Some((vendor, device)) = subsystem {
            (ids["subsystem-vendor"], ids["subsystem"]) = ((*vendor).into(), (*device).into());
        }
        let mut json = json!({
            "bus": bus,
            "slot": slot,
            "function": function,
            "class_info": { "class": class, "desc": class_name(*class) },
            "id": ids,
            "irq_pin": interrupt.map_or(0, |(pin, _)| pin),
            "qdev_id": id,
            "regions": bars.iter().map(BarInfo::json).collect::<Value>(),
        });
        if let Some((_, line)) = interrupt {
            json["irq"] = (*line).into();
        }
        if let Some(bridge) = bridge {
            let range = |(base, limit): (u64, u64)| json!({ "base": base, "limit": limit });
            json["pci_bridge"] = json!({ "bus": {
                "number": bridge.primary,
                "secondary": bridge.secondary,
                "subordinate": bridge.subordinate,
                "io_range": range(bridge.io),
                "memory_range": range(bridge.memory),
                "prefetchable_range": range(bridge.prefetchable),
            } });
            if bridge.secondary != 0 {
                json["pci_bridge"]["devices"] = bridge.functions.iter().map(Self::json).collect();
            }
        }
        json
    }
}

impl BarInfo {
    fn json(&self) -> Value {
        let Self { number, address, size, memory } = self;
        // QEMU's number of no address is a signed one.
        let address = address.map_or(json!(-1), Value::from);
        match memory {
            None => json!({ "bar": number, "address": address, "size": size, "type": "io" }),
            Some(MemoryBar { wide, prefetchable }) => json!({
                "bar": number, "address": address, "size": size, "type": "memory", "prefetch": prefetchable,
                "mem_type_64": wide,
            }),
        }
    }
}
