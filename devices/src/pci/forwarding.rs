//! What a PCI-to-PCI bridge forwards downstream (PCI-to-PCI Bridge Architecture Specification 1.1, chapters 3 to 5),
//! computed from the registers of its type 1 header.

use std::ops::RangeInclusive;

use super::PciConfig;
use crate::base::Space;

/// Registers of a type 1 header that a type 0 header does not have.
pub mod reg {
    #![allow(missing_docs)]
    pub const PRIMARY_BUS: u8 = 0x18;
    pub const SECONDARY_BUS: u8 = 0x19;
    pub const SUBORDINATE_BUS: u8 = 0x1a;
    pub const IO_BASE: u8 = 0x1c;
    pub const IO_LIMIT: u8 = 0x1d;
    pub const SECONDARY_STATUS: u8 = 0x1e;
    pub const MEMORY_BASE: u8 = 0x20;
    pub const MEMORY_LIMIT: u8 = 0x22;
    pub const PREFETCHABLE_BASE: u8 = 0x24;
    pub const PREFETCHABLE_LIMIT: u8 = 0x26;
    pub const PREFETCHABLE_BASE_UPPER: u8 = 0x28;
    pub const PREFETCHABLE_LIMIT_UPPER: u8 = 0x2c;
    pub const BRIDGE_CONTROL: u8 = 0x3e;
}

/// Bits of the Bridge Control register that change what is forwarded.
pub mod control {
    #![allow(missing_docs)]
    pub const ISA_ENABLE: u16 = 1 << 2;
    pub const VGA_ENABLE: u16 = 1 << 3;
    pub const VGA_16_BIT_DECODE: u16 = 1 << 4;
    pub const SECONDARY_BUS_RESET: u16 = 1 << 6;
    /// Write 1 to clear: a delayed transaction was given up.
    pub const DISCARD_TIMER_STATUS: u16 = 1 << 10;
}

const COMMAND_IO: u16 = 1 << 0;
const COMMAND_MEMORY: u16 = 1 << 1;

/// Addresses of a VGA, which VGA Enable forwards.
const VGA_MEMORY: RangeInclusive<u64> = 0xa_0000..=0xb_ffff;
const VGA_PORTS: [RangeInclusive<u64>; 2] = [0x3b0..=0x3bb, 0x3c0..=0x3df];
/// Distance of the images of a port that decodes 10 address bits.
const ALIAS: u64 = 0x400;
/// Ports of each such kilobyte that ISA Enable leaves to PCI: the others may be ISA cards' images.
const ISA_FREE: u64 = 0x100;

/// What a bridge lets through from its primary to its secondary side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// Numbers of the buses behind it, the secondary bus first; empty if it takes no configuration cycles.
    pub buses: RangeInclusive<u8>,
    /// The secondary bus is held in reset: nothing on it answers.
    pub in_reset: bool,
    /// Slots of the secondary bus that a hot-plug controller has cut off and powered down: bit n is slot n.
    pub isolated: u32,
    ports: Vec<RangeInclusive<u64>>,
    memory: Vec<RangeInclusive<u64>>,
}

impl Default for Forwarding {
    fn default() -> Self {
        Self { buses: NO_BUSES, in_reset: false, isolated: 0, ports: Vec::new(), memory: Vec::new() }
    }
}

/// No number at all.
const NO_BUSES: RangeInclusive<u8> = RangeInclusive::new(1, 0);

impl Forwarding {
    /// By the registers of a type 1 header.
    #[must_use]
    pub fn of(config: &PciConfig) -> Self {
        let bridge_control = config.read_u16(reg::BRIDGE_CONTROL);
        if bridge_control & control::SECONDARY_BUS_RESET != 0 {
            return Self { in_reset: true, ..Self::default() };
        }
        let secondary = config.read_u8(reg::SECONDARY_BUS);
        // Bus 0 is the root's: a bridge that nobody has numbered yet takes no configuration cycles.
        let buses = if secondary == 0 { NO_BUSES } else { secondary..=config.read_u8(reg::SUBORDINATE_BUS) };
        let command = config.read_u16(super::config::reg::COMMAND);
        let ports = if command & COMMAND_IO != 0 { ports(config, bridge_control) } else { Vec::new() };
        let memory = if command & COMMAND_MEMORY != 0 { memory(config, bridge_control) } else { Vec::new() };
        Self { buses, in_reset: false, isolated: 0, ports, memory }
    }

    /// The parts of `range` that are forwarded, without overlaps.
    pub(super) fn clip(&self, space: Space, range: &RangeInclusive<u64>) -> Vec<RangeInclusive<u64>> {
        let windows = match space {
            Space::Port => &self.ports,
            Space::Memory => &self.memory,
        };
        let parts = windows.iter().map(|window| *window.start().max(range.start())..=*window.end().min(range.end()));
        merge(parts.filter(|part| !part.is_empty()).collect())
    }
}

/// Sorts ranges and joins those that overlap.
fn merge(mut ranges: Vec<RangeInclusive<u64>>) -> Vec<RangeInclusive<u64>> {
    ranges.sort_by_key(|range| *range.start());
    ranges.into_iter().fold(Vec::new(), |mut merged: Vec<RangeInclusive<u64>>, range| {
        match merged.last_mut() {
            Some(last) if range.start() <= last.end() => *last = *last.start()..=*last.end().max(range.end()),
            _ => merged.push(range),
        }
        merged
    })
}

fn ports(config: &PciConfig, bridge_control: u16) -> Vec<RangeInclusive<u64>> {
    // Bits 7:4 are address bits 15:12. Bits 3:0 of this bridge say that it decodes 16 bits.
    let base = u64::from(config.read_u8(reg::IO_BASE) & 0xf0) << 8;
    let limit = u64::from(config.read_u8(reg::IO_LIMIT) & 0xf0) << 8 | 0xfff;
    let mut ports = Vec::new();
    if bridge_control & control::ISA_ENABLE != 0 {
        let blocks = (base..=limit).step_by(ALIAS as usize);
        ports.extend(blocks.map(|first| first..=first + ISA_FREE - 1));
    } else if base <= limit {
        ports.push(base..=limit);
    }
    if bridge_control & control::VGA_ENABLE != 0 {
        let images = if bridge_control & control::VGA_16_BIT_DECODE != 0 { 1 } else { 0x1_0000 / ALIAS };
        ports.extend(
            (0..images)
                .flat_map(|image| VGA_PORTS.map(|range| range.start() + image * ALIAS..=range.end() + image * ALIAS)),
        );
    }
    ports
}

fn memory(config: &PciConfig, bridge_control: u16) -> Vec<RangeInclusive<u64>> {
    // Bits 15:4 are address bits 31:20.
    let bounds = |base: u8, limit: u8| {
        let base = u64::from(config.read_u16(base) & 0xfff0) << 16;
        (base, u64::from(config.read_u16(limit) & 0xfff0) << 16 | 0xf_ffff)
    };
    let upper = |register: u8| u64::from(config.read_u32(register)) << 32;
    let (base, limit) = bounds(reg::MEMORY_BASE, reg::MEMORY_LIMIT);
    let (prefetchable_base, prefetchable_limit) = bounds(reg::PREFETCHABLE_BASE, reg::PREFETCHABLE_LIMIT);
    let mut memory = vec![
        base..=limit,
        prefetchable_base | upper(reg::PREFETCHABLE_BASE_UPPER)
            ..=prefetchable_limit | upper(reg::PREFETCHABLE_LIMIT_UPPER),
    ];
    if bridge_control & control::VGA_ENABLE != 0 {
        memory.push(VGA_MEMORY);
    }
    memory
}
