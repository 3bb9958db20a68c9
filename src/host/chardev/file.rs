//! Files: one that takes the output, and one that may be the input.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::libc;

use super::connection::Connection;
use crate::host::channel::Channel;

/// Opens the files of a `file` character device.
pub(super) fn open(path: &Path, append: bool, input: Option<&Path>) -> Result<Connection> {
    let output = Channel::own(create(path, append)?.into())?;
    let input = match input {
        Some(path) => {
            // A FIFO opens without waiting for its writer.
            let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
            let file = file.with_context(|| {
                format!(
                    "input-path={}: can't open the file: name one that exists and that you may read",
                    path.display()
                )
            })?;
            Some(Channel::own(file.into())?)
        }
        None => None,
    };
    Ok(Connection::new(input, Some(output)))
}

/// Creates a file, or opens an existing one to be overwritten or appended to.
pub(super) fn create(path: &Path, append: bool) -> Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(append).truncate(!append).write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    options.open(path).with_context(|| {
        let remedy = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() && !parent.exists() => {
                format!("create the directory {} first", parent.display())
            }
            _ if path.is_dir() => "name a file instead of a directory".into(),
            _ => "name a file that you may write".into(),
        };
        format!("can't open {} for writing: {remedy}", path.display())
    })
}
