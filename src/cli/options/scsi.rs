//! SCSI hosts, disks and CD drives.

use super::disk;
use super::pci::pci_keys;
use super::virtio::{IOTHREAD_OF_DEVICE, virtio_keys};
use crate::cli::keyval::{Key, Kind, Variant};

const HOST_KEYS: &[Key] = virtio_keys![
    Key::new(
        "num_queues",
        Kind::Number(1, 0xffff_ffff),
        "number of request queues, up to 1021 (default: one for each processor)"
    ),
    Key::new("virtqueue_size", Kind::Number(3, 1024), "entries of each queue: a power of two (default 256)"),
    Key::new("seg_max_adjust", Kind::Flag, "segments of a command follow from that: otherwise 126 (default on)"),
    Key::new("max_sectors", Kind::Number(1, 0xffff_ffff), "most sectors of a command (default 65535)"),
    Key::new(
        "cmd_per_lun",
        Kind::Number(1, 0xffff_ffff),
        "most commands that the driver gives a unit at a time (default 128)"
    ),
    Key::new("hotplug", Kind::Flag, "the driver is told of units that come and go (default on)"),
    Key::new("param_change", Kind::Flag, "the driver is told of units that change (default on)"),
    IOTHREAD_OF_DEVICE,
];

/// A host.
pub const VIRTIO_SCSI: Variant =
    Variant { name: "virtio-scsi-pci", help: "a virtio SCSI host, for any driver", keys: HOST_KEYS };
/// The same.
pub const VIRTIO_SCSI_TRANSITIONAL: Variant =
    Variant { name: "virtio-scsi-pci-transitional", help: "the same", keys: HOST_KEYS };
/// A host for newer drivers.
pub const VIRTIO_SCSI_NON_TRANSITIONAL: Variant = Variant {
    name: "virtio-scsi-pci-non-transitional",
    help: "a virtio SCSI host, for drivers of virtio 1",
    keys: HOST_KEYS,
};

/// The keys of all units, and those of one kind.
macro_rules! unit_keys {
    ($($own:expr),* $(,)?) => {
        &[
            Key::new("bus", Kind::Text("BUS"), "the bus of a host given before, ID.0 for one with id=ID (default: the first)"),
            Key::new("channel", Kind::Number(0, 0), "the channel: a host has one"),
            Key::new("scsi-id", Kind::Number(0, 255), "the target (default: the first one where the unit is free)"),
            Key::new("lun", Kind::Number(0, 16383), "the logical unit (default: the first free one of the target, or 0)"),
            disk::BOOTINDEX,
            Key::new("serial", Kind::Name(36), "serial number, up to 36 characters (default none)"),
            Key::new("vendor", Kind::Name(8), "vendor, up to 8 characters (default QEMU)"),
            Key::new("product", Kind::Name(16), "product, up to 16 characters (default that of QEMU)"),
            Key::new("ver", Kind::Name(4), "revision, up to 4 characters (default 2.5+)"),
            Key::new(
                "device_id",
                Kind::Name(247),
                "name beside the vendor (default: the serial number, or the id of the drive)",
            ),
            disk::WWN,
            Key::new("port_wwn", Kind::Number(0, u64::MAX), "world wide name of its port (default none)"),
            Key::new("port_index", Kind::Number(0, 0xffff), "number of its port (default none)"),
            disk::SHARED,
            disk::RERROR,
            disk::WERROR,
            disk::ACCOUNT_FAILED,
            disk::ACCOUNT_INVALID,
            Key::missing("scsi_version", &["5"], "units follow SPC-3: leave it out"),
            Key::missing("max_unmap_size", &["1073741824"], "leave it out"),
            Key::missing("max_io_size", &["2147483647"], "leave it out"),
            $($own,)*
        ]
    };
}

/// A disk.
pub const SCSI_HD: Variant = Variant {
    name: "scsi-hd",
    help: "a disk at a SCSI host",
    keys: unit_keys![
        disk::DRIVE_OF_DISK,
        Key::new("removable", Kind::Flag, "the guest can eject it (default off)"),
        Key::new("dpofua", Kind::Flag, "it tells that it knows forced access to the medium (default off)"),
        disk::ROTATION_RATE,
        disk::LOGICAL_BLOCK_SIZE,
        disk::PHYSICAL_BLOCK_SIZE,
        disk::MIN_IO_SIZE,
        disk::OPT_IO_SIZE,
        Key::new(
            "discard_granularity",
            Kind::Size(1),
            "bytes that are discarded together, 0: none can be (default 4096)"
        ),
        disk::WRITE_CACHE,
        disk::CYLINDERS,
        disk::HEADS,
        disk::SECTORS,
        disk::LOGICAL_CYLINDERS,
        disk::LOGICAL_HEADS,
        disk::LOGICAL_SECTORS,
    ],
};

/// A CD drive.
pub const SCSI_CD: Variant = Variant {
    name: "scsi-cd",
    help: "a CD/DVD drive at a SCSI host",
    keys: unit_keys![
        disk::DRIVE_OF_CD,
        Key::missing("logical_block_size", &["0", "512", "2048"], "blocks of a CD have 2048 bytes: leave it out"),
        Key::missing("physical_block_size", &["0", "512", "2048"], "leave it out"),
    ],
};
