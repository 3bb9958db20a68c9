//! Mode pages.

use super::Disk;
use crate::scsi::mode::{self, Header, Page};
use crate::scsi::task::Job;
use crate::scsi::{Cdb, Outcome, Sense, opcode};

const ERROR_RECOVERY: u8 = 0x01;
const RIGID_GEOMETRY: u8 = 0x04;
const FLEXIBLE_GEOMETRY: u8 = 0x05;
const CACHING: u8 = 0x08;
/// Write cache enabled, in the caching page.
const WCE: u8 = 0x04;
/// Write protected, and DPO and FUA are known, in the header.
const WP: u8 = 0x80;
const DPOFUA: u8 = 0x10;
/// Revolutions of a disk that does not say.
const USUAL_RATE: u16 = 5400;

impl Disk {
    fn pages(&self) -> [Page; 4] {
        let mut recovery = vec![0; 12];
        // Blocks that can't be written are replaced.
        recovery[..3].copy_from_slice(&[ERROR_RECOVERY, 10, 0x80]);
        [Page::fixed(recovery), Page::fixed(self.rigid()), Page::fixed(self.flexible()), self.caching()]
    }

    fn rate(&self) -> [u8; 2] {
        // 1 means that it does not rotate.
        let rate = Some(self.options.rotation_rate).filter(|rate| *rate > 1);
        rate.unwrap_or(USUAL_RATE).to_be_bytes()
    }

    fn rigid(&self) -> Vec<u8> {
        let geometry = self.options.geometry;
        let [high, low] = geometry.cylinders.to_be_bytes();
        let cylinders = [0, high, low];
        let mut page = vec![0; 24];
        page[..2].copy_from_slice(&[RIGID_GEOMETRY, 22]);
        page[2..5].copy_from_slice(&cylinders);
        page[5] = geometry.heads;
        // No cylinder has other write currents; step rate, landing zone.
        page[6..9].copy_from_slice(&cylinders);
        page[9..12].copy_from_slice(&cylinders);
        page[12..14].copy_from_slice(&200_u16.to_be_bytes());
        page[14..17].fill(0xff);
        page[20..22].copy_from_slice(&self.rate());
        page
    }

    fn flexible(&self) -> Vec<u8> {
        let geometry = self.options.geometry;
        let cylinders = geometry.cylinders.to_be_bytes();
        let mut page = vec![0; 32];
        page[..2].copy_from_slice(&[FLEXIBLE_GEOMETRY, 30]);
        // Kilobits per second.
        page[2..4].copy_from_slice(&5000_u16.to_be_bytes());
        page[4..6].copy_from_slice(&[geometry.heads, geometry.sectors]);
        page[6..8].copy_from_slice(&u16::try_from(self.options.block).unwrap_or(0).to_be_bytes());
        page[8..10].copy_from_slice(&cylinders);
        page[10..12].copy_from_slice(&cylinders);
        page[12..14].copy_from_slice(&cylinders);
        // Rate and width of steps, and the delays of head and motor.
        page[14..21].copy_from_slice(&[0, 1, 1, 0, 1, 1, 1]);
        page[28..30].copy_from_slice(&self.rate());
        page
    }

    fn caching(&self) -> Page {
        let page = |flags: u8| {
            let mut page = vec![0; 20];
            page[..3].copy_from_slice(&[CACHING, 18, flags]);
            page
        };
        let flags = |on: bool| if on { WCE } else { 0 };
        Page {
            current: page(flags(self.memory.write_cache)),
            default: page(flags(self.options.write_cache)),
            changeable: [vec![0, 0], page(WCE)[2..].to_vec()].concat(),
        }
    }

    fn header(&self) -> Header {
        let protected = if self.port.is_read_only() { WP } else { 0 };
        Header {
            medium_type: 0,
            device_specific: protected | if self.options.dpofua { DPOFUA } else { 0 },
            blocks: Some((self.blocks(), self.options.block)),
        }
    }

    pub(super) fn mode_sense(&self, command: Cdb<'_>) -> Outcome {
        let most = match command.opcode() {
            opcode::MODE_SENSE_6 => u32::from(command.byte(4)),
            _ => command.word(7).into(),
        };
        match mode::sense(command, &self.header(), &self.pages()) {
            Ok(bytes) => Outcome::data(bytes, most),
            Err(sense) => Outcome::Check(sense),
        }
    }

    /// MODE SELECT with its parameters.
    pub(super) fn mode_select(&mut self, short: bool, list: &[u8]) -> Result<Outcome, Sense> {
        let before = self.memory.write_cache;
        for page in mode::select(short, list, &self.header(), &self.pages())? {
            if let [CACHING, _, flags, ..] = page[..] {
                self.memory.write_cache = flags & WCE != 0;
            }
        }
        // What is in a cache that ends has to be written.
        let ends = before && !self.memory.write_cache;
        Ok(if ends { Outcome::Jobs(vec![Job::Flush]) } else { Outcome::Good })
    }
}
