//! The tables of NUMA: which processors and memory belong together (SRAT), and how far apart they are (SLIT).

use std::ops::Range;

use acpi_tables::AmlSink;

use super::tables::{sdt, small_ids};
use super::{Cpu, Oem};
use crate::config::NumaConfig;
use crate::machine::layout::MemoryLayout;

/// An entry counts.
const ENABLED: u32 = 1 << 0;
/// Where base memory ends and extended memory begins.
const BASE_MEMORY: Range<u64> = 640 << 10..1 << 20;

/// System resource affinity table, revision 3 of which QEMU writes revision 1.
pub(super) fn srat(oem: &Oem, cpus: &[Cpu], layout: &MemoryLayout, memory: &[u64]) -> Vec<u8> {
    let mut body = Vec::new();
    body.dword(1);
    body.qword(0);
    for (uid, cpu) in (0u32..).zip(cpus) {
        let node = cpu.node.unwrap_or(0);
        match small_ids(uid, *cpu) {
            // Processor local APIC affinity; nodes are at most 127.
            Some((_, apic_id)) => {
                body.vec(&[0, 16, node as u8, apic_id]);
                body.dword(ENABLED);
                body.qword(0);
            }
            // Processor local x2APIC affinity.
            None => {
                body.vec(&[2, 24, 0, 0]);
                body.dword(node);
                body.dword(cpu.apic_id);
                body.dword(ENABLED);
                body.qword(0);
            }
        }
    }
    for (node, range) in stretches(layout, memory) {
        body.vec(&[1, 40]);
        body.dword(node);
        body.word(0);
        body.qword(range.start);
        body.qword(range.end - range.start);
        body.dword(0);
        body.dword(ENABLED);
        body.qword(0);
    }
    sdt(b"SRAT", 1, oem, &body)
}

/// System locality information table.
pub(super) fn slit(oem: &Oem, distances: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    body.qword(distances.len() as u64);
    distances.iter().for_each(|row| body.vec(row));
    sdt(b"SLIT", 1, oem, &body)
}

/// The addresses of each node's memory: one node after the other, cut where RAM is.
fn stretches(layout: &MemoryLayout, memory: &[u64]) -> Vec<(u32, Range<u64>)> {
    let mut stretches = Vec::new();
    let mut of_node = 0;
    for (node, size) in (0u32..).zip(memory) {
        let end = of_node + size;
        for region in layout.ram_regions() {
            let (start, len) = (region.guest.start, region.guest.end - region.guest.start);
            let first = of_node.clamp(region.offset, region.offset + len) - region.offset + start;
            let last = end.clamp(region.offset, region.offset + len) - region.offset + start;
            // What is between base and extended memory is no RAM to the guest.
            let parts = [first..last.min(BASE_MEMORY.start), first.max(BASE_MEMORY.end)..last];
            stretches.extend(parts.into_iter().filter(|part| !part.is_empty()).map(|part| (node, part)));
        }
        of_node = end;
    }
    stretches
}

/// What fw_cfg tells of the nodes: their number, the node of each APIC id below `apic_ids`, the memory of each.
#[must_use]
pub fn fw_cfg_item(numa: &NumaConfig, cpus: &[Cpu], apic_ids: u32) -> Vec<u8> {
    let mut item = vec![0u64; 1 + apic_ids as usize];
    item[0] = numa.memory.len() as u64;
    for cpu in cpus {
        if let (Some(slot), Some(node)) = (item.get_mut(1 + cpu.apic_id as usize), cpu.node) {
            *slot = node.into();
        }
    }
    item.extend(&numa.memory);
    item.iter().flat_map(|number| number.to_le_bytes()).collect()
}
