//! MSI-X of PCI functions (PCI Local Bus Specification 3.0, section 6.8.2): the capability, and the table of vectors and
//! the pending bits in a memory BAR of their own.

use serde::{Deserialize, Serialize};

use super::{Bar, BarKind, MessagePort, PciConfig, PciConfigBuilder};
use crate::base::msi::Msi;
use crate::base::{AccessRule, Delivery, Region, StateError};

/// Id of the capability.
const CAP_MSIX: u8 = 0x11;
/// Length of the capability.
const LEN: u8 = 12;
/// Bytes of an entry of the table.
const ENTRY: u64 = 16;
/// Where the pending bits are, unless the table reaches that far.
const USUAL_PENDING: u64 = 0x800;
/// Smallest BAR that holds both.
const SMALLEST_BAR: u64 = 0x1000;

/// Message Control.
mod control {
    pub const FUNCTION_MASK: u16 = 1 << 14;
    pub const ENABLE: u16 = 1 << 15;
}

/// Vector Control of an entry: it is masked. All other bits are zero.
const VECTOR_MASKED: u32 = 1;

/// An entry of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    address: u64,
    data: u32,
    masked: bool,
    pending: bool,
}

impl Vector {
    const RESET: Self = Self { address: 0, data: 0, masked: true, pending: false };
}

/// The capability of one function, with its table.
pub struct Msix {
    /// Of the capability.
    offset: u8,
    region: Region,
    vectors: Vec<Vector>,
    port: MessagePort,
}

impl Msix {
    /// Most vectors of a function.
    pub const MOST_VECTORS: u16 = 0x800;

    /// Adds the capability at `offset` of a configuration space, and its window as BAR `bar`, which the function knows as
    /// `region`. The pending bits follow the table, half a page into the window at least.
    ///
    /// # Panics
    /// There is no function with so many vectors: a mistake in the device.
    #[must_use]
    pub fn add(
        builder: PciConfigBuilder,
        offset: u8,
        (bar, region): (usize, u16),
        vectors: u16,
        port: MessagePort,
    ) -> (PciConfigBuilder, Self) {
        assert!((1..=Self::MOST_VECTORS).contains(&vectors), "{vectors} vectors");
        let table = u64::from(vectors) * ENTRY;
        let pending = table.max(USUAL_PENDING);
        let len = (pending + u64::from(vectors).div_ceil(64) * 8).next_power_of_two().max(SMALLEST_BAR);
        let region = Region::memory(region, "msix", len, AccessRule::native(4, 4).guest(4, 8));
        let mut body = Vec::new();
        body.extend_from_slice(&(vectors - 1).to_le_bytes());
        body.extend_from_slice(&(bar as u32).to_le_bytes());
        body.extend_from_slice(&(pending as u32 | bar as u32).to_le_bytes());
        let mut writable = vec![0; body.len()];
        writable[..2].copy_from_slice(&(control::ENABLE | control::FUNCTION_MASK).to_le_bytes());
        let builder = builder
            .bar(bar, Bar { region, kind: BarKind::Memory32 { prefetchable: false } })
            .capability(offset, CAP_MSIX, &body, &writable);
        (builder, Self { offset, region, vectors: vec![Vector::RESET; usize::from(vectors)], port })
    }

    /// The window with the table.
    #[must_use]
    pub fn region(&self) -> Region {
        self.region
    }

    /// How many vectors there are.
    #[must_use]
    pub fn vectors(&self) -> u16 {
        self.vectors.len() as u16
    }

    fn control(&self, config: &PciConfig) -> u16 {
        config.read_u16(self.offset + 2)
    }

    /// Whether the function interrupts by messages instead of its pin.
    #[must_use]
    pub fn is_enabled(&self, config: &PciConfig) -> bool {
        self.control(config) & control::ENABLE != 0
    }

    /// Sends the message of `vector` if messages are enabled; while it is masked it is kept as pending. There is no message
    /// for a vector that the table does not have.
    pub fn notify(&mut self, config: &PciConfig, vector: u16) -> Delivery {
        if !self.is_enabled(config) {
            return Delivery::Ignored;
        }
        let function_masked = self.control(config) & control::FUNCTION_MASK != 0;
        let Some(entry) = self.vectors.get_mut(usize::from(vector)) else { return Delivery::Ignored };
        if entry.masked || function_masked {
            let before = std::mem::replace(&mut entry.pending, true);
            return if before { Delivery::Coalesced } else { Delivery::Delivered };
        }
        self.port.send(Msi { address: entry.address, data: entry.data })
    }

    /// The driver does not use a vector any more: what is pending of it is forgotten.
    pub fn forget(&mut self, vector: u16) {
        if let Some(entry) = self.vectors.get_mut(usize::from(vector)) {
            entry.pending = false;
        }
    }

    /// The function is reset.
    pub fn reset(&mut self) {
        self.vectors.fill(Vector::RESET);
    }

    /// Reads 4 bytes of the window.
    #[must_use]
    pub fn read(&self, offset: u64) -> u32 {
        let entry = self.vectors.get((offset / ENTRY) as usize);
        match (entry, offset % ENTRY) {
            (Some(entry), 0) => entry.address as u32,
            (Some(entry), 4) => (entry.address >> 32) as u32,
            (Some(entry), 8) => entry.data,
            (Some(entry), _) => u32::from(entry.masked),
            (None, _) => self.pending_bits(offset),
        }
    }

    fn pending_bits(&self, offset: u64) -> u32 {
        let start = (self.vectors.len() as u64 * ENTRY).max(USUAL_PENDING);
        let Some(first) = offset.checked_sub(start).map(|at| at as usize * 8) else { return 0 };
        let bits = self.vectors.iter().skip(first).take(32).enumerate();
        bits.fold(0, |word, (bit, entry)| word | u32::from(entry.pending) << bit)
    }

    /// Writes 4 bytes of the window.
    pub fn write(&mut self, config: &PciConfig, offset: u64, value: u32) {
        let Some(entry) = self.vectors.get_mut((offset / ENTRY) as usize) else { return };
        match offset % ENTRY {
            // The two lowest bits of an address are zero: a message is an aligned double word.
            0 => entry.address = entry.address & !0xffff_ffff | u64::from(value & !3),
            4 => entry.address = entry.address & 0xffff_ffff | u64::from(value) << 32,
            8 => entry.data = value,
            _ => {
                entry.masked = value & VECTOR_MASKED != 0;
                self.send_due(config);
            }
        }
    }

    /// The guest has written `len` bytes at `offset` of the configuration space: sends what is pending and no longer masked.
    pub fn written(&mut self, config: &PciConfig, offset: u8, len: u8) {
        let written = u16::from(offset)..u16::from(offset) + u16::from(len);
        let own = u16::from(self.offset)..u16::from(self.offset) + u16::from(LEN);
        if written.start < own.end && own.start < written.end {
            self.send_due(config);
        }
    }

    fn send_due(&mut self, config: &PciConfig) {
        if self.control(config) & (control::ENABLE | control::FUNCTION_MASK) != control::ENABLE {
            return;
        }
        for entry in self.vectors.iter_mut().filter(|entry| entry.pending && !entry.masked) {
            entry.pending = false;
            self.port.send(Msi { address: entry.address, data: entry.data });
        }
    }

    /// The guest-visible state of the table.
    #[must_use]
    pub fn save(&self) -> MsixState {
        let Self { offset: _, region: _, vectors, port: _ } = self;
        MsixState { vectors: vectors.clone() }
    }

    /// Checks a saved state without taking it over.
    ///
    /// # Errors
    /// It is of another number of vectors, or an address is none.
    pub fn check(&self, state: &MsixState) -> Result<(), StateError> {
        if state.vectors.len() != self.vectors.len() {
            let (saved, own) = (state.vectors.len(), self.vectors.len());
            return Err(StateError::invalid("msix", format!("it has {saved} vectors, and the function {own}")));
        }
        if state.vectors.iter().any(|vector| vector.address & 3 != 0) {
            return Err(StateError::invalid("msix", "an address is not that of a double word"));
        }
        Ok(())
    }

    /// Takes over a saved state that [`Self::check`] has passed.
    pub fn load(&mut self, state: MsixState) {
        self.vectors = state.vectors;
    }
}

/// Saved form of the table, part of the function's own state type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MsixState {
    vectors: Vec<Vector>,
}

#[cfg(test)]
mod tests;
