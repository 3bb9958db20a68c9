//! The guard of an image whose format nobody stated, and which was taken for a raw one: a guest may not write what makes it look
//! like one of another format. The next start would read the guest's data as a header, which can name other files of the host.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use devices::backend::block::BlockError;
use vm_memory::VolatileSlice;

use super::file::SECTOR;
use super::filter::Filter;
use super::node::{Node, RawAccess, check_transfer, fill_with_zeroes, part};
use super::probe;

/// A node under guard.
pub(super) struct Guarded {
    below: Arc<dyn Node>,
    /// The user has been told what the guard does: a guest may go on trying.
    told: AtomicBool,
}

impl Guarded {
    pub fn new(below: Arc<dyn Node>) -> Self {
        Self { below, told: AtomicBool::new(false) }
    }

    /// Writes to the first sector what does not make the image seem to be in another format, and gives the number of bytes
    /// of `from` that this were.
    fn write_first(&self, offset: u64, from: &[VolatileSlice<'_>], durable: bool) -> Result<usize, BlockError> {
        let mut sector = [0; SECTOR as usize];
        self.below.read(0, &[VolatileSlice::from(&mut sector[..])])?;
        let (start, mut end) = (offset as usize, offset as usize);
        for slice in from {
            end += slice.copy_to(&mut sector[end..]);
        }
        if let Some(format) = probe::format_of(&sector) {
            if !self.told.swap(true, Ordering::Relaxed) {
                log::error!("a write that would turn a raw image into {format} was refused: format=raw would allow it");
            }
            return Err(io::Error::from(io::ErrorKind::PermissionDenied).into());
        }
        // What has been looked at, as the guest can change the original meanwhile.
        let checked = VolatileSlice::from(&mut sector[start..end]);
        self.below.write(offset, &[checked], durable)?;
        Ok(end - start)
    }
}

impl Filter for Guarded {
    fn below(&self) -> &Arc<dyn Node> {
        &self.below
    }

    fn raw(&self) -> Option<RawAccess<'_>> {
        self.below.raw().map(|raw| RawAccess { watched: raw.watched.max(SECTOR), ..raw })
    }

    fn write(&self, offset: u64, from: &[VolatileSlice<'_>], durable: bool) -> Result<(), BlockError> {
        check_transfer(self.len(), offset, from)?;
        if offset >= SECTOR {
            return self.below.write(offset, from, durable);
        }
        let done = self.write_first(offset, from, durable)?;
        self.below.write(offset + done as u64, &part(from, done, usize::MAX), durable)
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> Result<(), BlockError> {
        // A sector of zeroes is harmless; what is next to fewer zeroes has to be looked at.
        if offset >= SECTOR || (offset == 0 && len >= SECTOR) {
            return self.below.write_zeroes(offset, len, may_unmap);
        }
        fill_with_zeroes(self, offset, len)
    }
}
