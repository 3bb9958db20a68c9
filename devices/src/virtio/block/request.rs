//! A request of the driver, and how it is understood.

use super::registers::{request, status};
use super::{BlockOptions, SECTOR};
use crate::backend::disk::{Operation, Payload};
use crate::base::GuestBuffer;
use crate::virtio::Chain;

/// The header: type, priority, sector.
const HEADER: usize = 16;
/// A segment of a discard or write-zeroes request: sector, number of sectors, flags.
const SEGMENT: usize = 16;
/// Length of the serial number that a driver can read.
pub const ID: usize = 20;

/// The largest transfer: what QEMU's block layer takes.
pub const MOST_SECTORS: u64 = 0x3f_ffff;

/// What a request comes to.
#[derive(Debug)]
pub enum Request {
    /// To be carried out by the disk.
    Submit { operation: Operation, offset: u64, len: u64, payload: Payload },
    /// The serial number is wanted, in this room.
    Id(GuestBuffer),
    /// It is over.
    Ended(u8),
}

/// The medium as requests see it.
pub struct Medium<'a> {
    pub bytes: u64,
    pub read_only: bool,
    /// Writes are done when they would survive a loss of power.
    pub write_through: bool,
    pub options: &'a BlockOptions,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

impl Request {
    /// Understands a chain. It has to have room for the header and for the status, which is its last byte.
    pub fn parse(chain: &Chain, medium: &Medium<'_>) -> Result<Self, &'static str> {
        let Chain { readable, writable, .. } = chain;
        if readable.len() < HEADER {
            return Err("a request is shorter than its header");
        }
        let Some(room) = writable.len().checked_sub(1) else { return Err("a request has no room for its status") };
        let mut header = [0; HEADER];
        readable.copy_to(0, &mut header);
        let (kind, sector) = (u32_at(&header, 0) & !request::BARRIER, u64_at(&header, 8));
        let data = readable.len() - HEADER;
        Ok(match kind {
            request::IN => {
                medium.transfer(Operation::Read, sector, room as u64, || Payload::Guest(writable.part(0, room)))
            }
            request::OUT if medium.read_only => Self::Ended(status::IOERR),
            request::OUT => {
                let operation = Operation::Write { durable: medium.write_through };
                medium.transfer(operation, sector, data as u64, || Payload::Guest(readable.part(HEADER, data)))
            }
            request::FLUSH => Self::Submit { operation: Operation::Flush, offset: 0, len: 0, payload: Payload::None },
            request::GET_ID => Self::Id(writable.part(0, room.min(ID))),
            request::DISCARD | request::WRITE_ZEROES => {
                if data < SEGMENT {
                    return Err("a request is shorter than its segment");
                }
                let mut segment = [0; SEGMENT];
                readable.copy_to(HEADER, &mut segment);
                // No more than one segment is offered.
                if data > SEGMENT { Self::Ended(status::UNSUPP) } else { medium.clear(kind, &segment) }
            }
            _ => Self::Ended(status::UNSUPP),
        })
    }
}

impl Medium<'_> {
    /// The first byte of a range, if all of it is there and begins and ends with a logical block.
    fn offset(&self, sector: u64, len: u64) -> Option<u64> {
        let offset = sector.checked_mul(SECTOR)?;
        let block = u64::from(self.options.logical_block_size);
        let aligned = offset.is_multiple_of(block) && len.is_multiple_of(block);
        let inside = offset.checked_add(len)? <= self.bytes;
        (aligned && inside && len <= MOST_SECTORS * SECTOR).then_some(offset)
    }

    fn transfer(&self, operation: Operation, sector: u64, len: u64, payload: impl FnOnce() -> Payload) -> Request {
        match self.offset(sector, len) {
            None => Request::Ended(status::IOERR),
            Some(_) if len == 0 => Request::Ended(status::OK),
            Some(offset) => Request::Submit { operation, offset, len, payload: payload() },
        }
    }

    /// Discards a segment or makes it zeroes.
    fn clear(&self, kind: u32, segment: &[u8; SEGMENT]) -> Request {
        let BlockOptions { discard, write_zeroes, max_discard_sectors, max_write_zeroes_sectors, .. } = *self.options;
        let (sector, sectors, flags) = (u64_at(segment, 0), u32_at(segment, 8), u32_at(segment, 12));
        let (offered, allowed, most, operation) = match kind {
            request::DISCARD => (discard, 0, max_discard_sectors, Operation::Discard),
            _ => {
                let may_unmap = flags & request::UNMAP != 0;
                (write_zeroes, request::UNMAP, max_write_zeroes_sectors, Operation::WriteZeroes { may_unmap })
            }
        };
        if !offered || flags & !allowed != 0 {
            return Request::Ended(status::UNSUPP);
        }
        if self.read_only || sectors > most {
            return Request::Ended(status::IOERR);
        }
        self.transfer(operation, sector, u64::from(sectors) * SECTOR, || Payload::None)
    }
}
