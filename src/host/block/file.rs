//! Opening the file of an image, with reasons when it can't be used.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::libc;

use super::device;
use super::direct::Alignment;
use super::lock::ImageFile;
use crate::config::{Access, FileKind};

/// Neither a FIFO's other end is waited for, nor a CD drive's medium, and no terminal becomes natoma's.
const OPEN_FLAGS: i32 = libc::O_NONBLOCK | libc::O_NOCTTY;

/// Bytes of a sector: what all block devices have in common.
pub(super) const SECTOR: u64 = 512;

/// An image file that is open.
#[derive(Debug)]
pub(super) struct Opened {
    pub file: ImageFile,
    /// Length in bytes.
    pub len: u64,
    pub read_only: bool,
    /// It is a block device.
    pub is_device: bool,
    /// What requests to it have to be multiples of.
    pub alignment: Alignment,
}

const DIRECTORY: &str =
    "it is a directory: name a file (QEMU's fat: driver does not exist here; mtools makes an image of a directory)";

/// Opens a regular file or a block device. `direct`: it is read and written past the host's cache.
pub(super) fn open(path: &Path, wanted: FileKind, access: Access, direct: bool) -> Result<Opened> {
    let (mut file, read_only) = match open_by(path, access) {
        // For writing it can't even be opened.
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => bail!(DIRECTORY),
        Err(error) if access == Access::ReadWrite && may_be_read(&error) => {
            return Err(error).context("add read-only=on or snapshot=on if the guest is not to write to it");
        }
        opened => opened?,
    };
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        bail!(DIRECTORY);
    }
    if !kind.is_file() && !kind.is_block_device() {
        bail!("it is neither a file nor a block device: copy what comes out of it to a file first");
    }
    match wanted {
        FileKind::Regular if !kind.is_file() => {
            bail!("'file' driver requires it to be a regular file: use driver=host_device")
        }
        FileKind::Device if !kind.is_block_device() => {
            bail!("'host_device' driver requires it to be a block device: use driver=file")
        }
        FileKind::Cdrom if !kind.is_block_device() => {
            bail!("'host_cdrom' driver requires it to be a CD drive: use driver=file")
        }
        FileKind::Cdrom if access != Access::ReadOnly && !read_only => {
            bail!("a CD drive can only be read: add read-only=on")
        }
        FileKind::Any | FileKind::Regular | FileKind::Device | FileKind::Cdrom => {}
    }
    // A block device tells its size only this way.
    let len = file.seek(SeekFrom::End(0)).context("its size can't be found out")?;
    if len == 0 {
        bail!("it is empty: make it as large as the medium, with 'truncate -s SIZE' say");
    }
    let mut alignment = Alignment::NONE;
    if direct {
        // The same file, whatever may have taken its name meanwhile.
        let same = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        (file, alignment) = device::open_direct(&same, !read_only, OPEN_FLAGS).context(
            "it can't be used past the host's cache (cache=none, cache=directsync or cache.direct=on), which some file systems \
             do not offer: use cache=writeback or cache=writethrough",
        )?;
    }
    Ok(Opened { file: file.into(), len, read_only, is_device: kind.is_block_device(), alignment })
}

/// Opens a file as may be. Tells whether it can only be read.
fn open_by(path: &Path, access: Access) -> io::Result<(File, bool)> {
    match access {
        Access::ReadOnly => Ok((open_as(path, false)?, true)),
        Access::ReadWrite => Ok((open_as(path, true)?, false)),
        Access::Auto => match open_as(path, true) {
            Err(error) if may_be_read(&error) => Ok((open_as(path, false)?, true)),
            opened => Ok((opened?, false)),
        },
    }
}

/// Opens without waiting for the other end of a FIFO.
fn open_as(path: &Path, write: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(write).custom_flags(OPEN_FLAGS).open(path)
}

/// Whether a file that can't be written may still be readable.
fn may_be_read(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}
