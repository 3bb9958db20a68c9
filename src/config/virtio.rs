//! virtio devices.

use serde::{Deserialize, Serialize};

/// Which drivers a virtio function is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VirtioInterface {
    /// The kind without a suffix, which can be either.
    Plain,
    /// `-transitional`: it has both interfaces.
    Transitional,
    /// `-non-transitional`: it has that of virtio 1 only.
    NonTransitional,
}

impl VirtioInterface {
    /// Which of the three spellings of a kind is meant.
    pub fn name(self, names: [&'static str; 3]) -> &'static str {
        let [plain, transitional, non_transitional] = names;
        match self {
            Self::Plain => plain,
            Self::Transitional => transitional,
            Self::NonTransitional => non_transitional,
        }
    }
}

/// What every virtio function has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VirtioOptions {
    /// How its kind is spelled.
    pub interface: VirtioInterface,
    /// It has the legacy interface. At least one of the two is there.
    pub legacy: bool,
    /// It has the interface of virtio 1.
    pub modern: bool,
    /// MSI-X vectors, at most 2048; `None`: as many as it makes use of.
    pub vectors: Option<u16>,
    /// Each queue's doorbell has a page of its own.
    pub page_per_vq: bool,
    /// Tables of descriptors are offered.
    pub indirect_desc: bool,
    /// Being told at a place in the ring is offered.
    pub event_idx: bool,
    /// Any split into descriptors is offered to legacy drivers.
    pub any_layout: bool,
    /// An interrupt when a queue is empty is offered to legacy drivers.
    pub notify_on_empty: bool,
    /// The packed format is offered.
    pub packed: bool,
    /// The reset of a single queue is offered.
    pub queue_reset: bool,
}

impl Default for VirtioOptions {
    fn default() -> Self {
        Self {
            interface: VirtioInterface::Plain,
            legacy: true,
            modern: true,
            vectors: None,
            page_per_vq: false,
            indirect_desc: true,
            event_idx: true,
            any_layout: true,
            notify_on_empty: true,
            packed: false,
            queue_reset: true,
        }
    }
}

/// `virtio-blk-pci`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VirtioBlk {
    /// What every virtio function has.
    pub virtio: VirtioOptions,
    /// Id of the drive of the host with its contents.
    pub drive: String,
    /// Serial number, up to 20 bytes.
    pub serial: String,
    /// Place in the boot order.
    pub bootindex: Option<i32>,
    /// Number of queues, 1 to 1024; `None`: one for each processor.
    pub queues: Option<u16>,
    /// Entries of each queue: a power of two, 4 to 1024.
    pub queue_size: u16,
    /// The number of segments that the driver is told follows from that.
    pub seg_max_adjust: bool,
    /// Bytes of a logical block: a power of two, 512 to 2 MiB.
    pub logical_block_size: u32,
    /// Bytes of a physical block: a power of two, no smaller.
    pub physical_block_size: u32,
    /// Bytes of the smallest transfer that is not slow; 0: not told.
    pub min_io_size: u32,
    /// Bytes of the best transfer; 0: not told.
    pub opt_io_size: u32,
    /// Cylinders, heads and sectors per track; `None`: as the partition table has them.
    pub geometry: Option<(u16, u8, u8)>,
    /// The write cache is on at the start; `None`: as `cache=` of the drive says.
    pub write_cache: Option<bool>,
    /// The guest can switch it.
    pub config_wce: bool,
    /// The guest can discard blocks.
    pub discard: bool,
    /// Bytes of the unit in which that is of use; `None`: a logical block.
    pub discard_granularity: Option<u32>,
    /// Most sectors of one discard.
    pub max_discard_sectors: u32,
    /// The guest can make blocks zeroes without data.
    pub write_zeroes: bool,
    /// Most sectors of one such request.
    pub max_write_zeroes_sectors: u32,
}

impl VirtioBlk {
    /// Most sectors of one request.
    pub const MOST_SECTORS: u32 = 0x3f_ffff;

    /// A disk with the defaults of `-device`.
    pub fn new(drive: impl Into<String>) -> Self {
        Self {
            virtio: VirtioOptions::default(),
            drive: drive.into(),
            serial: String::new(),
            bootindex: None,
            queues: None,
            queue_size: 256,
            seg_max_adjust: true,
            logical_block_size: 512,
            physical_block_size: 512,
            min_io_size: 0,
            opt_io_size: 0,
            geometry: None,
            write_cache: None,
            config_wce: true,
            discard: true,
            discard_granularity: None,
            max_discard_sectors: Self::MOST_SECTORS,
            write_zeroes: true,
            max_write_zeroes_sectors: Self::MOST_SECTORS,
        }
    }

    /// Its kind as QEMU spells it.
    pub fn driver(&self) -> &'static str {
        self.virtio.interface.name(["virtio-blk-pci", "virtio-blk-pci-transitional", "virtio-blk-pci-non-transitional"])
    }
}
