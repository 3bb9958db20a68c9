//! UNMAP and WRITE SAME: blocks that are given up, or become all alike.

use super::{Disk, LONGEST_TRANSFER, MOST_UNMAPS};
use crate::base::GuestBuffer;
use crate::scsi::task::Job;
use crate::scsi::{Cdb, Outcome, Sense, opcode};

/// Bytes before the block descriptors of UNMAP, and of each.
const HEADER: usize = 8;
const DESCRIPTOR: usize = 16;
/// Bits of WRITE SAME: the blocks may be given up; there is no block of data. The rest of 1Fh is obsolete, or anchors blocks.
const UNMAP: u8 = 0x08;
const NDOB: u8 = 0x01;
const ANCHOR: u8 = 0x10;

impl Disk {
    pub(super) fn unmap(&self, command: Cdb<'_>, out: &GuestBuffer) -> Result<Outcome, Sense> {
        // Anchored blocks are not known.
        if self.options.discard_granularity == 0 || command.byte(1) & 1 != 0 {
            return Err(Sense::INVALID_FIELD);
        }
        let mut list = vec![0; usize::from(command.word(7))];
        out.copy_to(0, &mut list);
        if list.is_empty() {
            return Ok(Outcome::Good);
        }
        let word = |at: usize| list.get(at..at + 2).map(|bytes| usize::from(u16::from_be_bytes([bytes[0], bytes[1]])));
        let (Some(data), Some(descriptors)) = (word(0), word(2).filter(|_| list.len() >= HEADER)) else {
            return Err(Sense::PARAMETER_LIST_LENGTH);
        };
        // Both lengths are those of what follows them; descriptors that are not whole do not count.
        if data + 2 > list.len() || descriptors + 6 > data || descriptors + HEADER > list.len() {
            return Err(Sense::PARAMETER_LIST_LENGTH);
        }
        if self.port.is_read_only() {
            return Err(Sense::WRITE_PROTECTED);
        }
        let mut ranges = Vec::new();
        for descriptor in list[HEADER..HEADER + descriptors].chunks_exact(DESCRIPTOR) {
            let descriptor = Cdb(descriptor);
            let range = self.range(descriptor.qword(0), descriptor.dword(8).into())?;
            if range.1 > 0 {
                ranges.push(range);
            }
        }
        if ranges.len() > MOST_UNMAPS {
            return Err(Sense::INVALID_PARAMETER);
        }
        ranges.reverse();
        Ok(if ranges.is_empty() { Outcome::Good } else { Outcome::Jobs(vec![Job::Discard { ranges }]) })
    }

    pub(super) fn write_same(&self, command: Cdb<'_>, out: &GuestBuffer) -> Result<Outcome, Sense> {
        let flags = command.byte(1);
        let no_data = command.opcode() == opcode::WRITE_SAME_16 && flags & NDOB != 0;
        let may_unmap = flags & UNMAP != 0;
        // No protection information, no anchors, none of the obsolete kinds of data.
        let known = UNMAP | if command.opcode() == opcode::WRITE_SAME_16 { NDOB } else { 0 };
        if flags & !known != 0 || flags & ANCHOR != 0 || (may_unmap && self.options.discard_granularity == 0) {
            return Err(Sense::INVALID_FIELD);
        }
        let (first, count) = command.blocks();
        // The page of limits says that the rest of the disk can't be meant.
        if count == 0 {
            return Err(Sense::INVALID_FIELD);
        }
        if self.port.is_read_only() {
            return Err(Sense::WRITE_PROTECTED);
        }
        let (offset, len) = self.range(first, count)?;
        if len > LONGEST_TRANSFER {
            return Err(Sense::INVALID_FIELD);
        }
        let mut block = vec![0; self.options.block as usize];
        if !no_data {
            out.copy_to(0, &mut block);
        }
        let durable = !self.memory.write_cache;
        Ok(Outcome::Jobs(if block.iter().all(|byte| *byte == 0) {
            let flush = durable.then_some(Job::Flush);
            std::iter::once(Job::Zero { may_unmap, offset, len }).chain(flush).collect()
        } else {
            vec![Job::Fill { block, durable, offset, left: len }]
        }))
    }
}
