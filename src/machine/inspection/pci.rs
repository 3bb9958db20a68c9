//! `info pci`: who sits where on the PCI buses, as QEMU tells it.

use std::fmt::{self, Write};

use devices::pci::config::ROM_BAR;
use devices::pci::{BarKind, PciAddress, PciBus, PciConfig};

/// Offsets in configuration space (PCI Local Bus Specification 2.1, PCI-to-PCI Bridge Architecture Specification 1.1).
mod reg {
    pub const VENDOR: u8 = 0x00;
    pub const DEVICE: u8 = 0x02;
    pub const CLASS: u8 = 0x0a;
    pub const HEADER_TYPE: u8 = 0x0e;
    pub const SUBSYSTEM_VENDOR: u8 = 0x2c;
    pub const SUBSYSTEM: u8 = 0x2e;
    pub const INTERRUPT_LINE: u8 = 0x3c;
    pub const INTERRUPT_PIN: u8 = 0x3d;
    pub const PRIMARY_BUS: u8 = 0x18;
    pub const SECONDARY_BUS: u8 = 0x19;
    pub const SUBORDINATE_BUS: u8 = 0x1a;
    pub const IO_BASE: u8 = 0x1c;
    pub const IO_LIMIT: u8 = 0x1d;
    pub const MEMORY_BASE: u8 = 0x20;
    pub const MEMORY_LIMIT: u8 = 0x22;
    pub const PREFETCH_BASE: u8 = 0x24;
    pub const PREFETCH_LIMIT: u8 = 0x26;
    pub const PREFETCH_BASE_UPPER: u8 = 0x28;
    pub const PREFETCH_LIMIT_UPPER: u8 = 0x2c;
    pub const IO_BASE_UPPER: u8 = 0x30;
    pub const IO_LIMIT_UPPER: u8 = 0x32;
}

/// Header type of a bridge.
const BRIDGE: u8 = 1;

/// All functions on a root bus, and behind its bridges.
pub(super) fn describe(bus: &PciBus) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = write_bus(&mut text, bus, 0);
    text
}

fn write_bus(out: &mut String, bus: &PciBus, number: u8) -> fmt::Result {
    let secondaries = bus.secondaries();
    for (address, label) in bus.functions() {
        let secondary =
            bus.look_at(address, |function| write_function(out, number, address, &label, function.config()));
        let Some(secondary) = secondary.transpose()?.flatten() else { continue };
        if let Some((_, behind)) = secondaries.iter().find(|(place, _)| *place == address) {
            write_bus(out, behind, secondary)?;
        }
    }
    Ok(())
}

/// The id in what the board calls a function.
pub(super) fn id_of(label: &str) -> &str {
    label.split_once(",id=").map_or("", |(_, id)| id)
}

/// Tells about one function. Returns the number of the bus behind it, if it is a bridge that has been given one.
fn write_function(
    out: &mut String,
    bus: u8,
    PciAddress { slot, function }: PciAddress,
    label: &str,
    config: &PciConfig,
) -> Result<Option<u8>, fmt::Error> {
    let (vendor, device) = (config.read_u16(reg::VENDOR), config.read_u16(reg::DEVICE));
    writeln!(out, "  Bus {bus:2}, device {slot:3}, function {function}:")?;
    writeln!(out, "    {}: PCI device {vendor:04x}:{device:04x}", class_name(config))?;
    let is_bridge = config.read_u8(reg::HEADER_TYPE) & 0x7f == BRIDGE;
    if !is_bridge {
        let (vendor, device) = (config.read_u16(reg::SUBSYSTEM_VENDOR), config.read_u16(reg::SUBSYSTEM));
        writeln!(out, "      PCI subsystem {vendor:04x}:{device:04x}")?;
    }
    if let pin @ 1..=4 = config.read_u8(reg::INTERRUPT_PIN) {
        let line = config.read_u8(reg::INTERRUPT_LINE);
        writeln!(out, "      IRQ {line}, pin {}", char::from(b'A' + pin - 1))?;
    }
    if is_bridge {
        write_bridge(out, config)?;
    }
    for index in 0..=ROM_BAR {
        write_bar(out, config, index)?;
    }
    writeln!(out, "      id \"{}\"", id_of(label))?;
    let secondary = config.read_u8(reg::SECONDARY_BUS);
    Ok((is_bridge && secondary != 0).then_some(secondary))
}

fn write_bridge(out: &mut String, config: &PciConfig) -> fmt::Result {
    let numbers = [reg::PRIMARY_BUS, reg::SECONDARY_BUS, reg::SUBORDINATE_BUS].map(|offset| config.read_u8(offset));
    let [primary, secondary, subordinate] = numbers;
    writeln!(out, "      BUS {primary}.")?;
    writeln!(out, "      secondary bus {secondary}.")?;
    writeln!(out, "      subordinate bus {subordinate}.")?;
    let io = |low: u8, upper: u8| {
        let low = config.read_u8(low);
        let upper = if low & 0xf == 1 { u64::from(config.read_u16(upper)) << 16 } else { 0 };
        u64::from(low & 0xf0) << 8 | upper
    };
    let (base, limit) = (io(reg::IO_BASE, reg::IO_BASE_UPPER), io(reg::IO_LIMIT, reg::IO_LIMIT_UPPER) | 0xfff);
    writeln!(out, "      IO range [{base:#06x}, {limit:#06x}]")?;
    let memory = |low: u8| u64::from(config.read_u16(low) & 0xfff0) << 16;
    let (base, limit) = (memory(reg::MEMORY_BASE), memory(reg::MEMORY_LIMIT) | 0xf_ffff);
    writeln!(out, "      memory range [{base:#010x}, {limit:#010x}]")?;
    let prefetch = |low: u8, upper: u8| {
        let wide = config.read_u16(low) & 0xf == 1;
        memory(low) | if wide { u64::from(config.read_u32(upper)) << 32 } else { 0 }
    };
    let base = prefetch(reg::PREFETCH_BASE, reg::PREFETCH_BASE_UPPER);
    let limit = prefetch(reg::PREFETCH_LIMIT, reg::PREFETCH_LIMIT_UPPER) | 0xf_ffff;
    writeln!(out, "      prefetchable memory range [{base:#010x}, {limit:#010x}]")
}

fn write_bar(out: &mut String, config: &PciConfig, index: usize) -> fmt::Result {
    let Some(bar) = config.bar(index) else { return Ok(()) };
    // What does not decode is at ones, as QEMU tells it.
    let first = config.bar_address(index).unwrap_or(u64::MAX);
    let last = first.wrapping_add(bar.region.len - 1);
    // Its number in messages: the ROM comes behind the six others, whatever place it has here.
    let number = if index == ROM_BAR { 6 } else { index };
    match bar.kind {
        BarKind::Io => writeln!(out, "      BAR{number}: I/O at {first:#06x} [{last:#06x}]."),
        kind => {
            let (bits, prefetchable) = match kind {
                BarKind::Memory64 { prefetchable } => (64, prefetchable),
                BarKind::Memory32 { prefetchable } => (32, prefetchable),
                BarKind::Io | BarKind::Rom => (32, false),
            };
            let prefetchable = if prefetchable { " prefetchable" } else { "" };
            writeln!(out, "      BAR{number}: {bits} bit{prefetchable} memory at {first:#010x} [{last:#010x}].")
        }
    }
}

/// What QEMU calls a class of functions.
pub(super) fn class_name(config: &PciConfig) -> String {
    let class = config.read_u16(reg::CLASS);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qtest::QtestMachine;

    /// Lines of QEMU 7.2 for `-nodefaults -device pci-bridge,id=b,chassis_nr=1,shpc=off -device i6300esb,id=dog`.
    #[test]
    fn looks_like_qemus() {
        let options = ["-nodefaults", "-device", "pci-bridge,id=b,chassis_nr=1", "-device", "i6300esb,id=dog,addr=4"];
        let mut pc = QtestMachine::new(options).unwrap();
        // The watchdog's memory at E0000000h.
        pc.outl(0xcf8, 0x8000_2010);
        pc.outl(0xcfc, 0xe000_0000);
        pc.outl(0xcf8, 0x8000_2004);
        pc.outw(0xcfc, 2);
        let text = describe(&pc.board().pci);
        assert!(
            text.starts_with(
                "  Bus  0, device   0, function 0:\n    Host bridge: PCI device 8086:1237\n      PCI subsystem \
                 1af4:1100\n      id \"\"\n  Bus  0, device   1, function 0:\n    ISA bridge: PCI device 8086:7000\n"
            ),
            "{text}"
        );
        assert!(text.contains("    Bridge: PCI device 8086:7113\n      PCI subsystem 1af4:1100\n      IRQ 0, pin A\n"));
        let bridge = "    PCI bridge: PCI device 1b36:0001\n";
        let (_, behind) = text.split_once(bridge).expect("a bridge");
        assert!(behind.contains(
            "      BUS 0.\n      secondary bus 0.\n      subordinate bus 0.\n      IO range [0x0000, 0x0fff]\n      \
             memory range [0x00000000, 0x000fffff]\n      prefetchable memory range [0x00000000, 0x000fffff]\n"
        ));
        assert!(behind.contains("      id \"b\"\n"));
        assert!(text.contains("    Class 2176: PCI device 8086:25ab\n"), "{text}");
        assert!(text.contains("      BAR0: 32 bit memory at 0xe0000000 [0xe000000f].\n      id \"dog\"\n"), "{text}");
    }
}
