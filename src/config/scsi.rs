//! SCSI hosts, and the disks and CD drives at them.

use serde::{Deserialize, Serialize};

use super::{DiskBlocks, VirtioOptions};

/// `virtio-scsi-pci`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VirtioScsi {
    /// What every virtio function has.
    pub virtio: VirtioOptions,
    /// Name of its SCSI bus, by which devices refer to it.
    pub scsi_bus: String,
    /// Id of the thread that serves its queues; `None`: the main loop does.
    pub io_thread: Option<String>,
    /// Number of request queues, 1 to 1021; `None`: one for each processor.
    pub queues: Option<u16>,
    /// Entries of each queue: a power of two, 4 to 1024.
    pub queue_size: u16,
    /// The number of segments that the driver is told follows from that.
    pub seg_max_adjust: bool,
    /// Most sectors of a command.
    pub max_sectors: u32,
    /// Commands that a driver should have under way at a unit, at most.
    pub cmd_per_lun: u32,
    /// The driver is told of units that come and go.
    pub hotplug: bool,
    /// The driver is told of parameters that change.
    pub param_change: bool,
}

impl VirtioScsi {
    /// Most request queues: with the two others a function has no more.
    pub const MOST_QUEUES: u16 = 1021;

    /// A host with the defaults of `-device`.
    pub fn new(scsi_bus: impl Into<String>) -> Self {
        Self {
            virtio: VirtioOptions::default(),
            scsi_bus: scsi_bus.into(),
            io_thread: None,
            queues: None,
            queue_size: 256,
            seg_max_adjust: true,
            max_sectors: 0xffff,
            cmd_per_lun: 128,
            hotplug: true,
            param_change: true,
        }
    }

    /// Its kind as QEMU spells it.
    pub fn driver(&self) -> &'static str {
        self.virtio.interface.name([
            "virtio-scsi-pci",
            "virtio-scsi-pci-transitional",
            "virtio-scsi-pci-non-transitional",
        ])
    }
}

/// `scsi-hd` or `scsi-cd`: a unit at a SCSI host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScsiDrive {
    /// Name of the device, if it was given one.
    pub id: Option<String>,
    /// Name of the bus of a host before it.
    pub bus: String,
    /// The target. No two devices have the same place.
    #[serde(rename = "scsi-id")]
    pub target: u8,
    /// The logical unit, up to 16383.
    pub lun: u16,
    /// Id of the drive of the host that holds its media; `None`: a CD drive that is empty at the start.
    pub drive: Option<String>,
    /// Place in the boot order.
    pub bootindex: Option<i32>,
    /// Serial number, up to 36 characters.
    pub serial: Option<String>,
    /// Vendor, up to 8 characters; `None`: that of QEMU.
    pub vendor: Option<String>,
    /// Product, up to 16 characters; `None`: that of QEMU.
    pub product: Option<String>,
    /// Revision, up to 4 characters; `None`: that of QEMU.
    pub ver: Option<String>,
    /// Name beside the vendor; `None`: the serial number, or the id of the drive.
    pub device_id: Option<String>,
    /// World wide name of the unit.
    pub wwn: Option<u64>,
    /// World wide name of its port.
    pub port_wwn: Option<u64>,
    /// Number of its port; 0: it does not say.
    pub port_index: u16,
    /// What a disk has beside.
    pub disk: ScsiDisk,
}

/// What of a [`ScsiDrive`] only matters for disks.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScsiDisk {
    /// It can be taken out.
    pub removable: bool,
    /// It says that it knows the bits DPO and FUA.
    pub dpofua: bool,
    /// Revolutions per minute; 1: a disk that does not rotate; 0: it does not say.
    pub rotation_rate: u16,
    /// What it tells of its blocks. 4096 bytes, or a block, are discarded together unless that says otherwise; 0: none can be.
    pub blocks: DiskBlocks,
}

impl ScsiDrive {
    /// A device with the defaults of `-device`.
    #[must_use]
    pub fn new(bus: impl Into<String>, target: u8, lun: u16, drive: Option<String>) -> Self {
        Self {
            id: None,
            bus: bus.into(),
            target,
            lun,
            drive,
            bootindex: None,
            serial: None,
            vendor: None,
            product: None,
            ver: None,
            device_id: None,
            wwn: None,
            port_wwn: None,
            port_index: 0,
            disk: ScsiDisk::default(),
        }
    }
}
