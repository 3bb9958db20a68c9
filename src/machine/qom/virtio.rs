//! Properties of virtio devices.

use serde_json::{Value, json};

use crate::config::{VirtioBlk, VirtioOptions, VirtioScsi};

/// Properties of a virtio disk.
pub fn disk(disk: &VirtioBlk, add: &mut dyn FnMut(&str, Value)) {
    let VirtioBlk {
        virtio,
        drive,
        serial,
        bootindex,
        queues,
        queue_size,
        seg_max_adjust,
        logical_block_size,
        physical_block_size,
        min_io_size,
        opt_io_size,
        geometry,
        write_cache,
        config_wce,
        discard,
        discard_granularity,
        max_discard_sectors,
        write_zeroes,
        max_write_zeroes_sectors,
    } = disk;
    let on_off_auto = |value: Option<bool>| match value {
        Some(true) => "on",
        Some(false) => "off",
        None => "auto",
    };
    let (cylinders, heads, sectors) = geometry.unwrap_or_default();
    options(virtio, add);
    add("drive", json!(drive));
    add("serial", json!(serial));
    add("bootindex", json!(bootindex.unwrap_or(-1)));
    add("num-queues", json!(queues.unwrap_or(u16::MAX)));
    add("queue-size", json!(queue_size));
    add("seg-max-adjust", json!(seg_max_adjust));
    add("logical_block_size", json!(logical_block_size));
    add("physical_block_size", json!(physical_block_size));
    add("min_io_size", json!(min_io_size));
    add("opt_io_size", json!(opt_io_size));
    add("cyls", json!(cylinders));
    add("heads", json!(heads));
    add("secs", json!(sectors));
    add("write-cache", json!(on_off_auto(*write_cache)));
    add("config-wce", json!(config_wce));
    add("discard", json!(discard));
    add("discard_granularity", json!(discard_granularity.unwrap_or(u32::MAX)));
    add("max-discard-sectors", json!(max_discard_sectors));
    add("write-zeroes", json!(write_zeroes));
    add("max-write-zeroes-sectors", json!(max_write_zeroes_sectors));
}

/// Properties of a SCSI host.
pub fn scsi_host(host: &VirtioScsi, add: &mut dyn FnMut(&str, Value)) {
    let VirtioScsi {
        virtio,
        scsi_bus: _,
        queues,
        queue_size,
        seg_max_adjust,
        max_sectors,
        cmd_per_lun,
        hotplug,
        param_change,
    } = host;
    options(virtio, add);
    add("num_queues", json!(queues.map_or(u32::MAX, u32::from)));
    add("virtqueue_size", json!(queue_size));
    add("seg_max_adjust", json!(seg_max_adjust));
    add("max_sectors", json!(max_sectors));
    add("cmd_per_lun", json!(cmd_per_lun));
    add("hotplug", json!(hotplug));
    add("param_change", json!(param_change));
}

/// What every virtio device has.
pub fn options(options: &VirtioOptions, add: &mut dyn FnMut(&str, Value)) {
    let VirtioOptions {
        interface: _,
        legacy,
        modern,
        vectors,
        page_per_vq,
        indirect_desc,
        event_idx,
        any_layout,
        notify_on_empty,
        packed,
        queue_reset,
    } = options;
    add("disable-legacy", json!(if *legacy { "off" } else { "on" }));
    add("disable-modern", json!(!modern));
    add("vectors", json!(vectors.map_or(u32::MAX, u32::from)));
    add("page-per-vq", json!(page_per_vq));
    add("indirect_desc", json!(indirect_desc));
    add("event_idx", json!(event_idx));
    add("any_layout", json!(any_layout));
    add("notify_on_empty", json!(notify_on_empty));
    add("packed", json!(packed));
    add("queue_reset", json!(queue_reset));
}
