//! A command that needs its medium: requests, one after the other.

use serde::{Deserialize, Serialize};

use super::Sense;
use super::cd::{BLOCK, Fields, RAW_BLOCK};
use crate::backend::block::BlockError;
use crate::backend::disk::{Operation, Payload};
use crate::base::{Dma, GuestBuffer, StateError};

/// Most bytes that are read or written at a time for what does not go straight to guest RAM.
const PIECE: u64 = 2 << 20;
/// Most blocks of a CD that are read at a time to cut fields out of them.
const RAW_PIECE: u32 = 32;
/// Most bytes of a block.
const LARGEST_BLOCK: usize = PIECE as usize;
/// Most ranges of UNMAP: its list has 16 bytes for each.
const MOST_RANGES: usize = 0x1000;

/// Something for the medium to do. Offsets and lengths are in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Job {
    /// The command's data goes from or to the medium, all of it at once.
    Move { operation: Operation, offset: u64, len: u64 },
    /// What was written becomes durable.
    Flush,
    /// These ranges are not needed any more; the last one is next.
    Discard { ranges: Vec<(u64, u64)> },
    /// Zeroes.
    Zero { may_unmap: bool, offset: u64, len: u64 },
    /// The same block again and again.
    Fill { block: Vec<u8>, durable: bool, offset: u64, left: u64 },
    /// The medium is read, and compared with the command's data if that is asked for.
    Verify { with: Comparison, block: u64, offset: u64, left: u64, done: u64 },
    /// Fields of the blocks of a CD go to the command's data.
    Raw { fields: Fields, block: u32, left: u32, done: u64 },
}

/// What a medium is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Comparison {
    /// Nothing: it has to be readable.
    Nothing,
    /// As many bytes of data.
    Data,
    /// Each block with the one block of data.
    OneBlock,
}

impl Job {
    /// The request that comes next; `None`: it is done.
    fn request(&self, data: &GuestBuffer) -> Option<(Operation, u64, u64, Payload)> {
        match self {
            Self::Move { operation, offset, len } => {
                let payload = Payload::Guest(data.first(usize::try_from(*len).unwrap_or(usize::MAX)));
                (*len > 0).then_some((*operation, *offset, *len, payload))
            }
            Self::Flush => Some((Operation::Flush, 0, 0, Payload::None)),
            Self::Discard { ranges } => {
                ranges.last().map(|(offset, len)| (Operation::Discard, *offset, *len, Payload::None))
            }
            Self::Zero { may_unmap, offset, len } => {
                (*len > 0).then_some((Operation::WriteZeroes { may_unmap: *may_unmap }, *offset, *len, Payload::None))
            }
            Self::Fill { block, durable, offset, left } => {
                let piece = Self::fill_piece(block, *left);
                let bytes = block.repeat(piece as usize / block.len().max(1));
                let payload = Payload::Bytes(bytes.into());
                (piece > 0).then_some((Operation::Write { durable: *durable }, *offset, piece, payload))
            }
            Self::Verify { offset, left, .. } => {
                (*left > 0).then_some((Operation::Read, *offset, (*left).min(PIECE), Payload::None))
            }
            Self::Raw { block, left, .. } => {
                let bytes = |blocks: u32| u64::from(blocks) * BLOCK as u64;
                (*left > 0).then(|| (Operation::Read, bytes(*block), bytes((*left).min(RAW_PIECE)), Payload::None))
            }
        }
    }

    fn fill_piece(block: &[u8], left: u64) -> u64 {
        let size = block.len() as u64;
        left.min((PIECE / size.max(1)).max(1) * size)
    }

    /// The request has been carried out.
    fn advance(&mut self, read: &[u8], data: &GuestBuffer) -> Result<(), Sense> {
        match self {
            Self::Move { len, .. } | Self::Zero { len, .. } => *len = 0,
            Self::Flush => {}
            Self::Discard { ranges } => drop(ranges.pop()),
            Self::Fill { block, offset, left, .. } => {
                let piece = Self::fill_piece(block, *left);
                *offset += piece;
                *left -= piece;
            }
            Self::Verify { with, block, offset, left, done } => {
                let expected = match with {
                    Comparison::Nothing => None,
                    Comparison::Data => Some(bytes(data, *done, read.len())),
                    Comparison::OneBlock => {
                        // Pieces begin with a block, as blocks have powers of two of bytes.
                        let one = bytes(data, 0, usize::try_from(*block).unwrap_or(0));
                        Some(one.iter().copied().cycle().take(read.len()).collect())
                    }
                };
                let differs = |expected: Vec<u8>| read.iter().zip(&expected).position(|(is, should)| is != should);
                if let Some(at) = expected.and_then(differs) {
                    let at = *done + at as u64;
                    return Err(Sense::miscompare(if *with == Comparison::OneBlock { at % *block } else { at }));
                }
                *offset += read.len() as u64;
                *done += read.len() as u64;
                *left = left.saturating_sub(read.len() as u64);
            }
            Self::Raw { fields, block, left, done } => {
                let mut cut = Vec::new();
                for (plain, number) in read.chunks_exact(BLOCK).zip(*block..) {
                    fields.append(&mut cut, number, plain);
                }
                data.fill_from(usize::try_from(*done).unwrap_or(usize::MAX), &cut);
                *done += cut.len() as u64;
                let blocks = (*left).min(RAW_PIECE);
                *block += blocks;
                *left -= blocks;
            }
        }
        Ok(())
    }

    /// Whether nothing of it is left after its request has been carried out.
    fn is_done(&self) -> bool {
        match self {
            Self::Flush => true,
            Self::Move { len, .. } | Self::Zero { len, .. } => *len == 0,
            Self::Discard { ranges } => ranges.is_empty(),
            Self::Fill { left, .. } | Self::Verify { left, .. } => *left == 0,
            Self::Raw { left, .. } => *left == 0,
        }
    }

    /// What the guest is told of a failure.
    fn failure(&self, error: &BlockError, block: u64) -> Sense {
        let at = |offset: u64| offset / block.max(1);
        match (error, self) {
            (BlockError::ReadOnly, _) => Sense::WRITE_PROTECTED,
            (BlockError::OutOfRange { .. }, _) => Sense::OUT_OF_RANGE,
            (BlockError::NoSpace, _) => Sense::NO_SPACE,
            (_, Self::Flush) => Sense::CACHE_NOT_WRITTEN,
            (_, Self::Move { operation: Operation::Read, offset, .. } | Self::Verify { offset, .. }) => {
                Sense::unrecovered_read(at(*offset))
            }
            (_, Self::Raw { block, .. }) => Sense::unrecovered_read((*block).into()),
            (_, Self::Move { offset, .. } | Self::Zero { offset, .. } | Self::Fill { offset, .. }) => {
                Sense::write_error(at(*offset))
            }
            (_, Self::Discard { ranges }) => Sense::write_error(ranges.last().map_or(0, |(offset, _)| at(*offset))),
        }
    }

    /// Whether a saved one can be, on a medium of `len` bytes and with `data` bytes of data.
    fn is_possible(&self, len: u64, data: usize) -> bool {
        let fits = |offset: u64, size: u64| offset.checked_add(size).is_some_and(|end| end <= len);
        let data = data as u64;
        match self {
            Self::Move { operation, offset, len } => {
                let moves = matches!(operation, Operation::Read | Operation::Write { .. });
                moves && *len > 0 && *len <= data && fits(*offset, *len)
            }
            Self::Flush => true,
            Self::Discard { ranges } => {
                !ranges.is_empty()
                    && ranges.len() <= MOST_RANGES
                    && ranges.iter().all(|(at, len)| *len > 0 && fits(*at, *len))
            }
            Self::Zero { offset, len, .. } => *len > 0 && fits(*offset, *len),
            Self::Fill { block, offset, left, .. } => {
                let size = block.len();
                (1..=LARGEST_BLOCK).contains(&size) && *left > 0 && left % size as u64 == 0 && fits(*offset, *left)
            }
            Self::Verify { with, block, offset, left, done } => {
                // What is done is counted up to the end, whatever it is compared with.
                let end = done.checked_add(*left);
                let needs = end.map(|end| match with {
                    Comparison::Nothing => 0,
                    Comparison::Data => end,
                    Comparison::OneBlock => *block,
                });
                let size = block.is_power_of_two() && *block <= PIECE;
                size && *left > 0 && needs.is_some_and(|needs| needs <= data) && fits(*offset, *left)
            }
            Self::Raw { fields, block, left, done } => {
                let needs = done.checked_add(u64::from(*left) * fields.len() as u64);
                let bytes = |blocks: u32| u64::from(blocks) * BLOCK as u64;
                fields.len() <= RAW_BLOCK
                    && *left > 0
                    && block.checked_add(*left).is_some()
                    && needs.is_some_and(|needs| needs <= data)
                    && fits(bytes(*block), bytes(*left))
            }
        }
    }
}

fn bytes(data: &GuestBuffer, from: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    data.copy_to(usize::try_from(from).unwrap_or(usize::MAX), &mut bytes);
    bytes
}

/// A command under way.
#[derive(Clone, Debug)]
pub(super) struct Task {
    /// Its initiator's name for it.
    pub name: u64,
    /// What it reads or writes.
    data: GuestBuffer,
    /// Bytes of data that it moves in all.
    pub moves: u64,
    /// What is left, the last one first.
    jobs: Vec<Job>,
}

impl Task {
    pub fn new(name: u64, data: GuestBuffer, moves: u64, mut jobs: Vec<Job>) -> Self {
        jobs.reverse();
        Self { name, data, moves, jobs }
    }

    /// The request that comes next; `None`: all is done.
    pub fn request(&mut self) -> Option<(Operation, u64, u64, Payload)> {
        loop {
            match self.jobs.last()?.request(&self.data) {
                Some(request) => return Some(request),
                None => drop(self.jobs.pop()),
            }
        }
    }

    /// The request has ended. `block` is the size of a block.
    pub fn end_request(&mut self, result: Result<Vec<u8>, BlockError>, block: u64) -> Result<(), Sense> {
        let Some(job) = self.jobs.last_mut() else { return Ok(()) };
        match result {
            Ok(read) => {
                job.advance(&read, &self.data)?;
                if job.is_done() {
                    self.jobs.pop();
                }
                Ok(())
            }
            Err(error) => Err(job.failure(&error, block)),
        }
    }

    pub fn save(&self) -> SavedTask {
        let Self { name, data, moves, jobs } = self;
        SavedTask { name: *name, data: data.ranges().to_vec(), moves: *moves, jobs: jobs.clone() }
    }
}

/// Saved form of a [`Task`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SavedTask {
    pub name: u64,
    data: Vec<(u64, u32)>,
    moves: u64,
    jobs: Vec<Job>,
}

impl SavedTask {
    /// The task, if it can be one of a medium of `len` bytes.
    pub fn restore(&self, len: u64, dma: &Dma) -> Result<Task, StateError> {
        let Self { name, data, moves, jobs } = self;
        let refuse = |why: String| StateError::invalid("tasks", why);
        let data = dma.buffer_in_ram(data.clone()).map_err(|error| refuse(error.to_string()))?;
        if !(1..=2).contains(&jobs.len()) || jobs.iter().any(|job| !job.is_possible(len, data.len())) {
            return Err(refuse("there can be no such command".into()));
        }
        if *moves > data.len() as u64 {
            return Err(refuse("it moves more than its data".into()));
        }
        Ok(Task { name: *name, data, moves: *moves, jobs: jobs.clone() })
    }
}
