//! The memory map.

use core::ptr;

use guest::{
    memory, println,
    pvh::{self, Region},
};

use crate::{Bytes, Report};

/// Prints the loader's map, and sees whether the ranges that should be memory are, at their ends.
pub(crate) fn show(report: &mut Report) {
    println!("\nMemory, as the loader describes it");
    let map = pvh::start_info().memory_map();
    if map.is_empty() {
        println!("  The PVH start info has no memory map.");
        return;
    }
    let mut usable = 0;
    for region in map {
        let Region { start, size, .. } = *region;
        println!("  {start:010x}-{:010x}  {}  {}", region.end().wrapping_sub(1), Bytes(size), region.kind());
        if region.is_usable() {
            usable += size;
        }
    }
    let answers = map.iter().filter(|region| region.is_usable()).all(is_memory_at_end);
    println!("  {} MiB are usable, and hold what is written to their ends: {}", usable >> 20, report.check(answers));
}

/// Whether the last word of a usable range can be written and read.
fn is_memory_at_end(region: &Region) -> bool {
    const PATTERN: u64 = 0x5aa5_c33c_0ff0_9669;
    let address = region.end().saturating_sub(8) & !7;
    if address < region.start || memory::map(address, 8).is_none() {
        return false;
    }
    let word = address as *mut u64;
    // SAFETY: mapped, and the loader says that it is memory; if anyone uses the word it finds it unchanged.
    let before = unsafe { ptr::read_volatile(word) };
    // SAFETY: the same.
    unsafe { ptr::write_volatile(word, !before ^ PATTERN) };
    // SAFETY: the same.
    let after = unsafe { ptr::read_volatile(word) };
    // SAFETY: the same.
    unsafe { ptr::write_volatile(word, before) };
    after == !before ^ PATTERN
}
