//! A raw image: the bytes of the medium in a file.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use devices::backend::block::BlockError;
use vm_memory::VolatileSlice;

use super::file::{Opened, SECTOR};
use super::node::{Node, RawAccess, check_transfer, part};
use super::{probe, vectored};

/// Whether a guest may write what makes the image look like one of another format. If nobody said that the image is raw,
/// it may not: the next start would read the guest's data as a header, which can name other files of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    On,
    Off,
}

/// A raw image.
pub(super) struct RawImage {
    file: File,
    len: AtomicU64,
    read_only: bool,
    guard: Guard,
    /// The user has been told what the guard does: a guest may go on trying.
    guard_told: AtomicBool,
    flush: bool,
}

impl RawImage {
    /// `flush`: flushing does something.
    pub fn new(opened: Opened, guard: Guard, flush: bool) -> Self {
        let Opened { file, len, read_only } = opened;
        let len = AtomicU64::new(len);
        Self { file, len, read_only, guard, guard_told: AtomicBool::new(false), flush }
    }

    /// Writes to the first sector what does not make the image seem to be in another format, and gives the number of bytes
    /// of `from` that this were.
    fn write_guarded(&self, offset: u64, from: &[VolatileSlice<'_>], durable: bool) -> Result<usize, BlockError> {
        let mut sector = [0; SECTOR as usize];
        self.file.read_exact_at(&mut sector, 0)?;
        let (start, mut end) = (offset as usize, offset as usize);
        for slice in from {
            end += slice.copy_to(&mut sector[end..]);
        }
        if let Some(format) = probe::format_of(&sector) {
            if !self.guard_told.swap(true, Ordering::Relaxed) {
                log::error!("a write that would turn a raw image into {format} was refused: format=raw would allow it");
            }
            return Err(io::Error::from(io::ErrorKind::PermissionDenied).into());
        }
        // What has been looked at, as the guest can change the original meanwhile.
        let checked = VolatileSlice::from(&mut sector[start..end]);
        vectored::write_all(&self.file, offset, &[checked], durable).map_err(host_error)?;
        Ok(end - start)
    }
}

impl Node for RawImage {
    fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn read(&self, offset: u64, to: &[VolatileSlice<'_>]) -> Result<(), BlockError> {
        check_transfer(self.len(), offset, to)?;
        // A file that somebody cut off fails here: what is missing is not made up.
        vectored::read_exact(&self.file, offset, to).map_err(host_error)
    }

    fn write(&self, offset: u64, from: &[VolatileSlice<'_>], durable: bool) -> Result<(), BlockError> {
        if self.read_only {
            return Err(BlockError::ReadOnly);
        }
        check_transfer(self.len(), offset, from)?;
        let durable = durable && self.flush;
        if self.guard == Guard::Off || offset >= SECTOR {
            return vectored::write_all(&self.file, offset, from, durable).map_err(host_error);
        }
        let done = self.write_guarded(offset, from, durable)?;
        let rest = part(from, done, usize::MAX);
        vectored::write_all(&self.file, offset + done as u64, &rest, durable).map_err(host_error)
    }

    fn flush(&self) -> Result<(), BlockError> {
        if self.flush && !self.read_only { self.file.sync_data().map_err(host_error) } else { Ok(()) }
    }

    fn resize(&self, len: u64) -> Result<(), BlockError> {
        if self.read_only {
            return Err(BlockError::ReadOnly);
        }
        // A block device is as long as it is.
        match self.file.set_len(len) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                return Err(io::Error::from(io::ErrorKind::Unsupported).into());
            }
            done => done.map_err(host_error)?,
        }
        self.len.store(len, Ordering::Release);
        Ok(())
    }

    fn raw(&self) -> Option<RawAccess<'_>> {
        let watched = if self.guard == Guard::On { SECTOR } else { 0 };
        Some(RawAccess { file: self.file.as_fd(), alignment: 1, watched, flushes: self.flush })
    }
}

/// Tells a full disk from other errors.
pub(super) fn host_error(error: io::Error) -> BlockError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BlockError::NoSpace,
        _ => BlockError::Io(error),
    }
}
