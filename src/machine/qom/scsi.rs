//! Properties of SCSI hosts and units.

use serde_json::{Map, Value, json};

use super::{disk, virtio};
use crate::config::{ScsiDisk, ScsiDrive, VirtioScsi};

/// Properties of a SCSI host.
pub fn host(host: &VirtioScsi, add: &mut dyn FnMut(&str, Value)) {
    let VirtioScsi {
        virtio,
        scsi_bus: _,
        io_thread,
        queues,
        queue_size,
        seg_max_adjust,
        max_sectors,
        cmd_per_lun,
        hotplug,
        param_change,
    } = host;
    virtio::options(virtio, add);
    virtio::served_by(io_thread.as_deref(), add);
    add("num_queues", json!(queues.map_or(u32::MAX, u32::from)));
    add("virtqueue_size", json!(queue_size));
    add("seg_max_adjust", json!(seg_max_adjust));
    add("max_sectors", json!(max_sectors));
    add("cmd_per_lun", json!(cmd_per_lun));
    add("hotplug", json!(hotplug));
    add("param_change", json!(param_change));
}

/// Properties of a unit, which is a disk or not; null stands for one that is not set.
pub fn unit(unit: &ScsiDrive, is_disk: bool) -> Map<String, Value> {
    let ScsiDrive {
        id,
        bus: _,
        target,
        lun,
        drive,
        bootindex,
        serial,
        vendor,
        product,
        ver,
        device_id,
        wwn,
        port_wwn,
        port_index,
        disk: own,
    } = unit;
    let ScsiDisk { removable, dpofua, rotation_rate, blocks } = own;
    let mut properties = Map::new();
    let mut add = |name: &str, value: Value| {
        properties.insert(name.to_owned(), value);
    };
    add("id", json!(id));
    add("channel", json!(0));
    add("scsi-id", json!(target));
    add("lun", json!(lun));
    add("drive", json!(drive));
    add("bootindex", json!(bootindex.unwrap_or(-1)));
    add("serial", json!(serial));
    add("vendor", json!(vendor));
    add("product", json!(product));
    add("ver", json!(ver));
    add("device_id", json!(device_id));
    add("wwn", json!(wwn.unwrap_or(0)));
    add("port_wwn", json!(port_wwn.unwrap_or(0)));
    add("port_index", json!(port_index));
    if is_disk {
        add("removable", json!(removable));
        add("dpofua", json!(dpofua));
        add("rotation_rate", json!(rotation_rate));
        disk::blocks(blocks, &mut add);
    }
    properties
}
