//! Properties of virtio devices.

use serde_json::{Value, json};

use super::disk;
use crate::config::{IoThread, VirtioBlk, VirtioOptions};

/// Properties of a virtio disk.
pub fn block(disk: &VirtioBlk, add: &mut dyn FnMut(&str, Value)) {
    let VirtioBlk {
        virtio,
        drive,
        io_thread,
        serial,
        bootindex,
        queues,
        queue_size,
        seg_max_adjust,
        blocks,
        config_wce,
        discard,
        max_discard_sectors,
        write_zeroes,
        max_write_zeroes_sectors,
    } = disk;
    options(virtio, add);
    add("drive", json!(drive));
    served_by(io_thread.as_deref(), add);
    add("serial", json!(serial));
    add("bootindex", json!(bootindex.unwrap_or(-1)));
    add("num-queues", json!(queues.unwrap_or(u16::MAX)));
    add("queue-size", json!(queue_size));
    add("seg-max-adjust", json!(seg_max_adjust));
    disk::blocks(blocks, add);
    add("config-wce", json!(config_wce));
    add("discard", json!(discard));
    add("max-discard-sectors", json!(max_discard_sectors));
    add("write-zeroes", json!(write_zeroes));
    add("max-write-zeroes-sectors", json!(max_write_zeroes_sectors));
}

/// Properties of a thread that serves queues.
pub fn io_thread(thread: &IoThread) -> Vec<(String, Value)> {
    let IoThread { id: _, poll_max_ns, poll_grow, poll_shrink, aio_max_batch } = *thread;
    let properties = [
        ("poll-max-ns", poll_max_ns),
        ("poll-grow", poll_grow),
        ("poll-shrink", poll_shrink),
        ("aio-max-batch", aio_max_batch),
    ];
    properties.map(|(name, value)| (name.to_owned(), json!(value))).into()
}

/// The thread that serves the queues of a device.
pub fn served_by(io_thread: Option<&str>, add: &mut dyn FnMut(&str, Value)) {
    if let Some(id) = io_thread {
        add("iothread", json!(format!("/objects/{id}")));
    }
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
        ioeventfd,
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
    add("ioeventfd", json!(ioeventfd));
}
