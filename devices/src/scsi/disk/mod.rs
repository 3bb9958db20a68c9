//! A disk (SBC-3).

mod commands;
mod pages;
mod provisioning;

use serde::{Deserialize, Serialize};

use super::Sense;
use super::identity::BlockPages;
use crate::backend::disk::DiskPort;
use crate::ide::Geometry;

/// Most bytes of a command's data that a disk asks for, and of one range that it gives up.
const LONGEST_TRANSFER: u64 = 0x3f_ffff * 512;
const LONGEST_UNMAP: u64 = 1 << 30;
/// Most ranges of UNMAP.
const MOST_UNMAPS: usize = 255;

/// What kind of disk it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskOptions {
    /// Bytes of a block: a power of two from 512 to 2 MiB.
    pub block: u32,
    /// Bytes of a block of the medium: a power of two, not less than `block`.
    pub physical_block: u32,
    /// Smallest number of bytes that make up a good transfer; 0: it does not say.
    pub minimum_io: u32,
    /// Number of bytes that make up the best transfer; 0: it does not say.
    pub optimal_io: u32,
    /// Bytes that are given up together; 0: blocks can't be given up.
    pub discard_granularity: u32,
    /// Revolutions per minute; 1: it does not rotate; 0: it does not say.
    pub rotation_rate: u16,
    /// It can be taken out.
    pub removable: bool,
    /// It knows the bits DPO and FUA.
    pub dpofua: bool,
    /// Writes are cached after power-on.
    pub write_cache: bool,
    /// Cylinders, heads and sectors, for those who want them.
    pub geometry: Geometry,
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self {
            block: 512,
            physical_block: 512,
            minimum_io: 0,
            optimal_io: 0,
            discard_granularity: 4096,
            rotation_rate: 0,
            removable: false,
            dpofua: false,
            write_cache: true,
            geometry: Geometry::for_size(0),
        }
    }
}

/// What a disk remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DiskMemory {
    write_cache: bool,
    /// A removable disk that the guest has ejected.
    ejected: bool,
    /// The guest keeps it in.
    locked: bool,
}

/// The disk.
pub(super) struct Disk {
    pub port: DiskPort,
    pub options: DiskOptions,
    pub memory: DiskMemory,
    /// How many blocks there were when the initiator was last told that this has changed.
    pub blocks_told: u64,
}

impl Disk {
    pub fn new(port: DiskPort, options: DiskOptions) -> Self {
        let memory = DiskMemory { write_cache: options.write_cache, ejected: false, locked: false };
        let mut disk = Self { port, options, memory, blocks_told: 0 };
        disk.blocks_told = disk.blocks();
        disk
    }

    /// Takes over what it has remembered elsewhere.
    pub fn load(&mut self, memory: DiskMemory) {
        self.memory = memory;
        self.blocks_told = self.blocks();
    }

    /// A reset: settings are as after power-on.
    pub fn reset(&mut self) {
        self.memory = DiskMemory { write_cache: self.options.write_cache, ejected: self.memory.ejected, locked: false };
    }

    /// Blocks on the medium.
    pub fn blocks(&self) -> u64 {
        self.port.len().unwrap_or(0) / u64::from(self.options.block)
    }

    fn has_medium(&self) -> bool {
        !self.memory.ejected && !self.port.is_empty()
    }

    /// `count` blocks from `first` on, as bytes.
    fn range(&self, first: u64, count: u64) -> Result<(u64, u64), Sense> {
        let end = first.checked_add(count).filter(|end| *end <= self.blocks());
        let block = u64::from(self.options.block);
        end.map(|_| (first * block, count * block)).ok_or(Sense::OUT_OF_RANGE)
    }

    /// What INQUIRY tells of it.
    pub fn vital_pages(&self) -> BlockPages {
        let DiskOptions { block, minimum_io, optimal_io, discard_granularity, rotation_rate, .. } = self.options;
        let blocks = |bytes: u64| (bytes / u64::from(block)) as u32;
        let longest = blocks(LONGEST_TRANSFER);
        let mut limits = vec![0; 60];
        // WRITE SAME without a number of blocks is refused.
        limits[0] = 1;
        limits[2..4].copy_from_slice(&(blocks(minimum_io.into()).min(0xffff) as u16).to_be_bytes());
        limits[4..8].copy_from_slice(&longest.to_be_bytes());
        limits[8..12].copy_from_slice(&blocks(optimal_io.into()).to_be_bytes());
        if discard_granularity > 0 {
            limits[16..20].copy_from_slice(&blocks(LONGEST_UNMAP).to_be_bytes());
            limits[20..24].copy_from_slice(&(MOST_UNMAPS as u32).to_be_bytes());
            limits[24..28].copy_from_slice(&blocks(discard_granularity.into()).to_be_bytes());
        }
        limits[32..40].copy_from_slice(&u64::from(longest).to_be_bytes());
        let mut characteristics = vec![0; 60];
        characteristics[..2].copy_from_slice(&rotation_rate.to_be_bytes());
        // Thin provisioning by UNMAP and both kinds of WRITE SAME, or a fully provisioned disk.
        let provisioning = if discard_granularity > 0 { vec![0, 0xe0, 2, 0] } else { vec![0; 4] };
        BlockPages { limits, characteristics, provisioning }
    }
}
