//! QEMU's PCI-to-PCI bridge, 1b36:0001 (`pci-bridge`).
//!
//! Follows the PCI-to-PCI Bridge Architecture Specification, revision 1.1: a type 1 header whose bus numbers, I/O, memory and
//! prefetchable windows, VGA Enable, ISA Enable and secondary bus reset do what they say; the slot numbering capability
//! with the number of the expansion chassis. The I/O window has 16 address bits, the prefetchable window 64.
//!
//! The bridge itself only describes what it forwards ([`Forwarding`]); the buses act on it. Interrupts of the functions
//! behind it go to the pins of its own slot by wire. Transactions never fail here, so that the bits of both status registers
//! that report failures stay clear; timers and arbitration (latency, discard timers, fast back-to-back) are storage.
//!
//! With [`HotPlug`] it has a hot-plug controller ([`shpc`]), whose registers are in the window of BAR 0 and behind the
//! capability in configuration space, and which interrupts by INTA# or, if it has the capability, by MSI with 64 address bits,
//! one vector and its mask bit. With [`Reserve`] it asks firmware for room behind it (QEMU's `docs/pcie_pci_bridge.txt`).

pub mod shpc;

use super::forwarding::{control, reg};
use super::msi::{MessagePort, MsiCapability, MsiOptions};
use super::{Bar, BarKind, Forwarding, PciConfig, PciConfigBuilder, PciConfigState, PciFunction};
use crate::base::{AccessRule, BusMaster, Device, Inspector, IoDevice, IrqLine, Region, ResetKind, State, StateError};
use shpc::{Shpc, ShpcState};

/// Slot numbering capability, of 4 bytes.
const CAP_SLOT_ID: u8 = 0x04;
const SLOT_ID_LEN: u8 = 4;
/// Vendor-specific capability: QEMU's request for resources, of 32 bytes.
const CAP_VENDOR: u8 = 0x09;
const RESERVE_LEN: u8 = 32;
const RESERVE_TYPE: u8 = 1;
/// Capability of the hot-plug controller, of 8 bytes, and the registers in it.
const CAP_SHPC: u8 = 0x0c;
const SHPC_LEN: u8 = 8;
const SHPC_DWORD_SELECT: u8 = 2;
const SHPC_PENDING: u8 = 3;
const SHPC_DWORD_DATA: u8 = 4;
/// Bits of the third of these: the controller reports a system error, or interrupts.
const SERR_PENDING: u8 = 1 << 6;
const INTERRUPT_PENDING: u8 = 1 << 7;
/// Length of the MSI capability.
const MSI_LEN: u8 = 24;
/// Expansion Slot register: the bridge is the first of its chassis; it provides no numbered slots.
const ESR_FIRST_IN_CHASSIS: u8 = 1 << 5;
/// Status: 66 MHz capable and fast back-to-back capable.
const STATUS: u16 = 0x00a0;
/// Bits of the Bridge Control register that can be written.
const CONTROL_WRITABLE: u16 = 0x0bff;
/// Status bits that report failures and clear when written as one.
const FAILURES: u16 = 0xf900;

/// The window of the hot-plug controller's registers.
const WINDOW: Region = Region::memory(0, "shpc", 256, AccessRule::UP_TO_DWORD);

/// What the hot-plug controller of a bridge is connected to.
pub struct HotPlug {
    /// INTA#.
    pub interrupt: IrqLine,
    /// Where its messages go; `None`: it has no MSI.
    pub messages: Option<MessagePort>,
}

/// Room that firmware is asked to leave behind a bridge; `None`: as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserve {
    /// Numbers of buses.
    pub buses: Option<u32>,
    /// Bytes of I/O space.
    pub io: Option<u64>,
    /// Bytes of memory.
    pub memory: Option<u32>,
    /// Bytes of prefetchable memory below 4 GiB.
    pub prefetchable_32: Option<u32>,
    /// Bytes of prefetchable memory anywhere. Of this and the other one is given.
    pub prefetchable_64: Option<u64>,
}

impl Reserve {
    /// The capability behind its id and pointer; all ones stand for nothing said. `None`: nothing is.
    fn body(&self) -> Option<Vec<u8>> {
        if *self == Self::default() {
            return None;
        }
        let word = |value: Option<u32>| value.unwrap_or(u32::MAX).to_le_bytes();
        let long = |value: Option<u64>| value.unwrap_or(u64::MAX).to_le_bytes();
        let mut body = vec![RESERVE_LEN, RESERVE_TYPE];
        body.extend(word(self.buses));
        body.extend(long(self.io));
        body.extend(word(self.memory));
        body.extend(word(self.prefetchable_32));
        body.extend(long(self.prefetchable_64));
        Some(body)
    }
}

/// What not every bridge has.
#[derive(Default)]
pub struct Extras {
    /// A hot-plug controller.
    pub hot_plug: Option<HotPlug>,
    /// What firmware is asked for.
    pub reserve: Reserve,
}

/// The hot-plug controller of a bridge.
struct Controller {
    shpc: Shpc,
    /// Offset of its capability.
    capability: u8,
    msi: Option<MsiCapability>,
    /// It interrupts: the last that was seen of it.
    interrupts: bool,
}

/// A bridge.
pub struct PciBridge {
    config: PciConfig,
    controller: Option<Controller>,
}

impl PciBridge {
    /// A bridge with the number of the chassis behind it, from 1. `gate` is what the bus behind was made with.
    #[must_use]
    pub fn new(chassis: u8, gate: BusMaster, extras: Extras) -> Self {
        let mut builder = PciConfigBuilder::bridge(0x1b36, 0x0001)
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
            .write_1_clears(reg::BRIDGE_CONTROL, &control::DISCARD_TIMER_STATUS.to_le_bytes());
        // Capabilities follow each other from the end of the header on, in QEMU's order.
        let mut next = 0x40;
        let mut place = |len: u8| {
            next += len;
            next - len
        };
        let Extras { hot_plug, reserve } = extras;
        let (interrupt, messages) = match hot_plug {
            Some(HotPlug { interrupt, messages }) => (Some(interrupt), messages),
            None => (None, None),
        };
        let mut capability = 0;
        if let Some(line) = interrupt {
            capability = place(SHPC_LEN);
            builder = builder
                .interrupt(1, line)
                .bar(0, Bar { region: WINDOW, kind: BarKind::Memory64 { prefetchable: false } })
                .capability(capability, CAP_SHPC, &[0; 6], &[0xff, 0, 0xff, 0xff, 0xff, 0xff])
                .volatile(capability + SHPC_PENDING, &[SERR_PENDING | INTERRUPT_PENDING]);
        }
        builder = builder.capability(place(SLOT_ID_LEN), CAP_SLOT_ID, &[ESR_FIRST_IN_CHASSIS, chassis], &[0, 0xff]);
        let options = MsiOptions { vectors: 1, address_64: true, maskable: true };
        let (mut builder, msi) = match messages {
            Some(port) => {
                let (builder, msi) = MsiCapability::add(builder, place(MSI_LEN), options, port);
                (builder, Some(msi))
            }
            None => (builder, None),
        };
        if let Some(body) = reserve.body() {
            builder = builder.capability(place(RESERVE_LEN), CAP_VENDOR, &body, &vec![0; body.len()]);
        }
        let controller =
            (capability != 0).then(|| Controller { shpc: Shpc::default(), capability, msi, interrupts: false });
        Self { config: builder.build(), controller }
    }

    /// The board says, once everybody sits, which slots of the bus behind have a card: bit n is slot n.
    pub fn connect_slots(&mut self, occupied: u32) {
        if let Some(controller) = &mut self.controller {
            controller.shpc.connect(occupied);
            controller.follow(&mut self.config);
        }
    }
}

impl Controller {
    /// The registers may have changed: shows in configuration space what is seen of them there, and interrupts.
    fn follow(&mut self, config: &mut PciConfig) {
        let select = config.read_u8(self.capability + SHPC_DWORD_SELECT);
        config.put(self.capability + SHPC_DWORD_DATA, &self.shpc.read(select).to_le_bytes());
        let bit = |locator: u32, bit: u8| if locator != 0 { bit } else { 0 };
        let pending =
            bit(self.shpc.serr_locator(), SERR_PENDING) | bit(self.shpc.interrupt_locator(), INTERRUPT_PENDING);
        config.put(self.capability + SHPC_PENDING, &[pending]);
        let before = std::mem::replace(&mut self.interrupts, self.shpc.interrupts());
        match &self.msi {
            Some(msi) if msi.is_enabled(config) => {
                config.set_interrupt(false);
                if self.interrupts && !before {
                    msi.notify(config, 0);
                }
            }
            _ => config.set_interrupt(self.interrupts),
        }
    }

    /// The guest has written to configuration space.
    fn config_written(&mut self, config: &mut PciConfig, offset: u8, len: u8) {
        let data = self.capability + SHPC_DWORD_DATA;
        if u16::from(offset) < u16::from(data) + 4 && u16::from(offset) + u16::from(len) > data.into() {
            let select = config.read_u8(self.capability + SHPC_DWORD_SELECT);
            self.shpc.write(select, config.read_u32(data), u32::MAX);
        }
        if let Some(msi) = &self.msi {
            msi.written(config, offset, len);
        }
        self.follow(config);
    }
}

impl Device for PciBridge {
    fn name(&self) -> &'static str {
        "pci-bridge"
    }

    fn reset(&mut self, _kind: ResetKind) {
        self.config.reset();
        if let Some(controller) = &mut self.controller {
            controller.shpc.reset();
            controller.interrupts = false;
            controller.follow(&mut self.config);
        }
    }

    fn save(&self) -> State {
        let Self { config, controller } = self;
        let hot_plug = controller.as_ref().map(|controller| {
            // The others are where things are, and what follows from the rest.
            let Controller { shpc, capability: _, msi: _, interrupts: _ } = controller;
            shpc.save()
        });
        State::of(state::VERSION, &state::V1 { config: config.save(), hot_plug })
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 { config, hot_plug } = state.decode(state::VERSION)?;
        self.config.check(&config)?;
        match (&mut self.controller, &hot_plug) {
            (Some(controller), Some(saved)) => {
                controller.shpc.load(saved)?;
                self.config.load(&config)?;
                // An interrupt that was there before has been sent before.
                controller.interrupts = controller.shpc.interrupts();
                controller.follow(&mut self.config);
                Ok(())
            }
            (None, None) => self.config.load(&config),
            _ => Err(StateError::invalid("hot_plug", "one of the two bridges has no hot-plug controller")),
        }
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
        if let Some(controller) = &self.controller {
            controller.shpc.inspect(out);
        }
    }
}

/// A register as the bus hands it on: its 32-bit word, the position of the access in it, and the bits of the access.
fn lanes(offset: u64, size: u8) -> (u8, u32, u32) {
    let shift = 8 * (offset as u32 % 4);
    ((offset / 4) as u8, shift, (u32::MAX >> (32 - 8 * u32::from(size.clamp(1, 4)))) << shift)
}

/// BAR 0: the registers of the hot-plug controller.
impl IoDevice for PciBridge {
    fn read(&mut self, _region: u16, offset: u64, size: u8) -> u64 {
        let Some(controller) = &self.controller else { return u64::MAX };
        let (word, shift, lanes) = lanes(offset, size);
        u64::from((controller.shpc.read(word) & lanes) >> shift)
    }

    fn write(&mut self, _region: u16, offset: u64, size: u8, value: u64) {
        let Some(controller) = &mut self.controller else { return };
        let (word, shift, lanes) = lanes(offset, size);
        controller.shpc.write(word, (value as u32) << shift, lanes);
        controller.follow(&mut self.config);
    }
}

impl PciFunction for PciBridge {
    fn config(&self) -> &PciConfig {
        &self.config
    }

    fn config_mut(&mut self) -> &mut PciConfig {
        &mut self.config
    }

    fn config_written(&mut self, offset: u8, len: u8) {
        if let Some(controller) = &mut self.controller {
            controller.config_written(&mut self.config, offset, len);
        }
    }

    fn forwarding(&self) -> Option<Forwarding> {
        let mut forwarding = Forwarding::of(&self.config);
        forwarding.isolated = self.controller.as_ref().map_or(0, |controller| controller.shpc.isolated());
        Some(forwarding)
    }
}

mod state {
    use serde::{Deserialize, Serialize};

    use super::{PciConfigState, ShpcState};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub config: PciConfigState,
        /// Of a bridge with a hot-plug controller.
        pub hot_plug: Option<ShpcState>,
    }
}

#[cfg(test)]
mod tests;
