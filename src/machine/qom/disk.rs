//! Properties that disks of several kinds have.

use serde_json::{Value, json};

use crate::config::DiskBlocks;

/// What a disk tells of its blocks.
pub fn blocks(blocks: &DiskBlocks, add: &mut dyn FnMut(&str, Value)) {
    let DiskBlocks {
        logical_block_size,
        physical_block_size,
        min_io_size,
        opt_io_size,
        discard_granularity,
        write_cache,
        geometry,
    } = blocks;
    let write_cache = match write_cache {
        Some(true) => "on",
        Some(false) => "off",
        None => "auto",
    };
    let (cylinders, heads, sectors) = geometry.unwrap_or_default();
    add("logical_block_size", json!(logical_block_size));
    add("physical_block_size", json!(physical_block_size));
    add("min_io_size", json!(min_io_size));
    add("opt_io_size", json!(opt_io_size));
    add("discard_granularity", json!(discard_granularity.unwrap_or(u32::MAX)));
    add("write-cache", json!(write_cache));
    add("cyls", json!(cylinders));
    add("heads", json!(heads));
    add("secs", json!(sectors));
}
