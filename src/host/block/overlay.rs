//! `snapshot=on`: a temporary file takes what the guest writes, and the image stays as it is.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::{env, io};

use anyhow::{Context, Result};
use devices::backend::block::{BlockBackend, BlockError, check_range};
use nix::libc;

use super::raw::host_error;

/// Bytes that move to the temporary file together.
const CLUSTER: u64 = 64 * 1024;

/// An image under a temporary file that has no name.
pub(super) struct Overlay {
    base: File,
    changes: File,
    len: u64,
    read_only: bool,
    /// Which clusters are in `changes`.
    changed: Vec<bool>,
}

impl Overlay {
    /// `read_only` concerns the guest; the image is never written.
    pub fn new(base: File, len: u64, read_only: bool) -> Result<Self> {
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
        let clusters = usize::try_from(len.div_ceil(CLUSTER)).context("snapshot=on: the image is too large")?;
        Ok(Self { base, changes, len, read_only, changed: vec![false; clusters] })
    }

    /// The parts of a range that lie in one cluster each: cluster, offset of the part, its range in the data.
    fn parts(offset: u64, len: usize) -> impl Iterator<Item = (usize, u64, std::ops::Range<usize>)> {
        let mut done = 0;
        std::iter::from_fn(move || {
            let at = offset + done as u64;
            let room = usize::try_from(CLUSTER - at % CLUSTER).unwrap_or(usize::MAX);
            let part = done..len.min(done + room);
            done = part.end;
            (!part.is_empty()).then_some(((at / CLUSTER) as usize, at, part))
        })
    }

    /// Moves a cluster to the temporary file.
    fn copy(&self, cluster: usize) -> io::Result<()> {
        let start = cluster as u64 * CLUSTER;
        let mut data = vec![0; (self.len - start).min(CLUSTER) as usize];
        self.base.read_exact_at(&mut data, start)?;
        self.changes.write_all_at(&data, start)
    }
}

impl BlockBackend for Overlay {
    fn len(&self) -> u64 {
        self.len
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn read_at(&mut self, offset: u64, data: &mut [u8]) -> Result<(), BlockError> {
        check_range(self.len, offset, data.len())?;
        for (cluster, at, part) in Self::parts(offset, data.len()) {
            let file = if self.changed[cluster] { &self.changes } else { &self.base };
            file.read_exact_at(&mut data[part], at).map_err(host_error)?;
        }
        Ok(())
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        if self.read_only {
            return Err(BlockError::ReadOnly);
        }
        check_range(self.len, offset, data.len())?;
        for (cluster, at, part) in Self::parts(offset, data.len()) {
            if !self.changed[cluster] {
                self.copy(cluster).map_err(host_error)?;
                self.changed[cluster] = true;
            }
            self.changes.write_all_at(&data[part], at).map_err(host_error)?;
        }
        Ok(())
    }

    /// There is nothing to keep.
    fn flush(&mut self) -> Result<(), BlockError> {
        Ok(())
    }
}
