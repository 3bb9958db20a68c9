//! Commands that work on sectors: reading, writing, verifying, scanning, formatting.
//!
//! A transfer goes on in *units*: a sector, or what the host sends to format one. [`Fdc::begin_unit`] finds the sector and, if
//! it is to be sent to the host, reads it; the unit then passes by DMA at once or by the processor byte for byte;
//! [`Fdc::end_unit`] does with it what the host wants and goes on to the next sector. Whichever of the three ends the
//! command says so with an [`Outcome`].

use super::command::{Condition, MFM, MULTI_TRACK, Operation, SKIP};
use super::controller::Fdc;
use super::drive::{Place, SECTOR, SECTOR_CODE};
use super::registers::*;
use crate::backend::block::BlockError;

/// Bytes that the host sends to format a sector: its C, H, R and N.
pub(super) const ID: usize = 4;

/// A command under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transfer {
    pub operation: Operation,
    /// Drive, 0 to 3.
    pub drive: u8,
    /// Head, 0 or 1.
    pub head: u8,
    pub multi_track: bool,
    pub mfm: bool,
    pub skip: bool,
    /// Cylinder, head, sector and size as sector ids have them.
    pub id: [u8; ID],
    /// Last sector of a track.
    pub eot: u8,
    /// Last parameter: the distance of sectors to SCAN; for formatting the filler.
    pub last: u8,
    /// Units to go, where something counts them besides `eot`.
    pub left: Option<u8>,
    /// Status register 2 so far, and status register 1 of READ TRACK.
    pub st1: u8,
    pub st2: u8,
    /// The command ends after this sector.
    pub ending: bool,
    /// The next sector of READ TRACK.
    pub index: u8,
    /// The unit that passes now.
    pub buffer: Vec<u8>,
    /// How much of it has passed.
    pub passed: u16,
    /// The processor transfers it.
    pub pio: bool,
}

/// How a command ended: bits of status registers 0 to 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub st0: u8,
    pub st1: u8,
    pub st2: u8,
}

impl Outcome {
    fn failed(st1: u8, st2: u8) -> Self {
        Self { st0: ST0_ABNORMAL, st1, st2 }
    }
}

impl Transfer {
    /// Reads the bytes of a complete command.
    pub fn new(operation: Operation, command: &[u8], pio: bool) -> Self {
        let byte = |at: usize| command.get(at).copied().unwrap_or(0);
        let formats = matches!(operation, Operation::Format | Operation::FormatAndWrite);
        let (id, eot, last) = match formats {
            true => ([0, 0, 0, byte(2)], 0, byte(5)),
            false => ([byte(2), byte(3), byte(4), byte(5)], byte(6), byte(8)),
        };
        let left = match operation {
            Operation::Format | Operation::FormatAndWrite => Some(byte(3)),
            Operation::ReadTrack => Some(eot),
            // The bit that says so is EC.
            Operation::Verify if byte(1) & 0x80 != 0 => Some(last),
            _ => None,
        };
        let option = |bit| byte(0) & bit != 0;
        let whole_track = formats || operation == Operation::ReadTrack;
        Self {
            operation,
            drive: byte(1) & 3,
            head: byte(1) >> 2 & 1,
            multi_track: option(MULTI_TRACK) && !whole_track,
            mfm: option(MFM),
            skip: option(SKIP) && !formats,
            id,
            eot,
            last,
            left,
            st1: 0,
            st2: 0,
            ending: false,
            index: 1,
            buffer: Vec::new(),
            passed: 0,
            pio: pio && operation != Operation::Verify,
        }
    }

    /// Whether data passes from the medium to the host.
    pub fn is_read(&self) -> bool {
        matches!(self.operation, Operation::Read { .. } | Operation::ReadTrack)
    }

    /// Whether the medium is changed.
    pub fn is_write(&self) -> bool {
        matches!(self.operation, Operation::Write { .. } | Operation::Format | Operation::FormatAndWrite)
    }

    pub fn is_verify(&self) -> bool {
        self.operation == Operation::Verify
    }

    /// What DUMPREG tells of it: sectors of a track, or the last one.
    pub fn sectors_or_eot(&self) -> u8 {
        if self.eot == 0 { self.left.unwrap_or(0) } else { self.eot }
    }

    /// The cylinder that an implied seek goes to.
    pub fn seek_target(&self) -> Option<u8> {
        (!matches!(self.operation, Operation::Format | Operation::FormatAndWrite)).then_some(self.id[0])
    }

    /// Goes to the next sector; `false` if it is past the end of the cylinder.
    fn advance(&mut self) -> bool {
        let [c, h, r, _] = &mut self.id;
        let step = if matches!(self.operation, Operation::Scan(_)) && self.last == 2 { 2 } else { 1 };
        if *r != self.eot {
            *r = r.wrapping_add(step);
            // A step of two may pass over the last sector.
            if *r != self.eot.wrapping_add(1) {
                return true;
            }
        }
        *r = 1;
        if self.multi_track {
            *h ^= 1;
            if self.head == 0 {
                self.head = 1;
                return true;
            }
        }
        *c = c.wrapping_add(1);
        false
    }

    fn done(&self) -> Outcome {
        Outcome { st0: 0, st1: self.st1, st2: self.st2 }
    }

    fn failed(&self, st1: u8, st2: u8) -> Outcome {
        Outcome::failed(self.st1 | st1, self.st2 | st2)
    }
}

impl Fdc {
    /// Finds the next sector and readies the buffer.
    pub(super) fn begin_unit(&mut self, transfer: &mut Transfer) -> Result<(), Outcome> {
        transfer.passed = 0;
        transfer.buffer.clear();
        if transfer.left == Some(0) {
            return Err(transfer.failed(ST1_NO_DATA, 0));
        }
        self.check_track(transfer)?;
        match transfer.operation {
            Operation::Format => transfer.buffer.resize(ID, 0),
            Operation::FormatAndWrite => transfer.buffer.resize(ID + SECTOR, 0),
            Operation::Write { .. } => {
                self.find(transfer)?;
                transfer.buffer.resize(SECTOR, 0);
            }
            Operation::ReadTrack => {
                let drive = self.drive(transfer.drive);
                let place = drive.as_ref().and_then(|drive| drive.place(transfer.head, transfer.index));
                let cylinder = drive.map_or(0, |drive| drive.logical_cylinder());
                let place = place.ok_or_else(|| transfer.failed(ST1_NO_DATA | ST1_MISSING_MARK, 0))?;
                if transfer.id != [cylinder, transfer.head, transfer.index, SECTOR_CODE] {
                    transfer.st1 |= ST1_NO_DATA;
                }
                self.read_sector(transfer, place)?;
            }
            Operation::Read { .. } | Operation::Verify | Operation::Scan(_) => {
                let wants_deleted = transfer.operation == Operation::Read { deleted: true };
                loop {
                    let place = self.find(transfer)?;
                    let deleted = self.drive(transfer.drive).is_some_and(|drive| drive.is_deleted(place));
                    if deleted == wants_deleted {
                        self.read_sector(transfer, place)?;
                        break;
                    }
                    transfer.st2 |= ST2_CONTROL_MARK;
                    if !transfer.skip {
                        transfer.ending = true;
                        self.read_sector(transfer, place)?;
                        break;
                    }
                    if !transfer.advance() {
                        return Err(transfer.failed(ST1_END_OF_CYLINDER, 0));
                    }
                }
            }
        }
        Ok(())
    }

    /// Checks that there is something on the track that can be read, or written, at all.
    fn check_track(&mut self, transfer: &Transfer) -> Result<(), Outcome> {
        let rate = self.rate();
        let drive = self.drive(transfer.drive);
        let Some((drive, geometry)) = drive.and_then(|drive| drive.geometry().map(|geometry| (drive, geometry))) else {
            return Err(transfer.failed(ST1_MISSING_MARK, 0));
        };
        if transfer.is_write() && drive.is_protected() {
            return Err(transfer.failed(ST1_NOT_WRITABLE, 0));
        }
        if !transfer.mfm || rate != geometry.rate || drive.place(transfer.head, 1).is_none() {
            return Err(transfer.failed(ST1_MISSING_MARK, 0));
        }
        Ok(())
    }

    /// Finds the sector with the id of the transfer on the track under the head.
    fn find(&mut self, transfer: &Transfer) -> Result<Place, Outcome> {
        let [c, h, r, n] = transfer.id;
        let drive = self.drive(transfer.drive).filter(|drive| drive.geometry().is_some());
        let Some(drive) = drive else { return Err(transfer.failed(ST1_MISSING_MARK, 0)) };
        if c != drive.logical_cylinder() {
            return Err(transfer.failed(ST1_NO_DATA, ST2_WRONG_CYLINDER));
        }
        let place = drive.place(transfer.head, r).filter(|_| h == transfer.head && n == SECTOR_CODE);
        place.ok_or_else(|| transfer.failed(ST1_NO_DATA, 0))
    }

    fn read_sector(&mut self, transfer: &mut Transfer, place: Place) -> Result<(), Outcome> {
        let mut data = vec![0; SECTOR];
        let Some(drive) = self.drive(transfer.drive) else { return Err(transfer.failed(ST1_MISSING_MARK, 0)) };
        if let Err(error) = drive.read(place, &mut data) {
            return Err(match error {
                // The image is shorter than its format: nothing was ever recorded there.
                BlockError::OutOfRange { .. } => transfer.failed(ST1_NO_DATA, 0),
                error => {
                    self.log.warn("isa-fdc", format_args!("a sector can't be read: {error}"));
                    transfer.failed(ST1_DATA_ERROR, ST2_DATA_ERROR)
                }
            });
        }
        self.read_toggle ^= true;
        match transfer.operation {
            // These compare with it, or only look whether it can be read.
            Operation::Scan(_) => transfer.buffer.resize(SECTOR, 0),
            _ => transfer.buffer = data,
        }
        Ok(())
    }

    /// The whole unit has passed, with or without terminal count: does what the command wants with it and goes on.
    pub(super) fn end_unit(&mut self, transfer: &mut Transfer, terminal_count: bool) -> Result<(), Outcome> {
        let mut ending = transfer.ending || terminal_count;
        match transfer.operation {
            Operation::Read { .. } | Operation::ReadTrack | Operation::Verify => {}
            Operation::Write { deleted } => {
                let place = self.find(transfer)?;
                let data = std::mem::take(&mut transfer.buffer);
                self.write_sector(transfer, place, &data, deleted)?;
            }
            Operation::Scan(condition) => ending |= self.scan(transfer, condition)?,
            Operation::Format | Operation::FormatAndWrite => self.format(transfer)?,
        }
        if let Some(left) = &mut transfer.left {
            *left -= 1;
        }
        let at_end = transfer.left == Some(0);
        match transfer.operation {
            Operation::Format | Operation::FormatAndWrite if at_end => return Err(transfer.done()),
            Operation::Format | Operation::FormatAndWrite => return Ok(()),
            Operation::ReadTrack => {
                transfer.index = transfer.index.saturating_add(1);
                transfer.id[2] = transfer.id[2].wrapping_add(1);
                return match (ending, at_end) {
                    (true, _) => Err(transfer.done()),
                    (false, true) => Err(transfer.failed(ST1_END_OF_CYLINDER, 0)),
                    (false, false) => Ok(()),
                };
            }
            _ => {}
        }
        let further = transfer.advance();
        if ending || at_end {
            Err(transfer.done())
        } else if further {
            Ok(())
        } else if transfer.is_verify() && transfer.left.is_none() {
            Err(transfer.done())
        } else {
            Err(transfer.failed(ST1_END_OF_CYLINDER, 0))
        }
    }

    fn write_sector(&mut self, transfer: &Transfer, place: Place, data: &[u8], deleted: bool) -> Result<(), Outcome> {
        let Some(drive) = self.drive(transfer.drive) else { return Err(transfer.failed(ST1_MISSING_MARK, 0)) };
        let written = drive.write(place, data, deleted);
        self.flush_later();
        self.write_toggle ^= true;
        written.map_err(|error| match error {
            BlockError::OutOfRange { .. } => transfer.failed(ST1_NO_DATA, 0),
            error => {
                self.log.warn("isa-fdc", format_args!("a sector can't be written: {error}"));
                transfer.failed(ST1_NOT_WRITABLE, 0)
            }
        })
    }

    /// Compares what the host has sent with the sector; whether the condition is satisfied.
    fn scan(&mut self, transfer: &mut Transfer, condition: Condition) -> Result<bool, Outcome> {
        let place = self.find(transfer)?;
        let host = std::mem::take(&mut transfer.buffer);
        let mut disk = vec![0; SECTOR];
        let Some(drive) = self.drive(transfer.drive) else { return Err(transfer.failed(ST1_MISSING_MARK, 0)) };
        if drive.read(place, &mut disk).is_err() {
            return Err(transfer.failed(ST1_DATA_ERROR, ST2_DATA_ERROR));
        }
        // FFh from either side means "whatever it is".
        let mut pairs = disk.into_iter().zip(host).filter(|(disk, host)| *disk != 0xff && *host != 0xff);
        let satisfied = |disk: u8, host: u8| match condition {
            Condition::Equal => disk == host,
            Condition::LowOrEqual => disk <= host,
            Condition::HighOrEqual => disk >= host,
        };
        let equal = pairs.clone().all(|(disk, host)| disk == host);
        let satisfied = pairs.all(|(disk, host)| satisfied(disk, host));
        transfer.st2 &= !(ST2_SCAN_EQUAL | ST2_SCAN_FAILED);
        transfer.st2 |= match (satisfied, equal) {
            (true, true) => ST2_SCAN_EQUAL,
            (true, false) => 0,
            (false, _) => ST2_SCAN_FAILED,
        };
        Ok(satisfied)
    }

    /// Formats a sector. An image can hold the sectors of its format only.
    fn format(&mut self, transfer: &mut Transfer) -> Result<(), Outcome> {
        let unit = std::mem::take(&mut transfer.buffer);
        transfer.id.iter_mut().zip(&unit).for_each(|(id, sent)| *id = *sent);
        let Ok(place) = self.find(transfer) else { return Err(transfer.failed(ST1_NOT_WRITABLE, 0)) };
        match unit.get(ID..).filter(|data| data.len() == SECTOR) {
            Some(data) => self.write_sector(transfer, place, data, false),
            None => self.write_sector(transfer, place, &[transfer.last; SECTOR], false),
        }
    }
}
