//! `driver=nbd`: an export of a network block device server, over TCP or a socket in the file system.
//!
//! Follows the NBD protocol (doc/proto.md of the NetworkBlockDevice project): the fixed newstyle handshake with `GO`, or
//! `EXPORT_NAME` where a server is older, and simple replies. Several requests are under way at once; a thread reads the
//! replies of a connection. Not there: TLS, structured replies and what needs them, the oldstyle handshake.
//!
//! If the connection is lost, requests fail at once, as with QEMU's defaults, and the next one tries to connect again; with
//! `reconnect-delay` they are made again as soon as the server is back, for that long. What a server had in its cache when it went
//! may be lost, so the first flush after a loss fails if there were writes since the last one.

mod connection;
mod handshake;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use devices::backend::block::{BlockError, check_range};
use devices::base::lock;
use vm_memory::VolatileSlice;

use self::connection::{Command, Connection, FUA, Failure, NO_HOLE};
pub use self::handshake::{Export, negotiate};
use super::node::{Node, check_transfer, part, total_len};
use super::raw::host_error;
use crate::config::NbdConfig;

/// Bytes of the largest request that every server takes.
const MOST: usize = 32 << 20;
/// Time between two attempts to connect again.
const PAUSE: Duration = Duration::from_millis(200);

/// An export.
pub struct Nbd {
    config: NbdConfig,
    export: Export,
    read_only: bool,
    /// `None`: it is lost.
    connection: Mutex<Option<Arc<Connection>>>,
    /// There were writes since the last flush.
    unflushed: AtomicBool,
    /// A connection was lost while there were.
    lost: AtomicBool,
    /// How many want requests not to wait for a server.
    hurried: AtomicU32,
}

impl Nbd {
    /// Connects to a server.
    ///
    /// # Errors
    /// It can't be reached, or does not have what is asked for: says why.
    pub fn open(config: NbdConfig, read_only: bool) -> Result<Self> {
        let (connection, export) = Connection::open(&config)?;
        ensure!(
            read_only || !export.read_only(),
            "the server does not let it be written: add readonly=on or snapshot=on"
        );
        ensure!(export.len > 0, "the export is empty");
        Ok(Self {
            config,
            export,
            read_only,
            connection: Mutex::new(Some(Arc::new(connection))),
            unflushed: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            hurried: AtomicU32::new(0),
        })
    }

    /// The connection, made again if it was lost.
    fn connection(&self) -> io::Result<Arc<Connection>> {
        let mut connection = lock(&self.connection);
        if let Some(connection) = &*connection {
            return Ok(Arc::clone(connection));
        }
        let again = || -> Result<Connection> {
            let (connection, export) = Connection::open(&self.config)?;
            if export != self.export {
                bail!("the server has something else now: {export:?}, not {:?}", self.export);
            }
            Ok(connection)
        };
        match again() {
            Ok(made) => {
                log::info!("{}: connected again", self.config.server);
                Ok(Arc::clone(connection.insert(Arc::new(made))))
            }
            Err(error) => Err(io::Error::new(io::ErrorKind::NotConnected, format!("{error:#}"))),
        }
    }

    /// Forgets a connection that is of no use.
    fn lose(&self, lost: &Arc<Connection>, error: &io::Error) {
        let mut connection = lock(&self.connection);
        if connection.as_ref().is_some_and(|current| Arc::ptr_eq(current, lost)) {
            log::error!("{}: the connection is lost: {error}", self.config.server);
            *connection = None;
            self.lost.fetch_or(self.unflushed.load(Ordering::Acquire), Ordering::AcqRel);
        }
    }

    /// Makes a request, again if need be.
    fn request(
        &self,
        command: Command,
        offset: u64,
        len: usize,
        to: &[VolatileSlice<'_>],
        from: &[VolatileSlice<'_>],
    ) -> io::Result<()> {
        let end = Instant::now() + Duration::from_secs(self.config.reconnect_delay.into());
        loop {
            let error = match self.connection() {
                Ok(connection) => match connection.request(command, offset, len, to, from) {
                    Ok(()) => return Ok(()),
                    Err(Failure::Server(error)) => return Err(error),
                    Err(Failure::Lost(error)) => {
                        self.lose(&connection, &error);
                        error
                    }
                },
                Err(error) => error,
            };
            if Instant::now() >= end || self.hurried.load(Ordering::Acquire) > 0 {
                return Err(error);
            }
            thread::sleep(PAUSE);
        }
    }

    fn change(&self, offset: u64, len: u64) -> Result<(), BlockError> {
        if self.read_only {
            return Err(BlockError::ReadOnly);
        }
        check_range(self.export.len, offset, usize::try_from(len).unwrap_or(usize::MAX))?;
        self.unflushed.store(true, Ordering::Release);
        Ok(())
    }

    /// Makes a request for each part of a range that a request can have.
    fn in_parts(
        &self,
        offset: u64,
        len: u64,
        mut request: impl FnMut(u64, usize) -> io::Result<()>,
    ) -> Result<(), BlockError> {
        let mut done = 0;
        while done < len {
            let piece = usize::try_from(len - done).unwrap_or(usize::MAX).min(MOST);
            request(offset + done, piece).map_err(host_error)?;
            done += piece as u64;
        }
        Ok(())
    }
}

impl Node for Nbd {
    fn len(&self) -> u64 {
        self.export.len
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn read(&self, offset: u64, to: &[VolatileSlice<'_>]) -> Result<(), BlockError> {
        check_transfer(self.export.len, offset, to)?;
        self.in_parts(offset, total_len(to) as u64, |at, len| {
            self.request(Command::READ, at, len, &part(to, (at - offset) as usize, len), &[])
        })
    }

    fn write(&self, offset: u64, from: &[VolatileSlice<'_>], durable: bool) -> Result<(), BlockError> {
        self.change(offset, total_len(from) as u64)?;
        let fua = durable && self.export.has_fua();
        let command = if fua { Command::WRITE.with(FUA) } else { Command::WRITE };
        self.in_parts(offset, total_len(from) as u64, |at, len| {
            self.request(command, at, len, &[], &part(from, (at - offset) as usize, len))
        })?;
        if durable && !fua { self.flush() } else { Ok(()) }
    }

    fn flush(&self) -> Result<(), BlockError> {
        if self.read_only || !self.export.has_flush() {
            return Ok(());
        }
        self.unflushed.store(false, Ordering::Release);
        self.request(Command::FLUSH, 0, 0, &[], &[]).map_err(host_error)?;
        if self.lost.swap(false, Ordering::AcqRel) {
            let reason = "the server went away while there were writes that it had not flushed: they may be lost";
            return Err(io::Error::other(reason).into());
        }
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> Result<(), BlockError> {
        self.change(offset, len)?;
        if !self.export.has_trim() {
            return Ok(());
        }
        self.in_parts(offset, len, |at, len| self.request(Command::TRIM, at, len, &[], &[]))
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> Result<(), BlockError> {
        self.change(offset, len)?;
        if !self.export.has_write_zeroes() {
            return super::node::fill_with_zeroes(self, offset, len);
        }
        let command = if may_unmap { Command::WRITE_ZEROES } else { Command::WRITE_ZEROES.with(NO_HOLE) };
        self.in_parts(offset, len, |at, len| self.request(command, at, len, &[], &[]))
    }

    fn hurry(&self, hurried: bool) {
        if hurried {
            self.hurried.fetch_add(1, Ordering::AcqRel);
        } else {
            self.hurried.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Adds to an error which server it is about.
fn about<T>(config: &NbdConfig, result: Result<T>) -> Result<T> {
    result
        .with_context(|| format!("the export '{}' of the NBD server at {} can't be used", config.export, config.server))
}
