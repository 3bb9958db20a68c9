//! `driver=file` and its kin: the bytes of a file or of a block device.
//!
//! When a sync of the host's cache fails, the kernel says so once, and forgets what it could not write: the next sync ends well. So a
//! guest that flushes again would believe that everything is safe. An image of which that happened says so at each flush
//! from then on, as under QEMU.

use std::io;
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

use devices::backend::block::{BlockError, check_range};
use devices::base::lock;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::libc;
use vm_memory::VolatileSlice;

use super::device;
use super::direct::{Alignment, Edges};
use super::file::{Opened, SECTOR};
use super::lock::ImageFile;
use super::node::{FileTally, Node, RawAccess, check_transfer, fill_with_zeroes, total_len};

/// A file.
pub(super) struct RawImage {
    file: ImageFile,
    len: AtomicU64,
    read_only: bool,
    /// It is a block device.
    is_device: bool,
    flush: bool,
    /// What goes past the host's cache has to suit the disk.
    alignment: Alignment,
    edges: Edges,
    /// Why the host's cache lost writes; 0: it did not.
    lost: AtomicI32,
    /// The host can make holes, and zeroes without being given them; until it says that it can't.
    makes_holes: AtomicBool,
    makes_zeroes: AtomicBool,
    tally: Mutex<FileTally>,
}

impl RawImage {
    /// `flush`: flushing does something.
    pub fn new(opened: Opened, flush: bool) -> Self {
        let Opened { file, len, read_only, is_device, alignment } = opened;
        Self {
            file,
            len: len.into(),
            read_only,
            is_device,
            flush,
            alignment,
            edges: Edges::default(),
            lost: AtomicI32::new(0),
            makes_holes: AtomicBool::new(true),
            makes_zeroes: AtomicBool::new(true),
            tally: Mutex::default(),
        }
    }

    fn write_out(&self, offset: u64, from: &[VolatileSlice<'_>], durable: bool) -> Result<(), BlockError> {
        let Self { file, len, alignment, edges, .. } = self;
        edges.write(file, *alignment, len, offset, from, durable).map_err(|error| match host_error(error) {
            BlockError::Io(error) if durable => {
                self.note_failed_sync(&error);
                BlockError::Io(error)
            }
            error => error,
        })
    }

    /// A sync has failed: what went through the host's cache before may be lost.
    fn note_failed_sync(&self, error: &io::Error) {
        let number = error.raw_os_error().unwrap_or(libc::EIO);
        let cached = self.alignment == Alignment::NONE;
        if cached && self.lost.compare_exchange(0, number, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            log::error!(
                "the host could not write what it had of an image in its cache ({error}), and does not try again: flushes fail \
                 until the image is opened anew"
            );
        }
    }

    /// Checks a request that changes the image without bringing data.
    fn check_change(&self, offset: u64, len: u64) -> Result<(), BlockError> {
        if self.read_only {
            return Err(BlockError::ReadOnly);
        }
        check_range(self.len(), offset, usize::try_from(len).unwrap_or(usize::MAX))
    }

    fn wrote(&self, offset: u64, len: u64) {
        let mut tally = lock(&self.tally);
        tally.highest_written = tally.highest_written.max(offset.saturating_add(len));
    }

    /// Has the host do something with a range of the file. `false`: it can't do this to any range, which `can` remembers, or
    /// not to this one.
    fn allocate(&self, can: &AtomicBool, mode: FallocateFlags, offset: u64, len: u64) -> Result<bool, BlockError> {
        let (Ok(start), Ok(size)) = (libc::off_t::try_from(offset), libc::off_t::try_from(len)) else {
            return Ok(false);
        };
        if !can.load(Ordering::Relaxed) {
            return Ok(false);
        }
        loop {
            match fallocate(&*self.file, mode | FallocateFlags::FALLOC_FL_KEEP_SIZE, start, size) {
                Ok(()) => return Ok(true),
                Err(Errno::EINTR) => {}
                // A range that does not suit the blocks of a device.
                Err(Errno::EINVAL) => return Ok(false),
                Err(Errno::EOPNOTSUPP | Errno::ENODEV | Errno::ENOSYS | Errno::EPERM) => {
                    can.store(false, Ordering::Relaxed);
                    return Ok(false);
                }
                Err(error) => return Err(host_error(error.into())),
            }
        }
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
        self.edges.read(&self.file, self.alignment, offset, to).map_err(host_error)
    }

    fn write(&self, offset: u64, from: &[VolatileSlice<'_>], durable: bool) -> Result<(), BlockError> {
        if self.read_only {
            return Err(BlockError::ReadOnly);
        }
        check_transfer(self.len(), offset, from)?;
        let durable = durable && self.flush;
        self.write_out(offset, from, durable)?;
        self.wrote(offset, total_len(from) as u64);
        Ok(())
    }

    fn flush(&self) -> Result<(), BlockError> {
        if !self.flush || self.read_only {
            return Ok(());
        }
        self.synced(self.file.sync_data())
    }

    fn discard(&self, offset: u64, len: u64) -> Result<(), BlockError> {
        self.check_change(offset, len)?;
        if len == 0 {
            return Ok(());
        }
        let done = match self.is_device {
            true => device::discard(&self.file, offset, len).map_err(host_error),
            false => self.allocate(&self.makes_holes, FallocateFlags::FALLOC_FL_PUNCH_HOLE, offset, len).map(drop),
        };
        let mut tally = lock(&self.tally);
        match done {
            Ok(()) => {
                tally.discards += 1;
                tally.discarded += len;
            }
            Err(_) => tally.failed_discards += 1,
        }
        done
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> Result<(), BlockError> {
        self.check_change(offset, len)?;
        if len == 0 {
            return Ok(());
        }
        if (may_unmap && self.allocate(&self.makes_holes, FallocateFlags::FALLOC_FL_PUNCH_HOLE, offset, len)?)
            || self.allocate(&self.makes_zeroes, FallocateFlags::FALLOC_FL_ZERO_RANGE, offset, len)?
        {
            self.wrote(offset, len);
            return Ok(());
        }
        fill_with_zeroes(self, offset, len)
    }

    fn resize(&self, len: u64) -> Result<(), BlockError> {
        if self.is_device {
            // It has the size that it has, which may be another one by now.
            let now = device::size(&self.file)?;
            if now < len {
                return Err(BlockError::NoSpace);
            }
            self.len.store(now, Ordering::Release);
            return Ok(());
        }
        if self.read_only {
            return Err(BlockError::ReadOnly);
        }
        let _alone = self.edges.alone();
        self.file.set_len(len).map_err(host_error)?;
        self.len.store(len, Ordering::Release);
        Ok(())
    }

    fn file_tally(&self) -> Option<FileTally> {
        Some(*lock(&self.tally))
    }

    fn raw(&self) -> Option<RawAccess<'_>> {
        let Alignment { file: alignment, memory } = self.alignment;
        // Parts of blocks are not to be mixed with whole ones.
        let watched = if alignment as u64 > SECTOR { u64::MAX } else { 0 };
        let file = self.file.as_fd();
        Some(RawAccess { file, alignment, memory_alignment: memory, watched, flushes: self.flush })
    }

    fn synced(&self, result: io::Result<()>) -> Result<(), BlockError> {
        if let Err(error) = &result {
            self.note_failed_sync(error);
        }
        match self.lost.load(Ordering::Acquire) {
            0 => result.map_err(host_error),
            number => Err(BlockError::Lost(io::Error::from_raw_os_error(number))),
        }
    }
}

/// Tells a full disk from other errors, and what a node said from what the kernel did.
pub(super) fn host_error(error: io::Error) -> BlockError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => BlockError::NoSpace,
        io::ErrorKind::Other => error.downcast().unwrap_or_else(BlockError::Io),
        _ => BlockError::Io(error),
    }
}
