//! What a driver of a block device sees (virtio 1.2, section 5.2).

/// Feature bits.
pub mod feature {
    /// `seg_max` is there.
    pub const SEG_MAX: u64 = 1 << 2;
    /// `geometry` is there.
    pub const GEOMETRY: u64 = 1 << 4;
    /// It can't be written.
    pub const RO: u64 = 1 << 5;
    /// `blk_size` is there.
    pub const BLK_SIZE: u64 = 1 << 6;
    /// It can be flushed.
    pub const FLUSH: u64 = 1 << 9;
    /// The topology is there.
    pub const TOPOLOGY: u64 = 1 << 10;
    /// The driver can switch the write cache.
    pub const CONFIG_WCE: u64 = 1 << 11;
    /// `num_queues` is there.
    pub const MQ: u64 = 1 << 12;
    pub const DISCARD: u64 = 1 << 13;
    pub const WRITE_ZEROES: u64 = 1 << 14;
}

/// Offsets in the configuration structure.
pub mod config {
    pub const CAPACITY: usize = 0;
    pub const SEG_MAX: usize = 12;
    pub const CYLINDERS: usize = 16;
    pub const HEADS: usize = 18;
    pub const SECTORS: usize = 19;
    pub const BLK_SIZE: usize = 20;
    pub const PHYSICAL_BLOCK_EXP: usize = 24;
    pub const MIN_IO_SIZE: usize = 26;
    pub const OPT_IO_SIZE: usize = 28;
    pub const WRITEBACK: usize = 32;
    pub const NUM_QUEUES: usize = 34;
    pub const MAX_DISCARD_SECTORS: usize = 36;
    pub const MAX_DISCARD_SEG: usize = 40;
    pub const DISCARD_SECTOR_ALIGNMENT: usize = 44;
    pub const MAX_WRITE_ZEROES_SECTORS: usize = 48;
    pub const MAX_WRITE_ZEROES_SEG: usize = 52;
    pub const WRITE_ZEROES_MAY_UNMAP: usize = 56;
    /// Lengths, by the last feature that it has something for.
    pub const LEN: usize = 36;
    pub const LEN_DISCARD: usize = 48;
    pub const LEN_WRITE_ZEROES: usize = 57;
}

/// Types of requests.
pub mod request {
    pub const IN: u32 = 0;
    pub const OUT: u32 = 1;
    pub const FLUSH: u32 = 4;
    pub const GET_ID: u32 = 8;
    pub const DISCARD: u32 = 11;
    pub const WRITE_ZEROES: u32 = 13;
    /// A flag of old drivers: everything before it is to be done first. Nobody ever offered it.
    pub const BARRIER: u32 = 1 << 31;
    /// Flag of a segment to be zeroed: it need not keep room.
    pub const UNMAP: u32 = 1;
}

/// How a request has ended.
pub mod status {
    pub const OK: u8 = 0;
    pub const IOERR: u8 = 1;
    pub const UNSUPP: u8 = 2;
}
