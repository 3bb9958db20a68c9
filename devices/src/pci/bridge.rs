//! QEMU's PCI-to-PCI bridge, 1b36:0001 (`pci-bridge`).
//!
//! Follows the PCI-to-PCI Bridge Architecture Specification, revision 1.1: a type 1 header whose bus numbers, I/O, memory and
//! prefetchable windows, VGA Enable, ISA Enable and secondary bus reset do what they say; the slot numbering capability
//! with the number of the expansion chassis. The I/O window has 16 address bits, the prefetchable window 64.
//!
//! The bridge itself only describes what it forwards ([`Forwarding`]); the buses act on it. Interrupts of the functions
//! behind it go to the pins of its own slot by wire. Transactions never fail here, so that the bits of both status registers
//! that report failures stay clear; timers and arbitration (latency, discard timers, fast back-to-back) are storage. There
//! is no hot-plug controller: QEMU's `shpc=off`.

use super::forwarding::{control, reg};
use super::{Forwarding, PciConfig, PciConfigBuilder, PciConfigState, PciFunction};
use crate::base::{BusMaster, Device, Inspector, IoDevice, ResetKind, State, StateError};

/// Slot numbering capability.
const CAP_SLOT_ID: u8 = 0x04;
const SLOT_ID_OFFSET: u8 = 0x40;
/// Expansion Slot register: the bridge is the first of its chassis; it provides no numbered slots.
const ESR_FIRST_IN_CHASSIS: u8 = 1 << 5;
/// Status: 66 MHz capable and fast back-to-back capable.
const STATUS: u16 = 0x00a0;
/// Bits of the Bridge Control register that can be written.
const CONTROL_WRITABLE: u16 = 0x0bff;
/// Status bits that report failures and clear when written as one.
const FAILURES: u16 = 0xf900;

/// A bridge.
pub struct PciBridge {
    config: PciConfig,
}

impl PciBridge {
    /// A bridge with the number of the chassis behind it, from 1. `gate` is what the bus behind was made with.
    #[must_use]
    pub fn new(chassis: u8, gate: BusMaster) -> Self {
        let config = PciConfigBuilder::bridge(0x1b36, 0x0001)
            .status(STATUS)
            .write_1_clears(super::config::reg::STATUS, &FAILURES.to_le_bytes())
            .bus_master(gate)
            .writable(reg::PRIMARY_BUS, &[0xff; 4])
            .writable(reg::IO_BASE, &[0xf0, 0xf0])
            .bytes(reg::SECONDARY_STATUS, &STATUS.to_le_bytes())
            .write_1_clears(reg::SECONDARY_STATUS, &FAILURES.to_le_bytes())
            .writable(reg::MEMORY_BASE, &[0xf0, 0xff, 0xf0, 0xff])
            // The lowest bit says that the prefetchable window has 64 address bits.
            .bytes(reg::PREFETCHABLE_BASE, &[1, 0, 1, 0])
            .writable(reg::PREFETCHABLE_BASE, &[0xf0, 0xff, 0xf0, 0xff])
            .writable(reg::PREFETCHABLE_BASE_UPPER, &[0xff; 8])
            .writable(reg::BRIDGE_CONTROL, &CONTROL_WRITABLE.to_le_bytes())
            .write_1_clears(reg::BRIDGE_CONTROL, &control::DISCARD_TIMER_STATUS.to_le_bytes())
            .capability(SLOT_ID_OFFSET, CAP_SLOT_ID, &[ESR_FIRST_IN_CHASSIS, chassis], &[0, 0xff])
            .build();
        Self { config }
    }
}

impl Device for PciBridge {
    fn name(&self) -> &'static str {
        "pci-bridge"
    }

    fn reset(&mut self, _kind: ResetKind) {
        self.config.reset();
    }

    fn save(&self) -> State {
        let Self { config } = self;
        State::of(state::VERSION, &state::V1 { config: config.save() })
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 { config } = state.decode(state::VERSION)?;
        self.config.load(&config)
    }

    fn inspect(&self, out: &mut Inspector) {
        for (name, offset) in [
            ("primary bus", reg::PRIMARY_BUS),
            ("secondary bus", reg::SECONDARY_BUS),
            ("subordinate bus", reg::SUBORDINATE_BUS),
            ("I/O base", reg::IO_BASE),
            ("I/O limit", reg::IO_LIMIT),
        ] {
            out.register(name, self.config.read_u8(offset), 8);
        }
        for (name, offset) in [
            ("memory base", reg::MEMORY_BASE),
            ("memory limit", reg::MEMORY_LIMIT),
            ("prefetchable base", reg::PREFETCHABLE_BASE),
            ("prefetchable limit", reg::PREFETCHABLE_LIMIT),
            ("bridge control", reg::BRIDGE_CONTROL),
        ] {
            out.register(name, self.config.read_u16(offset), 16);
        }
    }
}

impl IoDevice for PciBridge {
    // It has no BAR.
    fn read(&mut self, _region: u16, _offset: u64, _size: u8) -> u64 {
        u64::MAX
    }

    fn write(&mut self, _region: u16, _offset: u64, _size: u8, _value: u64) {}
}

impl PciFunction for PciBridge {
    fn config(&self) -> &PciConfig {
        &self.config
    }

    fn config_mut(&mut self) -> &mut PciConfig {
        &mut self.config
    }

    fn forwarding(&self) -> Option<Forwarding> {
        Some(Forwarding::of(&self.config))
    }
}

mod state {
    use serde::{Deserialize, Serialize};

    use super::PciConfigState;

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub config: PciConfigState,
    }
}

#[cfg(test)]
mod tests;
