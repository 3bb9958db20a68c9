//! The registers through which commands reach a device: each remembers the value before the last one, as the upper half of a
//! 48-bit command.

use serde::{Deserialize, Serialize};

use super::registers::{device, error, reg};

/// A register and what was in it before: low byte and high byte of a 48-bit command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pair {
    pub now: u8,
    pub before: u8,
}

impl Pair {
    fn push(&mut self, value: u8) {
        self.before = std::mem::replace(&mut self.now, value);
    }
}

/// The registers of one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskFile {
    pub features: Pair,
    pub count: Pair,
    pub lba: [Pair; 3],
    pub device: u8,
    pub status: u8,
    pub error: u8,
}

/// Where a command begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Lba(u64),
    Chs { cylinder: u16, head: u8, sector: u8 },
}

impl TaskFile {
    /// A write by the host.
    pub fn write(&mut self, register: u64, value: u8) {
        match register {
            reg::ERROR_FEATURES => self.features.push(value),
            reg::SECTOR_COUNT => self.count.push(value),
            reg::LBA_LOW => self.lba[0].push(value),
            reg::LBA_MID => self.lba[1].push(value),
            reg::LBA_HIGH => self.lba[2].push(value),
            reg::DEVICE => self.device = value | device::OBSOLETE,
            _ => {}
        }
    }

    /// A read by the host of any register but the status; `before`: the upper half.
    pub fn read(&self, register: u64, before: bool) -> u8 {
        let half = |pair: Pair| if before { pair.before } else { pair.now };
        match register {
            reg::ERROR_FEATURES => self.error,
            reg::SECTOR_COUNT => half(self.count),
            reg::LBA_LOW => half(self.lba[0]),
            reg::LBA_MID => half(self.lba[1]),
            reg::LBA_HIGH => half(self.lba[2]),
            _ => self.device,
        }
    }

    /// The features register.
    pub fn feature(&self) -> u8 {
        self.features.now
    }

    /// Sectors that a command is about.
    pub fn sectors(&self, ext: bool) -> u32 {
        match (ext, self.count) {
            (true, Pair { now: 0, before: 0 }) => 0x1_0000,
            (true, Pair { now, before }) => u32::from(u16::from_le_bytes([now, before])),
            (false, Pair { now: 0, .. }) => 0x100,
            (false, Pair { now, .. }) => now.into(),
        }
    }

    /// Where a command begins.
    pub fn address(&self, ext: bool) -> Address {
        let [low, mid, high] = self.lba;
        if ext {
            Address::Lba(u64::from_le_bytes([low.now, mid.now, high.now, low.before, mid.before, high.before, 0, 0]))
        } else if self.device & device::LBA != 0 {
            let top = self.device & device::HEAD;
            Address::Lba(u32::from_le_bytes([low.now, mid.now, high.now, top]).into())
        } else {
            let cylinder = u16::from_le_bytes([mid.now, high.now]);
            Address::Chs { cylinder, head: self.device & device::HEAD, sector: low.now }
        }
    }

    /// Tells the host of an address.
    pub fn set_address(&mut self, address: Address, ext: bool) {
        match address {
            Address::Lba(lba) => {
                let [a, b, c, d, e, f, ..] = lba.to_le_bytes();
                if ext {
                    self.lba = [(a, d), (b, e), (c, f)].map(|(now, before)| Pair { now, before });
                } else {
                    [self.lba[0].now, self.lba[1].now, self.lba[2].now] = [a, b, c];
                    self.device = self.device & !device::HEAD | d & device::HEAD;
                }
            }
            Address::Chs { cylinder, head, sector } => {
                let [low, high] = cylinder.to_le_bytes();
                [self.lba[0].now, self.lba[1].now, self.lba[2].now] = [sector, low, high];
                self.device = self.device & !device::HEAD | head & device::HEAD;
            }
        }
    }

    /// Tells the host how many sectors are left.
    pub fn set_sectors(&mut self, left: u32, ext: bool) {
        let [now, before, ..] = left.to_le_bytes();
        self.count.now = now;
        if ext {
            self.count.before = before;
        }
    }

    /// What a device shows after a reset or diagnostics: what it is, and that it has passed. `kind` is in the middle and high LBA
    /// registers.
    pub fn sign(&mut self, kind: [u8; 2]) {
        let [mid, high] = kind;
        self.count = Pair { now: 1, before: 0 };
        self.lba = [1, mid, high].map(|now| Pair { now, before: 0 });
        self.features = Pair::default();
        self.device &= !device::HEAD;
        self.error = error::PASSED;
    }
}
