//! `driver=nbd`: an export of a network block device server, over TCP or a socket in the file system.
//!
//! Follows the NBD protocol (doc/proto.md of the NetworkBlockDevice project): the fixed newstyle handshake with `GO`, or
//! `EXPORT_NAME` where a server is older, and simple replies. Several requests are under way at once; a thread reads the
//! replies of a connection. Not there: TLS, structured replies and what needs them, the oldstyle handshake.
//!
//! If the connection is lost, requests fail at once, as with QEMU's defaults, and the next one tries to connect again; with
//! `reconnect-delay` they are made again as soon as the server is back, for that long. What a server had in its cache when it went
//! may be lost, so flushes fail after a loss, if there were writes since the last one, until the first of them has told so.
//!
//! A server that does not answer at all is waited for without end, as under QEMU, but not by somebody who waits for all requests to
//! end: the connection is then given up, and the requests are made again when the machine goes on.

mod connection;
mod handshake;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
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

/// Changes that a server has made, and of which it is not known whether it would keep them if it went away.
#[derive(Default)]
struct Unflushed {
    /// Number of changes so far.
    changes: u64,
    /// The last of them that were made by each connection, by the number of the connection.
    last: BTreeMap<u64, u64>,
    /// How many connections went away before their changes were flushed.
    losses: u64,
}

impl Unflushed {
    /// The server says that it has changed something.
    fn changed(&mut self, connection: u64) {
        self.changes += 1;
        self.last.insert(connection, self.changes);
    }

    /// A flush has ended well. `changes` and `losses` are what they were when it began. Tells whether it can be believed.
    fn flushed(&mut self, connection: u64, changes: u64, losses: u64) -> bool {
        while let Some(lost) = self.last.first_entry().filter(|entry| *entry.key() < connection) {
            lost.remove();
            self.losses += 1;
        }
        if self.last.get(&connection).is_some_and(|last| *last <= changes) {
            self.last.remove(&connection);
        }
        // Another flush may have found it out; this one was to flush the same changes.
        self.losses == losses
    }
}

/// An export.
pub struct Nbd {
    config: NbdConfig,
    export: Export,
    read_only: bool,
    /// `None`: it is lost.
    connection: Mutex<Option<Arc<Connection>>>,
    unflushed: Mutex<Unflushed>,
    /// Number of the next connection.
    next: AtomicU64,
    /// How many want requests not to wait for a server.
    hurried: AtomicU32,
    /// They don't want to wait for answers either.
    given_up: AtomicBool,
}

impl Nbd {
    /// Connects to a server.
    ///
    /// # Errors
    /// It can't be reached, or does not have what is asked for: says why.
    pub fn open(config: NbdConfig, read_only: bool) -> Result<Self> {
        let (connection, export) = Connection::open(&config, 0)?;
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
            unflushed: Mutex::default(),
            next: AtomicU64::new(1),
            hurried: AtomicU32::new(0),
            given_up: AtomicBool::new(false),
        })
    }

    /// The connection, made again if it was lost.
    fn connection(&self) -> io::Result<Arc<Connection>> {
        let mut connection = lock(&self.connection);
        match &*connection {
            Some(connection) if !connection.is_lost() => return Ok(Arc::clone(connection)),
            Some(_) => log::error!("{}: the connection is lost", self.config.server),
            None => {}
        }
        *connection = None;
        if self.given_up.load(Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "the server did not answer"));
        }
        let again = || -> Result<Connection> {
            let (connection, export) = Connection::open(&self.config, self.next.fetch_add(1, Ordering::Relaxed))?;
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
        }
    }

    /// Makes a request, again if need be. Gives the number of the connection that it was carried out by.
    fn request(
        &self,
        command: Command,
        offset: u64,
        len: usize,
        to: &[VolatileSlice<'_>],
        from: &[VolatileSlice<'_>],
    ) -> Result<u64, BlockError> {
        let end = Instant::now() + Duration::from_secs(self.config.reconnect_delay.into());
        loop {
            let error = match self.connection() {
                Ok(connection) => match connection.request(command, offset, len, to, from) {
                    Ok(()) => return Ok(connection.number),
                    Err(Failure::Server(error)) => return Err(host_error(error)),
                    Err(Failure::Lost(error)) => {
                        self.lose(&connection, &error);
                        error
                    }
                },
                Err(error) => error,
            };
            if self.given_up.load(Ordering::Acquire) {
                return Err(BlockError::GivenUp(error));
            }
            if Instant::now() >= end {
                return Err(BlockError::Io(error));
            }
            // There is time left, but somebody can't wait.
            if self.hurried.load(Ordering::Acquire) > 0 {
                return Err(BlockError::GivenUp(error));
            }
            thread::sleep(PAUSE);
        }
    }

    fn check_change(&self, offset: u64, len: u64) -> Result<(), BlockError> {
        if self.read_only {
            return Err(BlockError::ReadOnly);
        }
        check_range(self.export.len, offset, usize::try_from(len).unwrap_or(usize::MAX))
    }

    /// Makes a request that changes something.
    fn change(&self, command: Command, offset: u64, len: usize, from: &[VolatileSlice<'_>]) -> Result<(), BlockError> {
        let connection = self.request(command, offset, len, &[], from)?;
        lock(&self.unflushed).changed(connection);
        Ok(())
    }

    /// Makes a request for each part of a range that a request can have.
    fn in_parts(
        &self,
        offset: u64,
        len: u64,
        mut request: impl FnMut(u64, usize) -> Result<(), BlockError>,
    ) -> Result<(), BlockError> {
        let mut done = 0;
        while done < len {
            let piece = usize::try_from(len - done).unwrap_or(usize::MAX).min(MOST);
            request(offset + done, piece)?;
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
            self.request(Command::READ, at, len, &part(to, (at - offset) as usize, len), &[]).map(drop)
        })
    }

    fn write(&self, offset: u64, from: &[VolatileSlice<'_>], durable: bool) -> Result<(), BlockError> {
        self.check_change(offset, total_len(from) as u64)?;
        let fua = durable && self.export.has_fua();
        let command = if fua { Command::WRITE.with(FUA) } else { Command::WRITE };
        self.in_parts(offset, total_len(from) as u64, |at, len| {
            self.change(command, at, len, &part(from, (at - offset) as usize, len))
        })?;
        if durable && !fua { self.flush() } else { Ok(()) }
    }

    fn flush(&self) -> Result<(), BlockError> {
        if self.read_only || !self.export.has_flush() {
            return Ok(());
        }
        let Unflushed { changes, losses, .. } = *lock(&self.unflushed);
        let connection = self.request(Command::FLUSH, 0, 0, &[], &[])?;
        if lock(&self.unflushed).flushed(connection, changes, losses) {
            return Ok(());
        }
        Err(BlockError::Lost(io::Error::other("the server went away before it had flushed them")))
    }

    fn discard(&self, offset: u64, len: u64) -> Result<(), BlockError> {
        self.check_change(offset, len)?;
        if !self.export.has_trim() {
            return Ok(());
        }
        self.in_parts(offset, len, |at, len| self.change(Command::TRIM, at, len, &[]))
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> Result<(), BlockError> {
        self.check_change(offset, len)?;
        if !self.export.has_write_zeroes() {
            return super::node::fill_with_zeroes(self, offset, len);
        }
        let command = if may_unmap { Command::WRITE_ZEROES } else { Command::WRITE_ZEROES.with(NO_HOLE) };
        self.in_parts(offset, len, |at, len| self.change(command, at, len, &[]))
    }

    fn hurry(&self, hurried: bool) {
        if hurried {
            self.hurried.fetch_add(1, Ordering::AcqRel);
        } else if self.hurried.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.given_up.store(false, Ordering::Release);
        }
    }

    fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
        // Whoever makes a connection holds the lock, for as long as a handshake may take.
        let connection = lock(&self.connection).clone();
        if let Some(connection) = connection {
            connection.shut_down();
        }
    }
}

/// Adds to an error which server it is about.
fn about<T>(config: &NbdConfig, result: Result<T>) -> Result<T> {
    result
        .with_context(|| format!("the export '{}' of the NBD server at {} can't be used", config.export, config.server))
}
