//! One channel of the bus master: the registers, and the walk through the table of physical regions.

use serde::{Deserialize, Serialize};

use super::registers::master::{ACTIVE, CAPABLE, COMMAND, ERROR, INTERRUPT, LEN, RWCON, SSBM, STATUS, TABLE};
use crate::base::{Dma, DmaError, GuestBuffer, Ranges};

/// A table lies within so many bytes.
const TABLE_LIMIT: u32 = 0x1_0000;
/// Bytes of a descriptor.
const DESCRIPTOR: u32 = 8;
/// Bit of a descriptor's second half: it is the last one.
const END_OF_TABLE: u32 = 1 << 31;

/// Where the walk is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursor {
    /// The next descriptor.
    next: u32,
    /// The rest of the region before it.
    address: u32,
    left: u32,
    /// That region is the last one.
    last: bool,
}

/// The bus master of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BusMasterChannel {
    command: u8,
    status: u8,
    table: u32,
    cursor: Cursor,
}

/// What a write to a register leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Nothing,
    Started,
    Stopped,
}

impl BusMasterChannel {
    /// Reads one register byte. Reserved ones read as ones.
    pub fn read(&self, offset: u64) -> u8 {
        match offset {
            COMMAND => self.command,
            STATUS => self.status,
            TABLE..LEN => self.table.to_le_bytes()[(offset - TABLE) as usize],
            _ => 0xff,
        }
    }

    /// Writes one register byte.
    pub fn write(&mut self, offset: u64, value: u8) -> Effect {
        match offset {
            COMMAND => {
                let before = std::mem::replace(&mut self.command, value & (SSBM | RWCON));
                match (before & SSBM != 0, value & SSBM != 0) {
                    (false, true) => {
                        self.cursor = Cursor { next: self.table, ..Cursor::default() };
                        self.status |= ACTIVE;
                        return Effect::Started;
                    }
                    (true, false) => {
                        self.status &= !ACTIVE;
                        return Effect::Stopped;
                    }
                    (true, true) | (false, false) => {}
                }
            }
            STATUS => {
                let cleared = value & (INTERRUPT | ERROR);
                self.status = self.status & !(cleared | CAPABLE) | value & CAPABLE;
            }
            TABLE..LEN => {
                let mut bytes = self.table.to_le_bytes();
                bytes[(offset - TABLE) as usize] = value;
                self.table = u32::from_le_bytes(bytes) & !3;
            }
            _ => {}
        }
        Effect::Nothing
    }

    /// The channel's interrupt has risen.
    pub fn interrupted(&mut self) {
        self.status |= INTERRUPT;
    }

    /// Whether it transfers what a device offers or wants.
    pub fn is_active(&self) -> bool {
        self.status & ACTIVE != 0
    }

    /// The device has ended its command. The table may have room left: then it stays active, and software knows.
    pub fn device_done(&mut self) {
        if self.cursor.last && self.cursor.left == 0 {
            self.status &= !ACTIVE;
        }
    }

    /// Takes room for up to `wanted` bytes out of the table: less if it ends. Empty if it has ended before, or when an
    /// address leads nowhere; it is not active any more then.
    pub fn take(&mut self, dma: &Dma, wanted: usize) -> GuestBuffer {
        let mut ranges = Ranges::new();
        let mut wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let buffer = loop {
            if wanted == 0 || (self.cursor.left == 0 && self.cursor.last) {
                break dma.buffer(ranges);
            }
            if self.cursor.left == 0
                && let Err(error) = self.fetch(dma)
            {
                break Err(error);
            }
            let len = self.cursor.left.min(wanted);
            ranges.push((u64::from(self.cursor.address), len));
            self.cursor.address = self.cursor.address.wrapping_add(len);
            self.cursor.left -= len;
            wanted -= len;
        };
        match buffer {
            Ok(buffer) => {
                if buffer.is_empty() {
                    self.status &= !ACTIVE;
                }
                buffer
            }
            Err(error) => {
                log::debug!("piix3-ide: bus master transfer aborted: {error}");
                self.status = self.status & !ACTIVE | ERROR;
                dma.nowhere()
            }
        }
    }

    /// Reads the next descriptor. A table that has no end of its own ends where it must.
    fn fetch(&mut self, dma: &Dma) -> Result<(), DmaError> {
        let [address, size] = dma.read_value::<[u32; 2]>(self.cursor.next.into())?;
        let next = self.cursor.next.wrapping_add(DESCRIPTOR);
        let left = match size & 0xfffe {
            0 => 0x1_0000,
            size => size,
        };
        let at_limit = next.wrapping_sub(self.table) >= TABLE_LIMIT;
        self.cursor = Cursor { next, address: address & !1, left, last: size & END_OF_TABLE != 0 || at_limit };
        Ok(())
    }

    /// Whether a saved one can be.
    pub fn is_possible(&self) -> bool {
        let Self { command, status, table, cursor } = self;
        command & !(SSBM | RWCON) == 0
            && status & !(ACTIVE | ERROR | INTERRUPT | CAPABLE) == 0
            && (status & ACTIVE == 0 || command & SSBM != 0)
            && table & 3 == 0
            && cursor.left <= 0x1_0000
    }

    /// Command, status and table registers.
    pub fn registers(&self) -> (u8, u8, u32) {
        (self.command, self.status, self.table)
    }
}
