//! virtio devices.

use serde::{Deserialize, Serialize};

use super::DiskBlocks;

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
    /// Its doorbells are heard without an exit of the processor that rings, where the accelerator can.
    pub ioeventfd: bool,
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
            ioeventfd: true,
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
    /// Id of the thread that serves its queues; `None`: the main loop does.
    pub io_thread: Option<String>,
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
    /// What it tells of its blocks. Discarding is of use in logical blocks unless that says otherwise.
    pub blocks: DiskBlocks,
    /// The guest can switch the write cache.
    pub config_wce: bool,
    /// The guest can discard blocks.
    pub discard: bool,
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
            io_thread: None,
            serial: String::new(),
            bootindex: None,
            queues: None,
            queue_size: 256,
            seg_max_adjust: true,
            blocks: DiskBlocks::default(),
            config_wce: true,
            discard: true,
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
