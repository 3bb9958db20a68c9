//! What disks of several kinds have in common.

use serde::{Deserialize, Serialize};

/// What a disk tells of its blocks, unless its kind knows 512 bytes only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskBlocks {
    /// Bytes of a logical block: a power of two, 512 to 2 MiB.
    pub logical_block_size: u32,
    /// Bytes of a physical block: a power of two, no smaller.
    pub physical_block_size: u32,
    /// Bytes of the smallest transfer that is not slow; 0: not told.
    pub min_io_size: u32,
    /// Bytes of the best transfer; 0: not told.
    pub opt_io_size: u32,
    /// Bytes that are discarded together; `None`: what is usual for the kind of disk.
    pub discard_granularity: Option<u32>,
    /// The write cache is on at the start; `None`: as `cache=` of the drive says.
    pub write_cache: Option<bool>,
    /// Cylinders, heads and sectors per track; `None`: as the partition table has them.
    pub geometry: Option<(u16, u8, u8)>,
}

impl Default for DiskBlocks {
    fn default() -> Self {
        Self {
            logical_block_size: 512,
            physical_block_size: 512,
            min_io_size: 0,
            opt_io_size: 0,
            discard_granularity: None,
            write_cache: None,
            geometry: None,
        }
    }
}
