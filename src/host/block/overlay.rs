//! `snapshot=on`: a temporary file takes what the guest writes, and the image stays as it is.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::{env, ops};

use anyhow::{Context, Result};
use devices::backend::block::BlockError;
use nix::libc;
use vm_memory::VolatileSlice;

use super::node::{Node, check_transfer, part, read_bytes, total_len};
use super::raw::host_error;
use super::vectored;

/// Bytes that move to the temporary file together.
const CLUSTER: u64 = 64 * 1024;

/// An image under a temporary file that has no name.
pub(super) struct Overlay {
    base: Arc<dyn Node>,
    changes: File,
    len: u64,
    read_only: bool,
    /// Which clusters are in `changes`. Locked for reading while they are accessed there or in the base.
    changed: RwLock<Vec<bool>>,
}

impl Overlay {
    /// `read_only` concerns the guest; the image is never written.
    pub fn new(base: Arc<dyn Node>, read_only: bool) -> Result<Self> {
        // Not /tmp, which is often in memory.
        let directory = env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
        let changes =
            OpenOptions::new().read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(&directory);
        let changes = changes.with_context(|| {
            format!(
                "snapshot=on: can't make a temporary file in {}: TMPDIR names another directory",
                directory.display()
            )
        })?;
        let len = base.len();
        let clusters = usize::try_from(len.div_ceil(CLUSTER)).context("snapshot=on: the image is too large")?;
        Ok(Self { base, changes, len, read_only, changed: RwLock::new(vec![false; clusters]) })
    }

    fn changed(&self) -> RwLockReadGuard<'_, Vec<bool>> {
        self.changed.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The parts of a range that lie in one cluster each: cluster, offset of the part, its range in the data.
    fn parts(offset: u64, len: usize) -> impl Iterator<Item = (usize, u64, ops::Range<usize>)> {
        let mut done = 0;
        std::iter::from_fn(move || {
            let at = offset + done as u64;
            let room = usize::try_from(CLUSTER - at % CLUSTER).unwrap_or(usize::MAX);
            let part = done..len.min(done + room);
            done = part.end;
            (!part.is_empty()).then_some(((at / CLUSTER) as usize, at, part))
        })
    }

    /// Moves the clusters of a range to the temporary file.
    fn copy(&self, offset: u64, len: usize) -> Result<(), BlockError> {
        if Self::parts(offset, len).all(|(cluster, ..)| self.changed()[cluster]) {
            return Ok(());
        }
        let mut changed = self.changed.write().unwrap_or_else(PoisonError::into_inner);
        for (cluster, ..) in Self::parts(offset, len) {
            if !changed[cluster] {
                let start = cluster as u64 * CLUSTER;
                let mut data = vec![0; (self.len - start).min(CLUSTER) as usize];
                read_bytes(&*self.base, start, &mut data)?;
                let data = [VolatileSlice::from(&mut data[..])];
                vectored::write_all(&self.changes, start, &data, false).map_err(host_error)?;
                changed[cluster] = true;
            }
        }
        Ok(())
    }
}

impl Node for Overlay {
    fn len(&self) -> u64 {
        self.len
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn read(&self, offset: u64, to: &[VolatileSlice<'_>]) -> Result<(), BlockError> {
        check_transfer(self.len, offset, to)?;
        let changed = self.changed();
        for (cluster, at, range) in Self::parts(offset, total_len(to)) {
            let to = part(to, range.start, range.len());
            if changed[cluster] {
                vectored::read_exact(&self.changes, at, &to).map_err(host_error)?;
            } else {
                self.base.read(at, &to)?;
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, from: &[VolatileSlice<'_>], _durable: bool) -> Result<(), BlockError> {
        if self.read_only {
            return Err(BlockError::ReadOnly);
        }
        check_transfer(self.len, offset, from)?;
        self.copy(offset, total_len(from))?;
        vectored::write_all(&self.changes, offset, from, false).map_err(host_error)
    }

    /// There is nothing to keep.
    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }

    fn hurry(&self, hurried: bool) {
        self.base.hurry(hurried);
    }

    fn give_up(&self) {
        self.base.give_up();
    }
}
