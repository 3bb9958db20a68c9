//! virtio devices.

use super::disk;
use super::pci::pci_keys;
use crate::cli::keyval::{Key, Kind, Variant};

/// The keys of a virtio device: its own, those that every virtio device has, and those of a PCI device.
macro_rules! virtio_keys {
    ($($own:expr),* $(,)?) => {
        pci_keys![
            $($own,)*
            Key::new(
                "disable-legacy",
                Kind::Choice(&["on", "off", "auto"]),
                "it is for drivers of virtio 1 only (default auto: off)",
            ),
            Key::new("disable-modern", Kind::Flag, "it is for drivers before virtio 1 only (default off)"),
            Key::new(
                "vectors",
                Kind::Number(0, u32::MAX as u64),
                "its MSI-X vectors, 0: none (default: as many as it makes use of)",
            ),
            Key::new("event_idx", Kind::Flag, "offer to tell at a place in a ring (default on)"),
            Key::new("indirect_desc", Kind::Flag, "offer tables of descriptors (default on)"),
            Key::new("packed", Kind::Flag, "offer packed rings (default off)"),
            Key::new("queue_reset", Kind::Flag, "offer the reset of a single queue (default on)"),
            Key::new("any_layout", Kind::Flag, "offer legacy drivers any split into descriptors (default on)"),
            Key::new("notify_on_empty", Kind::Flag, "offer legacy drivers an interrupt when a queue is empty (default on)"),
            Key::new("page-per-vq", Kind::Flag, "give the doorbell of each queue a page of its own (default off)"),
            Key::new("ioeventfd", Kind::Flag, "hear doorbells without an exit of the processor that rings (default on)"),
            Key::missing("iommu_platform", &["off"], "natoma has no IOMMU, so that a device can't be behind one: leave it out"),
            Key::missing("ats", &["off"], "natoma has no IOMMU whose translations a device could ask for: leave it out"),
            Key::missing("aer", &["off"], "error reporting is of PCI Express, which this machine does not have: leave it out"),
            Key::missing("modern-pio-notify", &["off"], "doorbells in memory are as quick: leave it out"),
            Key::missing("migrate-extra", &["on"], "leave it out"),
            Key::missing("virtio-pci-bus-master-bug-migration", &["off"], "leave it out"),
            Key::missing("use-started", &["on"], "leave it out"),
            Key::missing("use-disabled-flag", &["on"], "leave it out"),
        ]
    };
}

pub(super) use virtio_keys;

const SECTORS: Kind = Kind::Number(1, 0x3f_ffff);

/// Who serves the queues of a device.
pub const IOTHREAD_OF_DEVICE: Key =
    Key::new("iothread", Kind::Text("ID"), "the -object iothread that serves its queues (default: the main loop does)");

const BLOCK_KEYS: &[Key] = virtio_keys![
    disk::DRIVE_OF_DISK,
    IOTHREAD_OF_DEVICE,
    Key::new("serial", Kind::Name(20), "serial number, up to 20 characters (default: none)"),
    disk::BOOTINDEX,
    Key::new("num-queues", Kind::Number(1, 0xffff), "number of queues, up to 1024 (default: one for each processor)"),
    Key::new("queue-size", Kind::Number(3, 1024), "entries of each queue: a power of two (default 256)"),
    Key::new("seg-max-adjust", Kind::Flag, "segments of a request follow from that: otherwise 126 (default on)"),
    disk::LOGICAL_BLOCK_SIZE,
    disk::PHYSICAL_BLOCK_SIZE,
    disk::MIN_IO_SIZE,
    disk::OPT_IO_SIZE,
    disk::WRITE_CACHE,
    Key::new("config-wce", Kind::Flag, "the guest can switch the write cache (default on)"),
    Key::new("discard", Kind::Flag, "the guest can discard blocks (default on)"),
    Key::new("discard_granularity", Kind::Size(1), "unit in which that is of use (default: a logical block)"),
    Key::new("max-discard-sectors", SECTORS, "most sectors of one discard (default 4194303)"),
    Key::new("write-zeroes", Kind::Flag, "the guest can make blocks zeroes without data (default on)"),
    Key::new("max-write-zeroes-sectors", SECTORS, "most sectors of one such request (default 4194303)"),
    disk::CYLINDERS,
    disk::HEADS,
    disk::SECTORS,
    disk::SHARED,
    disk::RERROR,
    disk::WERROR,
    disk::ACCOUNT_FAILED,
    disk::ACCOUNT_INVALID,
    disk::LOGICAL_CYLINDERS,
    disk::LOGICAL_HEADS,
    disk::LOGICAL_SECTORS,
    Key::missing("request-merging", &["on", "off"], "leave it out: requests go to the host as the guest makes them"),
    Key::missing("scsi", &["off"], "SCSI commands on a virtio disk are long gone: use virtio-scsi"),
    Key::missing("class", &["0"], "leave it out"),
    Key::missing("report-discard-granularity", &["on"], "leave it out"),
];

/// A disk.
pub const VIRTIO_BLK: Variant =
    Variant { name: "virtio-blk-pci", help: "a virtio disk, for any driver", keys: BLOCK_KEYS };
/// The same.
pub const VIRTIO_BLK_TRANSITIONAL: Variant =
    Variant { name: "virtio-blk-pci-transitional", help: "the same", keys: BLOCK_KEYS };
/// A disk for newer drivers.
pub const VIRTIO_BLK_NON_TRANSITIONAL: Variant = Variant {
    name: "virtio-blk-pci-non-transitional",
    help: "a virtio disk, for drivers of virtio 1",
    keys: BLOCK_KEYS,
};

/// A thread that serves queues.
pub const IOTHREAD: Variant = Variant {
    name: "iothread",
    help: "a thread that serves the queues of virtio devices",
    keys: &[
        Key::new(
            "poll-max-ns",
            Kind::Number(0, i64::MAX as u64),
            "longest time for which it looks for more to do before it sleeps; 0: it does not (default 32768)",
        ),
        Key::new(
            "poll-grow",
            Kind::Number(0, i64::MAX as u64),
            "by what that time grows when it was too short (default 0: by 2)",
        ),
        Key::new(
            "poll-shrink",
            Kind::Number(0, i64::MAX as u64),
            "by what it shrinks when the longest was too short (default 0: to nothing)",
        ),
        Key::new(
            "aio-max-batch",
            Kind::Number(0, i64::MAX as u64),
            "told by monitors, and without effect: all that a device makes together goes to the host together (default 0)",
        ),
        Key::missing("thread-pool-min", &["0"], "a drive starts workers when it needs them: leave it out"),
        Key::missing("thread-pool-max", &["64"], "a drive has 64 workers at most: leave it out"),
    ],
};
