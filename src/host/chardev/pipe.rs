//! FIFOs, or a device, that exist already: `PATH.in` and `PATH.out`, or one `PATH` for both directions.
//!
//! As in QEMU they are opened for reading and writing: programs at the other end may come and go, and what is written
//! while nobody reads stays in the FIFO until it is full.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::libc;

use super::connection::Connection;
use crate::host::channel::Channel;

/// Opens the FIFOs.
pub(super) fn open(path: &Path) -> Result<Connection> {
    let with_suffix = |suffix: &str| {
        let mut name = OsString::from(path);
        name.push(suffix);
        open_one(Path::new(&name))
    };
    let (input, output) = match (with_suffix(".in"), with_suffix(".out")) {
        (Ok(input), Ok(output)) => (input, output),
        (Err(_), Err(_)) => {
            let both = open_one(path).with_context(|| {
                format!("can't open {0}.in and {0}.out, nor {0}: make them with mkfifo", path.display())
            })?;
            (both.try_clone()?, both)
        }
        (Err(error), Ok(_)) => return Err(error).with_context(|| missing(path, "in")),
        (Ok(_), Err(error)) => return Err(error).with_context(|| missing(path, "out")),
    };
    Ok(Connection::new(Some(Channel::own(input.into())?), Some(Channel::own(output.into())?)))
}

fn missing(path: &Path, suffix: &str) -> String {
    format!("can't open {0}.{suffix}, though its counterpart is there: make it with mkfifo", path.display())
}

fn open_one(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}
