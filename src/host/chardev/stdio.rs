//! Standard input and output of the process.

use std::io;
use std::os::fd::AsFd;

use anyhow::{Context, Result};

use super::connection::Connection;
use crate::host::channel::{Channel, Direction};
use crate::host::terminal;

/// Takes over standard input and output. A terminal becomes raw until [`terminal::restore`]; with `signal` Ctrl-C and
/// Ctrl-Z keep their meaning.
pub(super) fn open(signal: bool) -> Result<Connection> {
    let input = Channel::inherited(io::stdin().as_fd(), Direction::Input)
        .context("can't use standard input: start natoma with it open, or redirect it from /dev/null")?;
    let output = Channel::inherited(io::stdout().as_fd(), Direction::Output)
        .context("can't use standard output: start natoma with it open, or redirect it to /dev/null")?;
    terminal::make_raw(signal).context("can't set up the terminal")?;
    Ok(Connection::new(Some(input), Some(output)))
}
