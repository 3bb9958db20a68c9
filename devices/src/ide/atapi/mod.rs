//! A CD/DVD drive: an ATA device that takes SCSI commands in packets (ATA/ATAPI-6 clause 9.8, SFF-8020i, MMC-3).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::command::{IDENTIFY_PACKET_DEVICE, PACKET};
use super::drive::{Device, Step};
use super::features::{DmaMode, set_transfer_mode};
use super::identify::Identity;
use super::registers::{error, reason};
use super::task_file::TaskFile;
use crate::backend::disk::{DiskPort, Done, Operation, Payload};
use crate::base::{GuestBuffer, ResetKind};
use crate::scsi::cd::{BLOCK, CdDrive, Fields, RAW_BLOCK};
use crate::scsi::mode::LONGEST_PARAMETERS;
use crate::scsi::{Cdb, Outcome, Sense, TrayWatcher, opcode, padded};

/// Bytes of a command packet.
const PACKET_LEN: usize = 12;
/// Most blocks that are read at a time for the processor.
const WINDOW: u32 = 32;
/// Most blocks that are read at a time into guest RAM.
const LONGEST_PIECE: u32 = 512;
/// A CD/DVD drive, to INQUIRY.
const DEVICE_TYPE: u8 = 5;
/// Longest answer that is not read from a medium.
const LONGEST_ANSWER: usize = 0x1_0000;
/// The largest DRQ block with an even length.
const LARGEST_LIMIT: u16 = 0xfffe;
/// DMA mode after power-on.
const DEFAULT_DMA: DmaMode = DmaMode::Ultra(5);

/// Blocks that are still to be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Blocks {
    next: u32,
    left: u32,
    /// Blocks that are being read.
    piece: u32,
    /// What of each goes to the host.
    fields: Fields,
}

/// What the drive does between two things that it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Job {
    /// It waits for the packet.
    Packet,
    /// It sends an answer: `at` bytes of `data` have been sent, and blocks may follow.
    Answer { data: Vec<u8>, at: u32, blocks: Option<Blocks> },
    /// The host sends the parameters of MODE SELECT.
    Parameters { len: u32 },
    /// The host reads the identification.
    Identification,
}

/// What a drive remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Memory {
    dma_mode: DmaMode,
    /// What REQUEST SENSE gives.
    sense: Sense,
    /// The bus master transfers the data of this packet.
    dma: bool,
    /// Longest DRQ block of this packet.
    limit: u16,
    job: Option<Job>,
}

/// A CD/DVD drive.
pub struct Cd {
    pub(super) drive: CdDrive,
    identity: Identity,
    pub(super) memory: Memory,
}

impl Memory {
    fn new() -> Self {
        Self { dma_mode: DEFAULT_DMA, sense: Sense::NONE, dma: false, limit: 0, job: None }
    }

    /// Whether a saved one can be.
    pub fn is_possible(&self) -> bool {
        let job = match &self.job {
            Some(Job::Answer { data, at, blocks }) => {
                let most = LONGEST_ANSWER + WINDOW as usize * RAW_BLOCK;
                (*at as usize) <= data.len() && data.len() <= most && blocks.as_ref().is_none_or(Blocks::is_possible)
            }
            Some(Job::Parameters { len }) => (1..=LONGEST_PARAMETERS).contains(&(*len as usize)),
            None | Some(Job::Packet | Job::Identification) => true,
        };
        job && self.limit <= LARGEST_LIMIT
    }

    /// Whether data is to be transferred by the bus master.
    pub fn wants_dma(&self) -> bool {
        self.dma && matches!(self.job, Some(Job::Answer { .. } | Job::Parameters { .. }))
    }

    /// What a request of the job, if one is under way, does: operation, first byte and length.
    pub fn expected_request(&self) -> Option<(Operation, u64, u64)> {
        match &self.job {
            Some(Job::Answer { blocks: Some(blocks), .. }) if blocks.piece > 0 => {
                let bytes = |blocks: u32| u64::from(blocks) * BLOCK as u64;
                Some((Operation::Read, bytes(blocks.next), bytes(blocks.piece)))
            }
            _ => None,
        }
    }
}

impl Blocks {
    fn is_possible(&self) -> bool {
        let Self { next, left, piece, .. } = self;
        *piece <= LONGEST_PIECE.min(*left) && next.checked_add(*left).is_some()
    }
}

impl Cd {
    /// A drive with this medium, its tray closed.
    #[must_use]
    pub fn new(port: DiskPort, identity: Identity) -> Self {
        Self { drive: CdDrive::new(port), identity, memory: Memory::new() }
    }

    /// Has its tray watched.
    #[must_use]
    pub fn watched_by(mut self, watcher: Arc<dyn TrayWatcher>) -> Self {
        self.drive.watcher = Some(watcher);
        self
    }

    /// Tells the host that the command has ended well.
    fn good(&mut self, file: &mut TaskFile) -> Step {
        self.memory.job = None;
        self.memory.sense = Sense::NONE;
        file.count.now = reason::COMMAND | reason::INPUT;
        Step::DONE
    }

    /// Tells the host that the command has failed.
    fn check(&mut self, sense: Sense, file: &mut TaskFile) -> Step {
        self.memory.job = None;
        self.memory.sense = sense;
        file.count.now = reason::COMMAND | reason::INPUT;
        Step::Fail(sense.error_register())
    }

    fn begin(&mut self, outcome: Outcome, file: &mut TaskFile) -> Step {
        let (data, blocks) = match outcome {
            Outcome::Good => return self.good(file),
            Outcome::Check(sense) => return self.check(sense, file),
            Outcome::Data(data) => (data, None),
            Outcome::Blocks { first, count, fields } => {
                (Vec::new(), Some(Blocks { next: first, left: count, piece: 0, fields }))
            }
            Outcome::Parameters(len) => return self.begin_parameters(len, file),
            // Commands of disks, which a CD drive does not have.
            Outcome::Jobs(_) => return self.check(Sense::INVALID_OPCODE, file),
        };
        if data.is_empty() && blocks.is_none() {
            return self.good(file);
        }
        if !self.memory.dma && self.memory.limit == 0 {
            // There is no way to transfer anything.
            self.memory.job = None;
            return Step::Fail(error::ABRT);
        }
        self.memory.job = Some(Job::Answer { data, at: 0, blocks });
        file.count.now = reason::INPUT;
        self.send(file)
    }

    fn begin_parameters(&mut self, len: usize, file: &mut TaskFile) -> Step {
        if len == 0 {
            return self.good(file);
        }
        self.memory.job = Some(Job::Parameters { len: len as u32 });
        file.count.now = 0;
        if self.memory.dma {
            return Step::Dma;
        }
        [file.lba[1].now, file.lba[2].now] = (len as u16).to_le_bytes();
        Step::FromHost { len, interrupt: true }
    }

    /// Sends what comes next of an answer.
    fn send(&mut self, file: &mut TaskFile) -> Step {
        let Some(Job::Answer { data, at, blocks }) = &mut self.memory.job else { return Step::Fail(error::ABRT) };
        let ready = data.len() - *at as usize;
        let to_come = blocks.as_ref().map_or(0, |blocks| u64::from(blocks.left) * blocks.fields.len() as u64);
        let left = ready as u64 + to_come;
        if left == 0 {
            return self.good(file);
        }
        if self.memory.dma {
            return match blocks {
                // Blocks of plain data go straight to RAM; parts of raw ones are cut out first.
                Some(blocks) if ready == 0 && !blocks.fields.is_plain() => {
                    let piece = blocks.left.min(WINDOW);
                    self.fetch(piece, file)
                }
                _ => Step::Dma,
            };
        }
        let block = drq_block(self.memory.limit, left);
        if ready < block
            && let Some(blocks) = blocks
        {
            let missing = (block - ready).div_ceil(blocks.fields.len());
            let piece = blocks.left.min(WINDOW).min(missing as u32);
            return self.fetch(piece, file);
        }
        let from = *at as usize;
        let block = block.min(ready);
        let part = data[from..from + block].to_vec();
        *at += block as u32;
        [file.lba[1].now, file.lba[2].now] = (block as u16).to_le_bytes();
        Step::ToHost(part)
    }

    /// Reads the next blocks.
    fn fetch(&mut self, piece: u32, file: &mut TaskFile) -> Step {
        self.request(piece, Payload::None, file)
    }

    fn request(&mut self, piece: u32, payload: Payload, file: &mut TaskFile) -> Step {
        // It may have gone between two pieces, or be another one now.
        if self.drive.take_attention().is_some() || !self.drive.has_medium() {
            return self.medium_gone(file);
        }
        if let Some(Job::Answer { blocks: Some(blocks), .. }) = &mut self.memory.job {
            blocks.piece = piece;
        }
        if let Some((operation, offset, len)) = self.memory.expected_request() {
            self.drive.port.submit(operation, offset, len, payload);
        }
        Step::Wait
    }

    /// Takes the data of the blocks that were read; without data they have gone to RAM.
    fn end_piece(&mut self, plain: &[u8], file: &mut TaskFile) -> Step {
        let Some(Job::Answer { data, at, blocks: Some(blocks) }) = &mut self.memory.job else {
            return Step::Fail(error::ABRT);
        };
        data.drain(..*at as usize);
        *at = 0;
        for (block, number) in plain.chunks_exact(BLOCK).zip(blocks.next..) {
            blocks.fields.append(data, number, block);
        }
        blocks.next += blocks.piece;
        blocks.left -= blocks.piece;
        blocks.piece = 0;
        self.send(file)
    }

    /// Obeys a command.
    fn perform(&mut self, packet: &[u8; PACKET_LEN]) -> Outcome {
        let command = Cdb(packet);
        match command.opcode() {
            opcode::INQUIRY => self.inquiry(command),
            opcode::REQUEST_SENSE => {
                // Telling of it is all that an attention is for.
                let attention = if self.memory.sense == Sense::NONE { self.drive.take_attention() } else { None };
                Outcome::data(attention.unwrap_or(self.memory.sense).data(), command.byte(4))
            }
            // A packet device has the longer ones.
            opcode::MODE_SENSE_6 | opcode::MODE_SELECT_6 => Outcome::Check(Sense::INVALID_OPCODE),
            code => {
                let told_anyway = matches!(code, opcode::GET_EVENT_STATUS | opcode::GET_CONFIGURATION);
                let attention = if told_anyway { None } else { self.drive.take_attention() };
                attention.map_or_else(|| self.drive.perform(command), Outcome::Check)
            }
        }
    }

    fn inquiry(&self, command: Cdb<'_>) -> Outcome {
        let most = command.word(3);
        let vital = command.byte(1) & 1 != 0;
        let identity = &self.identity;
        let serial = || padded(&identity.serial, 20);
        let page = |code: u8, body: &[u8]| [&[DEVICE_TYPE, code, 0, body.len() as u8], body].concat();
        match (vital, command.byte(2)) {
            (false, 0) => {
                let vendor = identity.model.split(' ').next().unwrap_or_default();
                // Removable; ATAPI; 31 bytes follow.
                let head = vec![DEVICE_TYPE, 0x80, 0x00, 0x21, 31, 0, 0, 0];
                let names = [padded(vendor, 8), padded(&identity.model, 16), padded(&identity.firmware, 4)];
                Outcome::data([head, names.concat()].concat(), most)
            }
            (true, 0x00) => Outcome::data(page(0x00, &[0x00, 0x80, 0x83]), most),
            (true, 0x80) => Outcome::data(page(0x80, &serial()), most),
            (true, 0x83) => {
                let mut body = [&[2, 0, 0, 20], &serial()[..]].concat();
                if let Some(wwn) = identity.wwn {
                    body.extend_from_slice(&[1, 3, 0, 8]);
                    body.extend_from_slice(&wwn.to_be_bytes());
                }
                Outcome::data(page(0x83, &body), most)
            }
            _ => Outcome::Check(Sense::INVALID_FIELD),
        }
    }

    /// Ends a command whose medium has gone.
    pub(super) fn medium_gone(&mut self, file: &mut TaskFile) -> Step {
        self.check(Sense::MEDIUM_CHANGED, file)
    }
}

/// Bytes of the next DRQ block of an answer of which `left` are to come: all but the last one are even.
fn drq_block(limit: u16, left: u64) -> usize {
    let limit = u64::from(limit);
    let block = if left > limit { (limit & !1).max(2) } else { left };
    block as usize
}

impl Device for Cd {
    fn signature(&self) -> [u8; 2] {
        [0x14, 0xeb]
    }

    fn port(&mut self) -> &mut DiskPort {
        &mut self.drive.port
    }

    fn command(&mut self, opcode: u8, file: &mut TaskFile) -> Step {
        match opcode {
            PACKET => {
                self.memory.dma = file.feature() & 1 != 0;
                let limit = u16::from_le_bytes([file.lba[1].now, file.lba[2].now]);
                self.memory.limit = limit.min(LARGEST_LIMIT);
                self.memory.job = Some(Job::Packet);
                file.count.now = reason::COMMAND;
                Step::FromHost { len: PACKET_LEN, interrupt: false }
            }
            IDENTIFY_PACKET_DEVICE => {
                self.memory.job = Some(Job::Identification);
                Step::ToHost(self.identity.packet_device(self.memory.dma_mode))
            }
            // CHECK POWER MODE: always active.
            0x98 | 0xe5 => {
                file.count.now = 0xff;
                Step::DONE
            }
            // STANDBY IMMEDIATE, IDLE IMMEDIATE, STANDBY, IDLE, SLEEP, FLUSH CACHE: there is nothing to do.
            0x94..=0x97 | 0x99 | 0xe0..=0xe3 | 0xe6 | 0xe7 => Step::DONE,
            // SET FEATURES: the transfer mode; what a software reset does, which is the same either way.
            0xef => match file.feature() {
                0x03 => match set_transfer_mode(&mut self.memory.dma_mode, file.count.now) {
                    Ok(()) => Step::DONE,
                    Err(error) => Step::Fail(error),
                },
                0x66 | 0xcc => Step::DONE,
                _ => Step::Fail(error::ABRT),
            },
            // IDENTIFY DEVICE and READ SECTORS: by failing so the drive tells what it is.
            0x20 | 0x21 | 0xec => {
                file.sign(self.signature());
                Step::Fail(error::ABRT)
            }
            _ => Step::Fail(error::ABRT),
        }
    }

    fn block_read(&mut self, file: &mut TaskFile) -> Step {
        match self.memory.job {
            Some(Job::Answer { .. }) => self.send(file),
            _ => {
                self.memory.job = None;
                Step::Done { interrupt: false }
            }
        }
    }

    fn block_written(&mut self, data: Vec<u8>, file: &mut TaskFile) -> Step {
        match self.memory.job.take() {
            Some(Job::Packet) => match <[u8; PACKET_LEN]>::try_from(data) {
                Ok(packet) => {
                    let outcome = self.perform(&packet);
                    self.begin(outcome, file)
                }
                Err(_) => Step::Fail(error::ABRT),
            },
            Some(Job::Parameters { .. }) => {
                let outcome = self.drive.take_parameters(false, &data);
                self.begin(outcome, file)
            }
            _ => Step::Fail(error::ABRT),
        }
    }

    fn dma_wanted(&self) -> usize {
        match &self.memory.job {
            Some(Job::Answer { data, at, blocks }) => match (data.len() - *at as usize, blocks) {
                (0, Some(blocks)) => blocks.left.min(LONGEST_PIECE) as usize * BLOCK,
                (ready, _) => ready,
            },
            Some(Job::Parameters { len }) => *len as usize,
            _ => 1,
        }
    }

    fn dma(&mut self, buffer: &GuestBuffer, file: &mut TaskFile) -> Step {
        match &mut self.memory.job {
            Some(Job::Answer { data, at, blocks }) => {
                let ready = &data[*at as usize..];
                match blocks {
                    Some(_) if ready.is_empty() => {
                        let whole = (buffer.len() / BLOCK) as u32;
                        match whole {
                            0 => Step::Dma,
                            whole => {
                                let payload = Payload::Guest(buffer.first(whole as usize * BLOCK));
                                self.request(whole, payload, file)
                            }
                        }
                    }
                    _ => {
                        let len = ready.len().min(buffer.len());
                        buffer.fill_from(0, &ready[..len]);
                        *at += len as u32;
                        self.send(file)
                    }
                }
            }
            Some(Job::Parameters { len }) => {
                if buffer.len() < *len as usize {
                    return Step::Dma;
                }
                let mut data = vec![0; *len as usize];
                buffer.copy_to(0, &mut data);
                self.memory.job = None;
                let outcome = self.drive.take_parameters(false, &data);
                self.begin(outcome, file)
            }
            _ => Step::Fail(error::ABRT),
        }
    }

    fn completed(&mut self, done: Done, file: &mut TaskFile) -> Step {
        match (done.result, &self.memory.job) {
            (Ok(data), Some(Job::Answer { blocks: Some(_), .. })) => self.end_piece(&data, file),
            (Err(_), Some(Job::Answer { blocks: Some(blocks), .. })) => {
                let sense = Sense::unrecovered_read(blocks.next.into());
                self.check(sense, file)
            }
            _ => Step::Fail(error::ABRT),
        }
    }

    fn reset(&mut self, kind: Option<ResetKind>) {
        self.memory.job = None;
        if kind.is_some() {
            self.memory = Memory::new();
            self.drive.reset();
        }
    }
}
