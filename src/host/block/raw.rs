//! A raw image: the bytes of the medium in a file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use devices::backend::block::{BlockBackend, BlockError, check_range};

use super::file::{Opened, SECTOR};
use super::probe;

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
    len: u64,
    read_only: bool,
    guard: Guard,
    /// The user has been told what the guard does: a guest may go on trying.
    guard_told: bool,
    write_through: bool,
    flush: bool,
}

impl RawImage {
    /// `write_through`: a write is done when it is on the disk; `flush`: flushing does something.
    pub fn new(opened: Opened, guard: Guard, write_through: bool, flush: bool) -> Self {
        let Opened { file, len, read_only } = opened;
        Self { file, len, read_only, guard, guard_told: false, write_through, flush }
    }

    /// Refuses a write after which the image would seem to be in another format.
    fn check_guard(&mut self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        if self.guard == Guard::Off || offset >= SECTOR {
            return Ok(());
        }
        let mut sector = [0; SECTOR as usize];
        self.file.read_exact_at(&mut sector, 0)?;
        sector[offset as usize..].iter_mut().zip(data).for_each(|(old, new)| *old = *new);
        match probe::format_of(&sector) {
            Some(format) => {
                if !std::mem::replace(&mut self.guard_told, true) {
                    log::error!(
                        "a write that would turn a raw image into {format} was refused: format=raw would allow it"
                    );
                }
                Err(io::Error::from(io::ErrorKind::PermissionDenied).into())
            }
            None => Ok(()),
        }
    }
}

impl BlockBackend for RawImage {
    fn len(&self) -> u64 {
        self.len
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn read_at(&mut self, offset: u64, data: &mut [u8]) -> Result<(), BlockError> {
        check_range(self.len, offset, data.len())?;
        // A file that somebody cut off fails here: what is missing is not made up.
        self.file.read_exact_at(data, offset).map_err(host_error)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        if self.read_only {
            return Err(BlockError::ReadOnly);
        }
        check_range(self.len, offset, data.len())?;
        self.check_guard(offset, data)?;
        self.file.write_all_at(data, offset).map_err(host_error)?;
        if self.write_through { self.file.sync_data().map_err(host_error) } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        if self.flush && !self.read_only { self.file.sync_data().map_err(host_error) } else { Ok(()) }
    }
}

/// Tells a full disk from other errors.
pub(super) fn host_error(error: io::Error) -> BlockError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BlockError::NoSpace,
        _ => BlockError::Io(error),
    }
}
