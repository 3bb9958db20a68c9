//! Who sits where on the PCI buses.

use devices::pci::config::ROM_BAR;
use devices::pci::{BarKind, PciAddress, PciBus, PciConfig};

use crate::monitor::pci::{BarInfo, BridgeInfo, MemoryBar, PciFunctionInfo};

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
pub(super) fn functions(bus: &PciBus) -> Vec<PciFunctionInfo> {
    on_bus(bus, 0)
}

fn on_bus(bus: &PciBus, number: u8) -> Vec<PciFunctionInfo> {
    let secondaries = bus.secondaries();
    let look = |(address, label): (PciAddress, String)| {
        let mut info = bus.look_at(address, |function| describe(number, address, &label, function.config()))?;
        let behind = secondaries.iter().find(|(place, _)| *place == address);
        if let (Some(bridge), Some((_, behind))) = (&mut info.bridge, behind) {
            bridge.functions = on_bus(behind, bridge.secondary);
        }
        Some(info)
    };
    bus.functions().into_iter().filter_map(look).collect()
}

/// The id in what the board calls a function.
pub(super) fn id_of(label: &str) -> &str {
    label.split_once(",id=").map_or("", |(_, id)| id)
}

/// Class and subclass of a function.
pub(super) fn class(config: &PciConfig) -> u16 {
    config.read_u16(reg::CLASS)
}

fn describe(bus: u8, PciAddress { slot, function }: PciAddress, label: &str, config: &PciConfig) -> PciFunctionInfo {
    let is_bridge = config.read_u8(reg::HEADER_TYPE) & 0x7f == BRIDGE;
    let pin = config.read_u8(reg::INTERRUPT_PIN);
    PciFunctionInfo {
        bus,
        slot,
        function,
        class: class(config),
        vendor: config.read_u16(reg::VENDOR),
        device: config.read_u16(reg::DEVICE),
        subsystem: (!is_bridge).then(|| (config.read_u16(reg::SUBSYSTEM_VENDOR), config.read_u16(reg::SUBSYSTEM))),
        interrupt: (1..=4).contains(&pin).then(|| (pin, config.read_u8(reg::INTERRUPT_LINE))),
        id: id_of(label).to_owned(),
        bars: (0..=ROM_BAR).filter_map(|index| bar(config, index)).collect(),
        bridge: is_bridge.then(|| bridge(config)),
    }
}

fn bridge(config: &PciConfig) -> BridgeInfo {
    let io = |low: u8, upper: u8| {
        let low = config.read_u8(low);
        let upper = if low & 0xf == 1 { u64::from(config.read_u16(upper)) << 16 } else { 0 };
        u64::from(low & 0xf0) << 8 | upper
    };
    let memory = |low: u8| u64::from(config.read_u16(low) & 0xfff0) << 16;
    let prefetch = |low: u8, upper: u8| {
        let wide = config.read_u16(low) & 0xf == 1;
        memory(low) | if wide { u64::from(config.read_u32(upper)) << 32 } else { 0 }
    };
    let prefetch_limit = prefetch(reg::PREFETCH_LIMIT, reg::PREFETCH_LIMIT_UPPER) | 0xf_ffff;
    BridgeInfo {
        primary: config.read_u8(reg::PRIMARY_BUS),
        secondary: config.read_u8(reg::SECONDARY_BUS),
        subordinate: config.read_u8(reg::SUBORDINATE_BUS),
        io: (io(reg::IO_BASE, reg::IO_BASE_UPPER), io(reg::IO_LIMIT, reg::IO_LIMIT_UPPER) | 0xfff),
        memory: (memory(reg::MEMORY_BASE), memory(reg::MEMORY_LIMIT) | 0xf_ffff),
        prefetchable: (prefetch(reg::PREFETCH_BASE, reg::PREFETCH_BASE_UPPER), prefetch_limit),
        functions: Vec::new(),
    }
}

fn bar(config: &PciConfig, index: usize) -> Option<BarInfo> {
    let bar = config.bar(index)?;
    let memory = match bar.kind {
        BarKind::Io => None,
        BarKind::Memory64 { prefetchable } => Some(MemoryBar { wide: true, prefetchable }),
        BarKind::Memory32 { prefetchable } => Some(MemoryBar { wide: false, prefetchable }),
        BarKind::Rom => Some(MemoryBar { wide: false, prefetchable: false }),
    };
    // The ROM comes behind the six others, whatever place it has here.
    let number = if index == ROM_BAR { 6 } else { index };
    Some(BarInfo { number, address: config.bar_address(index), size: bar.region.len, memory })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::pci;
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
        let found = functions(&pc.board().pci);
        let text = pci::text(&found);
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
