//! The commands.

use super::Disk;
use crate::backend::disk::Operation;
use crate::base::GuestBuffer;
use crate::scsi::cdb::READ_CAPACITY_16;
use crate::scsi::task::{Comparison, Job};
use crate::scsi::{Cdb, Outcome, Sense, mode, opcode};

use Outcome::Good;

/// Bits of commands that read and write: protection information, forced unit access.
const PROTECT: u8 = 0xe0;
const FUA: u8 = 0x08;
/// Bits of START STOP UNIT: start, load or eject; the power condition.
const START: u8 = 0x01;
const LOEJ: u8 = 0x02;
const POWER_CONDITION: u8 = 0xf0;

impl Disk {
    /// Obeys a command of any but INQUIRY, REQUEST SENSE and REPORT LUNS. `out` is the host's data.
    pub fn perform(&mut self, command: Cdb<'_>, out: &GuestBuffer) -> Outcome {
        self.obey(command, out).unwrap_or_else(Outcome::Check)
    }

    fn obey(&mut self, command: Cdb<'_>, out: &GuestBuffer) -> Result<Outcome, Sense> {
        use opcode::*;
        let code = command.opcode();
        // These are about the drive, whether it has a medium or not.
        let about_drive = matches!(
            code,
            START_STOP_UNIT
                | PREVENT_ALLOW
                | MODE_SENSE_6
                | MODE_SENSE_10
                | MODE_SELECT_6
                | MODE_SELECT_10
                | RESERVE_6
                | RESERVE_10
                | RELEASE_6
                | RELEASE_10
                | SEND_DIAGNOSTIC
        );
        if !about_drive && !self.has_medium() {
            return Err(Sense::NO_MEDIUM);
        }
        match code {
            TEST_UNIT_READY => Ok(Good),
            READ_6 | READ_10 | READ_12 | READ_16 => self.read(command),
            WRITE_6 | WRITE_10 | WRITE_12 | WRITE_16 => self.write(command, false),
            WRITE_VERIFY_10 | WRITE_VERIFY_12 | WRITE_VERIFY_16 => self.write(command, true),
            VERIFY_10 | VERIFY_12 | VERIFY_16 => self.verify(command),
            WRITE_SAME_10 | WRITE_SAME_16 => self.write_same(command, out),
            UNMAP => self.unmap(command, out),
            SYNCHRONIZE_CACHE_10 | SYNCHRONIZE_CACHE_16 => {
                let (first, count) = command.blocks();
                self.range(first, count)?;
                Ok(Outcome::Jobs(vec![Job::Flush]))
            }
            READ_CAPACITY_10 => {
                // A block is only named with PMI.
                if command.dword(2) != 0 && command.byte(8) & 1 == 0 {
                    return Err(Sense::INVALID_FIELD);
                }
                let last = u32::try_from(self.last_block()).unwrap_or(u32::MAX);
                Ok(Outcome::data([last.to_be_bytes(), self.options.block.to_be_bytes()].concat(), 8_u32))
            }
            SERVICE_ACTION_IN_16 if command.byte(1) & 0x1f == READ_CAPACITY_16 => {
                Ok(Outcome::data(self.capacity_16(), command.dword(10)))
            }
            SERVICE_ACTION_IN_16 => Err(Sense::INVALID_FIELD),
            SEEK_10 => self.range(command.dword(2).into(), 1).map(|_| Good),
            MODE_SENSE_6 | MODE_SENSE_10 => Ok(self.mode_sense(command)),
            MODE_SELECT_6 | MODE_SELECT_10 => {
                let mut list = vec![0; mode::select_length(command)?];
                out.copy_to(0, &mut list);
                if list.is_empty() { Ok(Good) } else { self.mode_select(code == MODE_SELECT_6, &list) }
            }
            START_STOP_UNIT => self.start_stop(command.byte(4)),
            PREVENT_ALLOW => {
                self.memory.locked = self.options.removable && command.byte(4) & 1 != 0;
                Ok(Good)
            }
            // There is one initiator, whose reservation keeps off nobody; parts of disks can't be reserved.
            RESERVE_6 | RESERVE_10 | RELEASE_6 | RELEASE_10 if command.byte(1) & 1 != 0 => Err(Sense::INVALID_FIELD),
            RESERVE_6 | RESERVE_10 | RELEASE_6 | RELEASE_10 => Ok(Good),
            // The default format, which the disk has; lists of defects and other formats can't be given.
            FORMAT_UNIT if command.byte(1) & 0x1f != 0 => Err(Sense::INVALID_FIELD),
            FORMAT_UNIT => Ok(Good),
            // The default self-test, which it passes.
            SEND_DIAGNOSTIC if command.byte(1) & 0x04 != 0 && command.word(3) == 0 => Ok(Good),
            SEND_DIAGNOSTIC => Err(Sense::INVALID_FIELD),
            _ => Err(Sense::INVALID_OPCODE),
        }
    }

    fn last_block(&self) -> u64 {
        self.blocks().saturating_sub(1)
    }

    fn capacity_16(&self) -> Vec<u8> {
        let mut data = vec![0; 32];
        data[..8].copy_from_slice(&self.last_block().to_be_bytes());
        data[8..12].copy_from_slice(&self.options.block.to_be_bytes());
        // Blocks of a block of the medium, as a power of two.
        let ratio = self.options.physical_block / self.options.block;
        data[13] = ratio.max(1).ilog2() as u8;
        // Blocks can be given up.
        data[14] = u8::from(self.options.discard_granularity > 0) << 7;
        data
    }

    /// Whether a command that reads or writes is to go to the medium itself. It is obeyed whether the disk says so or not.
    fn forced(command: Cdb<'_>) -> Result<bool, Sense> {
        let flags = if command.opcode() >> 5 == 0 { 0 } else { command.byte(1) };
        // Protection information is not kept.
        if flags & PROTECT != 0 { Err(Sense::INVALID_FIELD) } else { Ok(flags & FUA != 0) }
    }

    fn read(&self, command: Cdb<'_>) -> Result<Outcome, Sense> {
        let forced = Self::forced(command)?;
        let (first, count) = command.blocks();
        let (offset, len) = self.range(first, count)?;
        let read = Job::Move { operation: Operation::Read, offset, len };
        Ok(match (len, forced) {
            (0, _) => Good,
            // What the cache has newer goes to the medium first.
            (_, true) => Outcome::Jobs(vec![Job::Flush, read]),
            (_, false) => Outcome::Jobs(vec![read]),
        })
    }

    fn write(&self, command: Cdb<'_>, verify: bool) -> Result<Outcome, Sense> {
        // What is verified has to be on the medium.
        let forced = Self::forced(command)? || verify;
        if self.port.is_read_only() {
            return Err(Sense::WRITE_PROTECTED);
        }
        let (first, count) = command.blocks();
        let (offset, len) = self.range(first, count)?;
        if len == 0 {
            return Ok(Good);
        }
        let durable = forced || !self.memory.write_cache;
        let write = Job::Move { operation: Operation::Write { durable }, offset, len };
        let mut jobs = vec![write];
        if verify {
            let with = if command.byte(1) & 2 != 0 { Comparison::Data } else { Comparison::Nothing };
            jobs.push(self.verification(with, offset, len));
        }
        Ok(Outcome::Jobs(jobs))
    }

    fn verify(&self, command: Cdb<'_>) -> Result<Outcome, Sense> {
        let flags = command.byte(1);
        let with = match flags >> 1 & 3 {
            0 => Comparison::Nothing,
            1 => Comparison::Data,
            3 => Comparison::OneBlock,
            _ => return Err(Sense::INVALID_FIELD),
        };
        if flags & PROTECT != 0 {
            return Err(Sense::INVALID_FIELD);
        }
        let (first, count) = command.blocks();
        let (offset, len) = self.range(first, count)?;
        Ok(if len == 0 { Good } else { Outcome::Jobs(vec![self.verification(with, offset, len)]) })
    }

    fn verification(&self, with: Comparison, offset: u64, len: u64) -> Job {
        Job::Verify { with, block: self.options.block.into(), offset, left: len, done: 0 }
    }

    fn start_stop(&mut self, flags: u8) -> Result<Outcome, Sense> {
        // There is nothing that turns, nor that could sleep.
        if flags & POWER_CONDITION != 0 || flags & LOEJ == 0 || !self.options.removable {
            return Ok(Good);
        }
        let eject = flags & START == 0;
        if eject && self.memory.locked && !self.memory.ejected {
            return Err(Sense::REMOVAL_PREVENTED);
        }
        self.memory.ejected = eject;
        // It does not go before what was written to it is safe.
        Ok(if eject && !self.port.is_empty() { Outcome::Jobs(vec![Job::Flush]) } else { Good })
    }
}
