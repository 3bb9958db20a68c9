//! The commands.

use super::medium::is_dvd;
use super::{BLOCK, CdDrive, Fields, MediaEvent, toc};
use crate::scsi::{Cdb, Outcome, Sense, mode, opcode};

use Outcome::{Check, Good};

/// Media events in GET EVENT STATUS NOTIFICATION.
const MEDIA_CLASS: u8 = 4;

impl CdDrive {
    /// Obeys a command of any but INQUIRY and REQUEST SENSE.
    pub(crate) fn perform(&mut self, command: Cdb<'_>) -> Outcome {
        use opcode::*;
        let code = command.opcode();
        let needs_medium = matches!(
            code,
            TEST_UNIT_READY
                | READ_CAPACITY_10
                | READ_10
                | READ_12
                | READ_CD
                | SEEK_10
                | READ_TOC
                | READ_DISC_INFORMATION
        );
        if needs_medium && !self.has_medium() {
            return Check(self.no_medium());
        }
        match code {
            TEST_UNIT_READY => Good,
            START_STOP_UNIT => self.start_stop(command.byte(4)),
            PREVENT_ALLOW => {
                self.memory.locked = command.byte(4) & 1 != 0;
                Good
            }
            // A block is only named with PMI.
            READ_CAPACITY_10 if command.dword(2) != 0 && command.byte(8) & 1 == 0 => Check(Sense::INVALID_FIELD),
            READ_CAPACITY_10 => {
                let last = self.blocks().saturating_sub(1);
                Outcome::data([last.to_be_bytes(), (BLOCK as u32).to_be_bytes()].concat(), 8_u32)
            }
            READ_10 => self.read(command.dword(2), command.word(7).into(), Fields::PLAIN),
            READ_12 => self.read(command.dword(2), command.dword(6), Fields::PLAIN),
            READ_CD => self.read_cd(command),
            SEEK_10 if command.dword(2) >= self.blocks() => Check(Sense::OUT_OF_RANGE),
            SEEK_10 => Good,
            READ_TOC => {
                // Older drivers have the format in the last byte.
                let format = match command.byte(2) & 0x0f {
                    0 => command.byte(9) >> 6,
                    format => format,
                };
                let as_time = command.byte(1) & 2 != 0;
                match toc::read(format, as_time, command.byte(6), self.blocks()) {
                    Some(bytes) => Outcome::data(bytes, command.word(7)),
                    None => Check(Sense::INVALID_FIELD),
                }
            }
            GET_CONFIGURATION => match self.configuration(command.byte(1) & 3, command.word(2)) {
                Some(bytes) => Outcome::data(bytes, command.word(7)),
                None => Check(Sense::INVALID_FIELD),
            },
            GET_EVENT_STATUS => self.event_status(command),
            READ_DISC_INFORMATION => self.disc_information(command),
            MODE_SENSE_6 | MODE_SENSE_10 => match self.mode_sense(command) {
                Ok(bytes) if code == MODE_SENSE_6 => Outcome::data(bytes, command.byte(4)),
                Ok(bytes) => Outcome::data(bytes, command.word(7)),
                Err(sense) => Check(sense),
            },
            MODE_SELECT_6 | MODE_SELECT_10 => match mode::select_length(command) {
                Ok(len) => Outcome::Parameters(len),
                Err(sense) => Check(sense),
            },
            READ_DVD_STRUCTURE => match self.dvd_structure(command.byte(7)) {
                Ok(bytes) => Outcome::data(bytes, command.word(8)),
                Err(sense) => Check(sense),
            },
            // It is always as fast as it can be.
            SET_CD_SPEED => Good,
            MECHANISM_STATUS => {
                // Nothing is being done; one slot, of which there is no table.
                let door = u8::from(self.memory.tray_open) << 4;
                Outcome::data(vec![0, door, 0, 0, 0, 1, 0, 0], command.word(8))
            }
            _ => Check(Sense::INVALID_OPCODE),
        }
    }

    /// Why nothing can be read.
    pub(super) fn no_medium(&self) -> Sense {
        if self.memory.tray_open { Sense::NO_MEDIUM_TRAY_OPEN } else { Sense::NO_MEDIUM_TRAY_CLOSED }
    }

    fn read(&self, first: u32, count: u32, fields: Fields) -> Outcome {
        match first.checked_add(count) {
            Some(end) if end <= self.blocks() => match count {
                0 => Good,
                count => Outcome::Blocks { first, count, fields },
            },
            _ => Check(Sense::OUT_OF_RANGE),
        }
    }

    fn read_cd(&self, command: Cdb<'_>) -> Outcome {
        let count = command.dword(5) & 0xff_ffff;
        let (kind, flags, subchannel) = (command.byte(1) >> 2 & 7, command.byte(9), command.byte(10));
        // All tracks are of mode 1; there are no error flags and no subchannels.
        if !matches!(kind, 0 | 2) {
            return Check(Sense::WRONG_TRACK_MODE);
        }
        let Some(fields) = Fields::new(flags).filter(|_| subchannel & 7 == 0) else {
            return Check(Sense::INVALID_FIELD);
        };
        let outcome = self.read(command.dword(2), count, fields);
        if matches!(outcome, Outcome::Blocks { .. }) && fields.len() == 0 { Good } else { outcome }
    }

    fn start_stop(&mut self, flags: u8) -> Outcome {
        let (start, eject, power) = (flags & 1 != 0, flags & 2 != 0, flags >> 4);
        if power != 0 || !eject {
            return Good;
        }
        if !start && self.memory.locked {
            return Check(Sense::REMOVAL_PREVENTED);
        }
        self.move_tray(!start);
        Good
    }

    fn event_status(&mut self, command: Cdb<'_>) -> Outcome {
        let (polled, classes, most) = (command.byte(1) & 1 != 0, command.byte(4), command.word(7));
        // There is no queue that would tell of events by itself.
        if !polled {
            return Check(Sense::INVALID_FIELD);
        }
        if classes & 1 << MEDIA_CLASS == 0 {
            return Outcome::data(vec![0, 0, 0x80, 1 << MEDIA_CLASS], most);
        }
        // An event that does not reach the host is not told.
        let event = if most > 4 { std::mem::take(&mut self.memory.event) } else { MediaEvent::None };
        let present = u8::from(self.has_medium()) << 1 | u8::from(self.memory.tray_open);
        Outcome::data(vec![0, 4, MEDIA_CLASS, 1 << MEDIA_CLASS, event as u8, present, 0, 0], most)
    }

    /// A complete disc with one session and one track.
    fn disc_information(&self, command: Cdb<'_>) -> Outcome {
        if command.byte(1) & 7 != 0 {
            return Check(Sense::INVALID_FIELD);
        }
        let mut bytes = vec![0; 34];
        bytes[1] = 32;
        // Finished, last session complete.
        bytes[2] = 0x0e;
        bytes[3..7].fill(1);
        // The disc may be used without restriction.
        bytes[7] = 0x20;
        Outcome::data(bytes, command.word(7))
    }

    /// Whether the medium is a DVD.
    pub(super) fn has_dvd(&self) -> bool {
        self.has_medium() && is_dvd(self.blocks())
    }
}
