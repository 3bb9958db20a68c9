//! The 256 bytes of a function's configuration space: values, writable bits, write-1-to-clear bits.
//!
//! What the rest of the machine sees of them (BAR addresses, bus mastering, interrupt disable) is derived from the
//! bytes after every write, by the same path for guest writes, reset and load.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::OptionRom;
use crate::base::{BusMaster, IrqLine, Region, Shared, StateError, shared};

/// Register offsets of a type 0 header.
pub mod reg {
    #![allow(missing_docs)]
    pub const VENDOR_ID: u8 = 0x00;
    pub const DEVICE_ID: u8 = 0x02;
    pub const COMMAND: u8 = 0x04;
    pub const STATUS: u8 = 0x06;
    pub const REVISION_ID: u8 = 0x08;
    pub const CLASS: u8 = 0x09;
    pub const CACHE_LINE_SIZE: u8 = 0x0c;
    pub const HEADER_TYPE: u8 = 0x0e;
    pub const BAR0: u8 = 0x10;
    pub const SUBSYSTEM_VENDOR_ID: u8 = 0x2c;
    pub const SUBSYSTEM_ID: u8 = 0x2e;
    pub const ROM_BASE: u8 = 0x30;
    pub const CAPABILITIES: u8 = 0x34;
    pub const INTERRUPT_LINE: u8 = 0x3c;
    pub const INTERRUPT_PIN: u8 = 0x3d;
}

const COMMAND_IO: u16 = 1 << 0;
const COMMAND_MEMORY: u16 = 1 << 1;
const COMMAND_MASTER: u16 = 1 << 2;
const COMMAND_SERR: u16 = 1 << 8;
const COMMAND_INTX_DISABLE: u16 = 1 << 10;
const STATUS_INTERRUPT: u16 = 1 << 3;
const STATUS_CAPABILITIES: u16 = 1 << 4;
const HEADER_MULTIFUNCTION: u8 = 0x80;
const HEADER_BRIDGE: u8 = 0x01;
/// The expansion ROM's base in a type 1 header.
const BRIDGE_ROM_BASE: u8 = 0x38;
const ROM_ENABLE: u32 = 1;

/// First byte behind the header; the function's own registers.
const HEADER_END: usize = 0x40;
/// Number of BARs, and the index under which the expansion ROM follows them.
pub const ROM_BAR: usize = 6;

/// What a BAR decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// I/O ports.
    Io,
    /// Memory below 4 GiB.
    Memory32 {
        /// Reads have no side effects.
        prefetchable: bool,
    },
    /// Memory anywhere; takes the next BAR too.
    Memory64 {
        /// Reads have no side effects.
        prefetchable: bool,
    },
    /// The expansion ROM.
    Rom,
}

/// A window that the guest places. Its length is a power of two.
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    /// The window of the device.
    pub region: Region,
    /// What it decodes.
    pub kind: BarKind,
}

impl Bar {
    fn flags(&self) -> u32 {
        match self.kind {
            BarKind::Io => 1,
            BarKind::Memory32 { prefetchable } => u32::from(prefetchable) << 3,
            BarKind::Memory64 { prefetchable } => 0b100 | u32::from(prefetchable) << 3,
            BarKind::Rom => 0,
        }
    }

    /// Bits of the register that hold the address, or for a ROM the enable bit too.
    fn writable(&self) -> u64 {
        let address = !(self.region.len - 1);
        match self.kind {
            BarKind::Rom => address | u64::from(ROM_ENABLE),
            _ => address,
        }
    }
}

/// Describes a function's configuration space.
pub struct PciConfigBuilder {
    config: PciConfig,
    next_capability: Option<u8>,
}

impl PciConfigBuilder {
    /// A function of `vendor` with `device` id, of `class` (base class, sub-class, programming interface).
    #[must_use]
    pub fn new(vendor: u16, device: u16, class: u32) -> Self {
        let mut config = PciConfig {
            bytes: [0; 256],
            initial: [0; 256],
            writable: [0; 256],
            locked: [0; 256],
            write_1_clears: [0; 256],
            volatile: [0; 256],
            bars: [None; ROM_BAR + 1],
            gate: BusMaster::closed(),
            intx: IrqLine::detached(),
            intx_level: false,
            option_rom: None,
        };
        config.put(reg::VENDOR_ID, &vendor.to_le_bytes());
        config.put(reg::DEVICE_ID, &device.to_le_bytes());
        config.put(reg::CLASS, &class.to_le_bytes()[..3]);
        // What QEMU gives every device that does not say otherwise; guests match on it.
        config.put(reg::SUBSYSTEM_VENDOR_ID, &0x1af4_u16.to_le_bytes());
        config.put(reg::SUBSYSTEM_ID, &0x1100_u16.to_le_bytes());
        let command = COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER | COMMAND_SERR | COMMAND_INTX_DISABLE;
        config.writable[usize::from(reg::COMMAND)..][..2].copy_from_slice(&command.to_le_bytes());
        config.writable[usize::from(reg::CACHE_LINE_SIZE)] = 0xff;
        config.writable[usize::from(reg::INTERRUPT_LINE)] = 0xff;
        config.writable[HEADER_END..].fill(0xff);
        config.volatile[usize::from(reg::STATUS)] = STATUS_INTERRUPT as u8;
        Self { config, next_capability: None }
    }

    /// A PCI-to-PCI bridge: a type 1 header, whose registers from 18h on the bridge describes itself. It has no
    /// subsystem.
    #[must_use]
    pub fn bridge(vendor: u16, device: u16) -> Self {
        Self::new(vendor, device, 0x06_0400).subsystem(0, 0).bytes(reg::HEADER_TYPE, &[HEADER_BRIDGE])
    }

    /// Revision id.
    #[must_use]
    pub fn revision(self, revision: u8) -> Self {
        self.bytes(reg::REVISION_ID, &[revision])
    }

    /// Subsystem vendor and device id.
    #[must_use]
    pub fn subsystem(self, vendor: u16, device: u16) -> Self {
        self.bytes(reg::SUBSYSTEM_VENDOR_ID, &vendor.to_le_bytes()).bytes(reg::SUBSYSTEM_ID, &device.to_le_bytes())
    }

    /// The device in this slot has further functions.
    #[must_use]
    pub fn multifunction(mut self) -> Self {
        self.config.bytes[usize::from(reg::HEADER_TYPE)] |= HEADER_MULTIFUNCTION;
        self
    }

    /// Status bits that are hard-wired.
    #[must_use]
    pub fn status(self, status: u16) -> Self {
        self.bytes(reg::STATUS, &status.to_le_bytes())
    }

    /// The interrupt pin (1 is INTA#) and the wire it drives.
    #[must_use]
    pub fn interrupt(mut self, pin: u8, line: IrqLine) -> Self {
        self.config.intx = line;
        self.bytes(reg::INTERRUPT_PIN, &[pin])
    }

    /// The gate that the Bus Master Enable bit controls.
    #[must_use]
    pub fn bus_master(mut self, gate: BusMaster) -> Self {
        self.config.gate = gate;
        self
    }

    /// Initial values of registers.
    #[must_use]
    pub fn bytes(mut self, offset: u8, values: &[u8]) -> Self {
        self.config.put(offset, values);
        self
    }

    /// Restricts the bits the guest may write, one mask byte per register byte.
    #[must_use]
    pub fn writable(mut self, offset: u8, masks: &[u8]) -> Self {
        self.config.writable[usize::from(offset)..][..masks.len()].copy_from_slice(masks);
        self
    }

    /// Makes bits clear when written as one, one mask byte per register byte.
    #[must_use]
    pub fn write_1_clears(mut self, offset: u8, masks: &[u8]) -> Self {
        self.config.write_1_clears[usize::from(offset)..][..masks.len()].copy_from_slice(masks);
        self
    }

    /// Bits that the device changes by itself ([`PciConfig::put`]) besides those that a guest can change, one mask byte per
    /// register byte. All others are the same in every saved state.
    #[must_use]
    pub fn volatile(mut self, offset: u8, masks: &[u8]) -> Self {
        self.config.volatile[usize::from(offset)..][..masks.len()].copy_from_slice(masks);
        self
    }

    /// Adds BAR `index` (0 to 5, or [`ROM_BAR`]).
    ///
    /// # Panics
    /// The length is no power of two, or too small to be decoded: a mistake in the device.
    #[must_use]
    pub fn bar(mut self, index: usize, bar: Bar) -> Self {
        let smallest = if bar.kind == BarKind::Io { 4 } else { 16 };
        assert!(bar.region.len.is_power_of_two() && bar.region.len >= smallest, "BAR {index}: bad length");
        self.config.add_bar(index, bar);
        self
    }

    /// Adds a capability at `offset` (a multiple of 4 from 40h) with the bytes that follow its id and next pointer,
    /// and the mask of their writable bits. The capability added last comes first in the chain, as in QEMU.
    #[must_use]
    pub fn capability(mut self, offset: u8, id: u8, body: &[u8], writable: &[u8]) -> Self {
        let next = self.next_capability.replace(offset).unwrap_or(0);
        self.config.put(offset, &[id, next]);
        self.config.put(offset + 2, body);
        self.config.writable[usize::from(offset)..][..2 + body.len()].fill(0);
        self = self.writable(offset + 2, writable);
        self.config.put(reg::CAPABILITIES, &[offset]);
        let status = self.config.read_u16(reg::STATUS) | STATUS_CAPABILITIES;
        self.bytes(reg::STATUS, &status.to_le_bytes())
    }

    /// The finished configuration space, in its reset state.
    #[must_use]
    pub fn build(mut self) -> PciConfig {
        self.config.initial = self.config.bytes;
        self.config
    }
}

/// A function's configuration space.
pub struct PciConfig {
    bytes: [u8; 256],
    initial: [u8; 256],
    writable: [u8; 256],
    /// Of these, the ones that can't be written for now.
    locked: [u8; 256],
    write_1_clears: [u8; 256],
    /// What the device changes by itself.
    volatile: [u8; 256],
    bars: [Option<Bar>; ROM_BAR + 1],
    gate: BusMaster,
    intx: IrqLine,
    /// What the function asserts, before the Interrupt Disable bit.
    intx_level: bool,
    option_rom: Option<Shared<OptionRom>>,
}

impl PciConfig {
    fn add_bar(&mut self, index: usize, bar: Bar) {
        let offset = self.bar_offset(index);
        let wide = matches!(bar.kind, BarKind::Memory64 { .. });
        let len = if wide { 8 } else { 4 };
        self.put(offset, &bar.flags().to_le_bytes());
        self.writable[usize::from(offset)..][..len].copy_from_slice(&bar.writable().to_le_bytes()[..len]);
        self.bars[index] = Some(bar);
    }

    fn bar_offset(&self, index: usize) -> u8 {
        match index {
            ROM_BAR if self.bytes[usize::from(reg::HEADER_TYPE)] & !HEADER_MULTIFUNCTION == HEADER_BRIDGE => {
                BRIDGE_ROM_BASE
            }
            ROM_BAR => reg::ROM_BASE,
            _ => reg::BAR0 + 4 * index as u8,
        }
    }

    /// The board gives the function, before it goes on the bus, an expansion ROM.
    pub fn fit_option_rom(&mut self, rom: OptionRom) {
        self.add_bar(ROM_BAR, rom.bar());
        self.option_rom = Some(shared(rom));
        self.initial = self.bytes;
    }

    /// The board says, before the function goes on the bus, that its slot has others.
    pub fn set_multifunction(&mut self) {
        self.bytes[usize::from(reg::HEADER_TYPE)] |= HEADER_MULTIFUNCTION;
        self.initial = self.bytes;
    }

    /// From now on the guest may write only the bits of `mask` in the byte at `offset`: a register that can be locked.
    pub fn restrict(&mut self, offset: u8, mask: u8) {
        self.locked[usize::from(offset)] = !mask;
    }

    /// Whether the header says that the slot has more functions.
    #[must_use]
    pub fn is_multifunction(&self) -> bool {
        self.read_u8(reg::HEADER_TYPE) & HEADER_MULTIFUNCTION != 0
    }

    /// The expansion ROM that the board has fitted.
    #[must_use]
    pub fn option_rom(&self) -> Option<Shared<OptionRom>> {
        self.option_rom.clone()
    }

    /// Back to the reset state: every register has its initial value.
    pub fn reset(&mut self) {
        self.bytes = self.initial;
        self.intx_level = false;
        self.settle();
    }

    /// Reads one byte.
    #[must_use]
    pub fn read_u8(&self, offset: u8) -> u8 {
        self.bytes[usize::from(offset)]
    }

    /// Reads two bytes; past the end reads zero.
    #[must_use]
    pub fn read_u16(&self, offset: u8) -> u16 {
        self.read(offset, 2) as u16
    }

    /// Reads four bytes; past the end reads zero.
    #[must_use]
    pub fn read_u32(&self, offset: u8) -> u32 {
        self.read(offset, 4)
    }

    /// Reads `size` bytes (1 to 4); past the end reads zero.
    #[must_use]
    pub fn read(&self, offset: u8, size: u8) -> u32 {
        let from = usize::from(offset);
        let end = (from + usize::from(size.min(4))).min(256);
        let mut value = [0; 4];
        value[..end - from].copy_from_slice(&self.bytes[from..end]);
        u32::from_le_bytes(value)
    }

    /// A write by the guest: read-only bits stay, write-1-to-clear bits clear.
    pub fn write(&mut self, offset: u8, size: u8, value: u32) {
        for (at, byte) in (usize::from(offset)..256).zip(value.to_le_bytes()).take(usize::from(size)) {
            let writable = self.writable[at] & !self.locked[at];
            self.bytes[at] = (self.bytes[at] & !writable | byte & writable) & !(byte & self.write_1_clears[at]);
        }
        self.settle();
    }

    /// A write by the device itself, to any bits.
    pub fn put(&mut self, offset: u8, values: &[u8]) {
        let end = (usize::from(offset) + values.len()).min(256);
        let range = usize::from(offset)..end;
        let len = range.len();
        self.bytes[range].copy_from_slice(&values[..len]);
    }

    /// Asserts or de-asserts the function's interrupt.
    pub fn set_interrupt(&mut self, level: bool) {
        self.intx_level = level;
        self.settle();
    }

    /// BAR `index` as it was declared.
    #[must_use]
    pub fn bar(&self, index: usize) -> Option<&Bar> {
        self.bars.get(index)?.as_ref()
    }

    /// Where BAR `index` decodes now, if it does.
    #[must_use]
    pub fn bar_address(&self, index: usize) -> Option<u64> {
        let bar = self.bar(index)?;
        let command = self.read_u16(reg::COMMAND);
        let low = self.read_u32(self.bar_offset(index));
        let raw = match bar.kind {
            BarKind::Memory64 { .. } => u64::from(low) | u64::from(self.read_u32(self.bar_offset(index) + 4)) << 32,
            _ => u64::from(low),
        };
        let (enabled, limit) = match bar.kind {
            BarKind::Io => (command & COMMAND_IO != 0, 0xffff),
            BarKind::Memory32 { .. } => (command & COMMAND_MEMORY != 0, u64::from(u32::MAX) - 1),
            BarKind::Memory64 { .. } => (command & COMMAND_MEMORY != 0, u64::MAX - 1),
            BarKind::Rom => (command & COMMAND_MEMORY != 0 && low & ROM_ENABLE != 0, u64::from(u32::MAX) - 1),
        };
        let base = raw & !(bar.region.len - 1);
        let last = base.checked_add(bar.region.len - 1)?;
        // Address 0 and the all-ones of a sizing write are no addresses that a guest means.
        (enabled && base != 0 && last <= limit).then_some(base)
    }

    /// Whether the function's interrupt reaches the wire.
    #[must_use]
    pub fn interrupt_enabled(&self) -> bool {
        self.read_u16(reg::COMMAND) & COMMAND_INTX_DISABLE == 0
    }

    /// Makes everything outside follow the bytes.
    fn settle(&mut self) {
        let command = self.read_u16(reg::COMMAND);
        self.gate.set(command & COMMAND_MASTER != 0);
        let status = self.read_u16(reg::STATUS) & !STATUS_INTERRUPT;
        let pending = if self.intx_level { STATUS_INTERRUPT } else { 0 };
        self.put(reg::STATUS, &(status | pending).to_le_bytes());
        self.intx.set(self.intx_level && self.interrupt_enabled());
    }

    /// The guest-visible state.
    #[must_use]
    pub fn save(&self) -> PciConfigState {
        let Self {
            bytes,
            intx_level,
            initial: _,
            writable: _,
            // Follows from what is in the registers.
            locked: _,
            write_1_clears: _,
            volatile: _,
            bars: _,
            gate: _,
            intx: _,
            option_rom: _,
        } = self;
        PciConfigState { bytes: bytes.to_vec(), interrupt: *intx_level }
    }

    /// Checks a saved state without taking it over.
    ///
    /// # Errors
    /// It belongs to another function: a byte differs in bits that neither the guest nor the device changes.
    pub fn check(&self, state: &PciConfigState) -> Result<(), StateError> {
        if state.bytes.len() != self.bytes.len() {
            return Err(StateError::invalid("config", format!("{} bytes instead of 256", state.bytes.len())));
        }
        for (at, (saved, initial)) in state.bytes.iter().zip(&self.initial).enumerate() {
            let fixed = !(self.writable[at] | self.write_1_clears[at] | self.volatile[at]);
            if (saved ^ initial) & fixed != 0 {
                return Err(StateError::invalid(
                    "config",
                    format!("byte {at:#04x} is {saved:#04x}, which this function can't have"),
                ));
            }
        }
        Ok(())
    }

    /// Takes over a saved state and drives the outputs to match.
    ///
    /// # Errors
    /// As [`Self::check`]; nothing is changed then.
    pub fn load(&mut self, state: &PciConfigState) -> Result<(), StateError> {
        self.check(state)?;
        self.bytes.copy_from_slice(&state.bytes);
        self.intx_level = state.interrupt;
        self.settle();
        Ok(())
    }
}

/// Saved form of a [`PciConfig`], part of the function's own state type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PciConfigState {
    bytes: Vec<u8>,
    interrupt: bool,
}

impl PciConfigState {
    /// Some registers; none if the state has not that many.
    pub(crate) fn bytes(&self, registers: Range<usize>) -> &[u8] {
        self.bytes.get(registers).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
