//! The commands.

use super::super::identify::ascii;
use super::medium::is_dvd;
use super::raw_sector::Fields;
use super::sense::Sense;
use super::{BLOCK, Cd, LONGEST_PARAMETERS, MediaEvent, PACKET_LEN, toc};

/// What a command leads to.
pub(super) enum Outcome {
    /// It has ended.
    Good,
    /// It has failed.
    Check(Sense),
    /// These bytes go to the host.
    Data(Vec<u8>),
    /// Blocks of the medium go to the host.
    Blocks { first: u32, count: u32, fields: Fields },
    /// So many bytes come from the host.
    Parameters(usize),
}

use Outcome::{Check, Good};

/// Operation codes.
mod opcode {
    pub const TEST_UNIT_READY: u8 = 0x00;
    pub const REQUEST_SENSE: u8 = 0x03;
    pub const INQUIRY: u8 = 0x12;
    pub const START_STOP_UNIT: u8 = 0x1b;
    pub const PREVENT_ALLOW: u8 = 0x1e;
    pub const READ_CAPACITY: u8 = 0x25;
    pub const READ_10: u8 = 0x28;
    pub const SEEK: u8 = 0x2b;
    pub const READ_TOC: u8 = 0x43;
    pub const GET_CONFIGURATION: u8 = 0x46;
    pub const GET_EVENT_STATUS: u8 = 0x4a;
    pub const READ_DISC_INFORMATION: u8 = 0x51;
    pub const MODE_SELECT: u8 = 0x55;
    pub const MODE_SENSE: u8 = 0x5a;
    pub const READ_12: u8 = 0xa8;
    pub const READ_DVD_STRUCTURE: u8 = 0xad;
    pub const SET_CD_SPEED: u8 = 0xbb;
    pub const MECHANISM_STATUS: u8 = 0xbd;
    pub const READ_CD: u8 = 0xbe;
}

/// Media events in GET EVENT STATUS NOTIFICATION.
const MEDIA_CLASS: u8 = 4;

/// A command.
struct Packet<'a>(&'a [u8; PACKET_LEN]);

impl Packet<'_> {
    fn byte(&self, at: usize) -> u8 {
        self.0[at]
    }

    fn word(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.0[at], self.0[at + 1]])
    }

    fn dword(&self, at: usize) -> u32 {
        u32::from_be_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }
}

/// An answer of which the host takes `most` bytes.
fn data(mut bytes: Vec<u8>, most: impl Into<u32>) -> Outcome {
    bytes.truncate(most.into() as usize);
    Outcome::Data(bytes)
}

impl Cd {
    /// Obeys a command.
    pub(super) fn perform(&mut self, packet: &[u8; PACKET_LEN]) -> Outcome {
        use opcode::*;
        let command = Packet(packet);
        let code = command.byte(0);
        let told_anyway = matches!(code, INQUIRY | REQUEST_SENSE | GET_EVENT_STATUS | GET_CONFIGURATION);
        if !told_anyway && let Some(attention) = self.memory.attention.take() {
            return Check(attention);
        }
        let needs_medium = matches!(
            code,
            TEST_UNIT_READY | READ_CAPACITY | READ_10 | READ_12 | READ_CD | SEEK | READ_TOC | READ_DISC_INFORMATION
        );
        if needs_medium && !self.has_medium() {
            return Check(self.no_medium());
        }
        match code {
            TEST_UNIT_READY => Good,
            REQUEST_SENSE => {
                // Telling of it is all that an attention is for.
                let sense = match self.memory.attention.take() {
                    Some(attention) if self.memory.sense == Sense::NONE => attention,
                    attention => {
                        self.memory.attention = attention;
                        self.memory.sense
                    }
                };
                data(sense.data(), command.byte(4))
            }
            INQUIRY => self.inquiry(&command),
            START_STOP_UNIT => self.start_stop(command.byte(4)),
            PREVENT_ALLOW => {
                self.memory.locked = command.byte(4) & 1 != 0;
                Good
            }
            READ_CAPACITY => {
                let last = self.blocks().saturating_sub(1);
                data([last.to_be_bytes(), (BLOCK as u32).to_be_bytes()].concat(), 8_u32)
            }
            READ_10 => self.read(command.dword(2), command.word(7).into(), Fields::PLAIN),
            READ_12 => self.read(command.dword(2), command.dword(6), Fields::PLAIN),
            READ_CD => self.read_cd(&command),
            SEEK if command.dword(2) >= self.blocks() => Check(Sense::OUT_OF_RANGE),
            SEEK => Good,
            READ_TOC => {
                // Older drivers have the format in the last byte.
                let format = match command.byte(2) & 0x0f {
                    0 => command.byte(9) >> 6,
                    format => format,
                };
                let as_time = command.byte(1) & 2 != 0;
                match toc::read(format, as_time, command.byte(6), self.blocks()) {
                    Some(bytes) => data(bytes, command.word(7)),
                    None => Check(Sense::INVALID_FIELD),
                }
            }
            GET_CONFIGURATION => match self.configuration(command.byte(1) & 3, command.word(2)) {
                Some(bytes) => data(bytes, command.word(7)),
                None => Check(Sense::INVALID_FIELD),
            },
            GET_EVENT_STATUS => self.event_status(&command),
            READ_DISC_INFORMATION => self.disc_information(&command),
            MODE_SENSE => match self.mode_sense(command.byte(2)) {
                Ok(bytes) => data(bytes, command.word(7)),
                Err(sense) => Check(sense),
            },
            // The page format, and nothing that would have to be saved.
            MODE_SELECT if command.byte(1) & 0x11 != 0x10 => Check(Sense::INVALID_FIELD),
            MODE_SELECT if usize::from(command.word(7)) > LONGEST_PARAMETERS => Check(Sense::PARAMETER_LIST_LENGTH),
            MODE_SELECT => Outcome::Parameters(command.word(7).into()),
            READ_DVD_STRUCTURE => match self.dvd_structure(command.byte(7)) {
                Ok(bytes) => data(bytes, command.word(8)),
                Err(sense) => Check(sense),
            },
            // It is always as fast as it can be.
            SET_CD_SPEED => Good,
            MECHANISM_STATUS => {
                // Nothing is being done; one slot, of which there is no table.
                let door = u8::from(self.memory.tray_open) << 4;
                data(vec![0, door, 0, 0, 0, 1, 0, 0], command.word(8))
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

    fn read_cd(&self, command: &Packet<'_>) -> Outcome {
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

    fn inquiry(&self, command: &Packet<'_>) -> Outcome {
        let most = command.word(3);
        let vital = command.byte(1) & 1 != 0;
        let fill = |text: &str, len| ascii(text).chain(std::iter::repeat(b' ')).take(len).collect::<Vec<_>>();
        let identity = &self.identity;
        let serial = || fill(&identity.serial, 20);
        let page = |code: u8, body: &[u8]| [&[DEVICE_TYPE, code, 0, body.len() as u8], body].concat();
        match (vital, command.byte(2)) {
            (false, 0) => {
                let vendor = identity.model.split(' ').next().unwrap_or_default();
                // Removable; ATAPI; 31 bytes follow.
                let head = vec![DEVICE_TYPE, 0x80, 0x00, 0x21, 31, 0, 0, 0];
                let names = [fill(vendor, 8), fill(&identity.model, 16), fill(&identity.firmware, 4)];
                data([head, names.concat()].concat(), most)
            }
            (true, 0x00) => data(page(0x00, &[0x00, 0x80, 0x83]), most),
            (true, 0x80) => data(page(0x80, &serial()), most),
            (true, 0x83) => {
                let mut body = [&[2, 0, 0, 20], &serial()[..]].concat();
                if let Some(wwn) = identity.wwn {
                    body.extend_from_slice(&[1, 3, 0, 8]);
                    body.extend_from_slice(&wwn.to_be_bytes());
                }
                data(page(0x83, &body), most)
            }
            _ => Check(Sense::INVALID_FIELD),
        }
    }

    fn event_status(&mut self, command: &Packet<'_>) -> Outcome {
        let (polled, classes, most) = (command.byte(1) & 1 != 0, command.byte(4), command.word(7));
        // There is no queue that would tell of events by itself.
        if !polled {
            return Check(Sense::INVALID_FIELD);
        }
        if classes & 1 << MEDIA_CLASS == 0 {
            return data(vec![0, 0, 0x80, 1 << MEDIA_CLASS], most);
        }
        // An event that does not reach the host is not told.
        let event = if most > 4 { std::mem::take(&mut self.memory.event) } else { MediaEvent::None };
        let present = u8::from(self.has_medium()) << 1 | u8::from(self.memory.tray_open);
        data(vec![0, 4, MEDIA_CLASS, 1 << MEDIA_CLASS, event as u8, present, 0, 0], most)
    }

    /// A complete disc with one session and one track.
    fn disc_information(&self, command: &Packet<'_>) -> Outcome {
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
        data(bytes, command.word(7))
    }

    /// Whether the medium is a DVD.
    pub(super) fn has_dvd(&self) -> bool {
        self.has_medium() && is_dvd(self.blocks())
    }
}

/// A CD/DVD drive.
const DEVICE_TYPE: u8 = 5;
