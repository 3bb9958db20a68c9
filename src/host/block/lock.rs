//! Locks on images, by which natoma, QEMU and its tools keep out of each other's way.
//!
//! QEMU locks single bytes of the file (`F_OFD_SETLK`, always shared locks): byte 100 + n says "I do n", byte 200 + n says
//! "nobody else may do n". Whoever wants something sets its own locks first and then looks whether those of others speak
//! against it. A guest's drive reads, and writes unless it is read-only; it lets others read, but neither write nor resize.

use std::fs::File;
use std::io;
use std::ops::Deref;

use anyhow::{Context, Result, bail};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::config::Locking;

/// First of the bytes that say what is done.
const DOES: i64 = 100;
/// First of the bytes that say what nobody else may do.
const FORBIDS: i64 = 200;

/// What can be done to an image (numbers of QEMU's permissions).
const READ: i64 = 0;
const WRITE: i64 = 1;
const RESIZE: i64 = 3;

/// The file of an image, whose locks go with it.
///
/// The kernel keeps locks as long as anybody has the open file, and a process that is being started has all files of its
/// parent until its own program runs.
#[derive(Debug)]
pub(super) struct ImageFile(File);

impl From<File> for ImageFile {
    fn from(file: File) -> Self {
        Self(file)
    }
}

impl Deref for ImageFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for ImageFile {
    fn drop(&mut self) {
        let mut all = range(libc::F_UNLCK, DOES);
        all.l_len = FORBIDS + RESIZE + 1 - DOES;
        // Where this fails there are no locks.
        let _ = fcntl(&self.0, FcntlArg::F_OFD_SETLK(&all));
    }
}

/// What others may do to an image in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Read it.
    Reads,
    /// And write to it.
    Writes,
    /// Whatever they like.
    Everything,
}

/// Locks the image for a guest. The locks go with the [`ImageFile`].
pub(super) fn lock(file: &ImageFile, read_only: bool, sharing: Sharing, locking: Locking) -> Result<()> {
    if locking == Locking::Off {
        return Ok(());
    }
    let wanted: &[i64] = if read_only { &[READ] } else { &[READ, WRITE] };
    let forbidden: &[i64] = match sharing {
        Sharing::Reads => &[WRITE, RESIZE],
        Sharing::Writes => &[RESIZE],
        Sharing::Everything => &[],
    };
    let bytes = || wanted.iter().map(|what| DOES + what).chain(forbidden.iter().map(|what| FORBIDS + what));
    for byte in bytes() {
        match fcntl(&**file, FcntlArg::F_OFD_SETLK(&range(libc::F_RDLCK, byte))) {
            Ok(_) => {}
            // Some network file systems have no locks. QEMU's locking=auto goes on as well.
            Err(nix::Error::ENOLCK | nix::Error::EINVAL | nix::Error::EOPNOTSUPP) if locking == Locking::Auto => {
                return Ok(());
            }
            Err(nix::Error::EAGAIN | nix::Error::EACCES) => bail!("{IN_USE}"),
            Err(error) => {
                return Err(io::Error::from(error)).context("it can't be locked; file.locking=off does without");
            }
        }
    }
    let speaks_against = wanted.iter().map(|what| FORBIDS + what).chain(forbidden.iter().map(|what| DOES + what));
    for byte in speaks_against {
        let mut found = range(libc::F_WRLCK, byte);
        fcntl(&**file, FcntlArg::F_OFD_GETLK(&mut found))
            .map_err(io::Error::from)
            .context("its locks can't be read")?;
        if i32::from(found.l_type) != libc::F_UNLCK {
            bail!("{IN_USE}");
        }
    }
    Ok(())
}

const IN_USE: &str = "another process uses it (another natoma or QEMU, or qemu-img), or another drive of this machine, and two \
                      writers would destroy it: end that one, or give each its own copy, or share-rw=on to the devices of both \
                      if their guests are made for that";

fn range(kind: libc::c_int, byte: i64) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    }
}
