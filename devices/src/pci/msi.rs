//! Message Signalled Interrupts of PCI functions (PCI Local Bus Specification 3.0, section 6.8.1): the capability, with 32 or
//! 64 address bits, with or without masking and pending bits for each vector.
//!
//! A message is a write by the function as bus master. One to an address of the local APICs goes there; one to any other
//! address is a store of four bytes, to RAM if there is some.

use std::sync::Arc;

use super::{PciConfig, PciConfigBuilder};
use crate::base::msi::{Msi, MsiSink};
use crate::base::{BusMaster, Delivery, Dma, GuestRam};

/// Id of the capability.
const CAP_MSI: u8 = 0x05;
/// Most vectors of a function.
const MOST_VECTORS: u8 = 32;

/// Message Control.
mod control {
    pub const ENABLE: u16 = 1 << 0;
    /// Bits 3:1: base-2 logarithm of the number of vectors that the function can use.
    pub const CAPABLE_SHIFT: u32 = 1;
    /// Bits 6:4: of those that it may use.
    pub const VECTORS: u16 = 0b111 << VECTORS_SHIFT;
    pub const VECTORS_SHIFT: u32 = 4;
    pub const ADDRESS_64: u16 = 1 << 7;
    pub const MASKABLE: u16 = 1 << 8;
}

/// Where a function's messages leave it.
#[derive(Clone)]
pub struct MessagePort {
    sink: Arc<dyn MsiSink>,
    gate: BusMaster,
    dma: Dma,
}

impl MessagePort {
    /// Messages of the function whose Bus Master Enable controls `gate`: to `sink`, or to `ram`.
    #[must_use]
    pub fn new(sink: Arc<dyn MsiSink>, ram: GuestRam, gate: BusMaster) -> Self {
        Self { sink, dma: Dma::new(ram, gate.clone()), gate }
    }

    /// Sends a message, which is lost if the function may not master the bus.
    pub fn send(&self, message: Msi) -> Delivery {
        if !self.gate.is_open() {
            return Delivery::Ignored;
        }
        if Msi::ADDRESSES.contains(&message.address) {
            return self.sink.send(message);
        }
        // Nobody answers where there is no RAM, as to every write of a master.
        match self.dma.write(message.address, &message.data.to_le_bytes()) {
            Ok(()) => Delivery::Delivered,
            Err(_) => Delivery::Ignored,
        }
    }
}

/// What a function's capability can do.
#[derive(Clone, Copy, Debug)]
pub struct MsiOptions {
    /// Number of vectors: 1, 2, 4, 8, 16 or 32.
    pub vectors: u8,
    /// Addresses have 64 bits.
    pub address_64: bool,
    /// Each vector can be masked, and says whether it is pending.
    pub maskable: bool,
}

/// The capability of one function. Its registers are in the function's configuration space.
pub struct MsiCapability {
    offset: u8,
    options: MsiOptions,
    port: MessagePort,
}

impl MsiCapability {
    /// Adds the capability at `offset` of a configuration space.
    ///
    /// # Panics
    /// There is no capability with so many vectors: a mistake in the device.
    #[must_use]
    pub fn add(
        builder: PciConfigBuilder,
        offset: u8,
        options: MsiOptions,
        port: MessagePort,
    ) -> (PciConfigBuilder, Self) {
        let MsiOptions { vectors, address_64, maskable } = options;
        assert!(vectors.is_power_of_two() && vectors <= MOST_VECTORS, "{vectors} vectors");
        let this = Self { offset, options, port };
        let capable = (vectors.trailing_zeros() as u16) << control::CAPABLE_SHIFT;
        let flag = |on: bool, flag: u16| if on { flag } else { 0 };
        let control = capable | flag(address_64, control::ADDRESS_64) | flag(maskable, control::MASKABLE);
        let mut body = vec![0; usize::from(this.len()) - 2];
        body[..2].copy_from_slice(&control.to_le_bytes());
        let mut writable = vec![0; body.len()];
        let mut allow = |at: u8, mask: &[u8]| {
            let at = usize::from(at - offset) - 2;
            writable[at..at + mask.len()].copy_from_slice(mask);
        };
        allow(this.control(), &(control::ENABLE | control::VECTORS).to_le_bytes());
        allow(this.address(), &[0xfc, 0xff, 0xff, 0xff]);
        if address_64 {
            allow(this.address() + 4, &[0xff; 4]);
        }
        allow(this.data(), &[0xff; 2]);
        if maskable {
            allow(this.mask(), &this.all().to_le_bytes());
        }
        let mut builder = builder.capability(offset, CAP_MSI, &body, &writable);
        if maskable {
            builder = builder.volatile(this.pending(), &this.all().to_le_bytes());
        }
        (builder, this)
    }

    fn len(&self) -> u8 {
        match (self.options.address_64, self.options.maskable) {
            (false, false) => 10,
            (true, false) => 14,
            (false, true) => 20,
            (true, true) => 24,
        }
    }

    fn control(&self) -> u8 {
        self.offset + 2
    }

    fn address(&self) -> u8 {
        self.offset + 4
    }

    fn data(&self) -> u8 {
        self.offset + if self.options.address_64 { 12 } else { 8 }
    }

    fn mask(&self) -> u8 {
        self.data() + 4
    }

    fn pending(&self) -> u8 {
        self.data() + 8
    }

    /// A bit for each vector that the function has.
    fn all(&self) -> u32 {
        u32::MAX >> (MOST_VECTORS - self.options.vectors)
    }

    /// The number of vectors that software has granted.
    fn granted(&self, config: &PciConfig) -> u8 {
        let granted = (config.read_u16(self.control()) & control::VECTORS) >> control::VECTORS_SHIFT;
        self.options.vectors.min(1 << granted.min(5))
    }

    /// Whether the function interrupts by messages instead of its pin.
    #[must_use]
    pub fn is_enabled(&self, config: &PciConfig) -> bool {
        config.read_u16(self.control()) & control::ENABLE != 0
    }

    /// Sends the message of `vector` if messages are enabled; while it is masked it is kept as pending. A vector beyond those
    /// that software has granted is sent as the first.
    pub fn notify(&self, config: &mut PciConfig, vector: u8) -> Delivery {
        if !self.is_enabled(config) {
            return Delivery::Ignored;
        }
        let vector = if vector < self.granted(config) { vector } else { 0 };
        if self.options.maskable && config.read_u32(self.mask()) & 1 << vector != 0 {
            let pending = config.read_u32(self.pending());
            config.put(self.pending(), &(pending | 1 << vector).to_le_bytes());
            return if pending & 1 << vector == 0 { Delivery::Delivered } else { Delivery::Coalesced };
        }
        self.port.send(self.message(config, vector))
    }

    fn message(&self, config: &PciConfig, vector: u8) -> Msi {
        let high = if self.options.address_64 { config.read_u32(self.address() + 4) } else { 0 };
        let address = u64::from(high) << 32 | u64::from(config.read_u32(self.address()));
        // The vector takes the place of the lowest bits, as many as it may change.
        let data = u32::from(config.read_u16(self.data()));
        let changed = u32::from(self.granted(config)) - 1;
        Msi { address, data: data & !changed | u32::from(vector) }
    }

    /// The guest has written `len` bytes at `offset` of the configuration space: sends what is pending and no longer masked.
    pub fn written(&self, config: &mut PciConfig, offset: u8, len: u8) {
        let written = u16::from(offset)..u16::from(offset) + u16::from(len);
        let own = u16::from(self.offset)..u16::from(self.offset) + u16::from(self.len());
        if written.start >= own.end || written.end <= own.start || !self.is_enabled(config) {
            return;
        }
        // No more than the function can use is granted, whatever was written.
        let granted = self.granted(config);
        let control = config.read_u16(self.control()) & !control::VECTORS;
        let vectors = (granted.trailing_zeros() as u16) << control::VECTORS_SHIFT;
        config.put(self.control(), &(control | vectors).to_le_bytes());
        if !self.options.maskable {
            return;
        }
        // What was pending of vectors that are gone is forgotten.
        let pending = config.read_u32(self.pending()) & u32::MAX >> (MOST_VECTORS - granted);
        let due = pending & !config.read_u32(self.mask());
        config.put(self.pending(), &(pending & !due).to_le_bytes());
        for vector in (0..granted).filter(|vector| due & 1 << vector != 0) {
            self.port.send(self.message(config, vector));
        }
    }
}

#[cfg(test)]
mod tests;
