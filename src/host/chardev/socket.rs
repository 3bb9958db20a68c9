//! Stream sockets: servers with one client at a time, and clients that may try again.
//!
//! A server leaves further clients in its backlog until the present one is gone. That a client is gone is found when it
//! is read from or written to: while the device has no room for input only writing tells.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use devices::base::lock;
use event_manager::EventSet;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};
use vmm_sys_util::timerfd::TimerFd;

use super::address::{self, Listener, SocketFile};
use super::connection::Connection;
use super::link::{Connector, Medium};
use crate::config::SocketAddress;
use crate::host::channel::Channel;
use crate::tell::tell;

/// What may cut waiting short: signals.
pub trait Interrupt: AsFd {
    /// Sees to what came while waiting; `true` if there is no point in waiting any longer.
    fn interrupted(&mut self) -> bool;
}

/// What a stream socket does beside carrying bytes.
pub(super) struct Socket<'a> {
    pub address: &'a SocketAddress,
    pub nodelay: bool,
    pub telnet: bool,
}

impl Socket<'_> {
    /// Listens, and with `wait` waits for the first client. The file of a Unix socket is the caller's.
    pub fn serve(&self, wait: bool, interrupt: &mut dyn Interrupt) -> Result<(Medium, Option<SocketFile>)> {
        let (listener, file) = Listener::bind(self.address)?;
        if let SocketAddress::Inet { host, port, .. } = self.address
            && let Some(picked) = listener.port().filter(|picked| picked != port)
        {
            tell(format_args!("tcp:{host}:{port} listens on port {picked}"));
        }
        let mut server = Server { listener, nodelay: self.nodelay, telnet: self.telnet };
        let mut connection = None;
        if wait {
            tell(format_args!("waiting for a connection to {}", self.address));
            while connection.is_none() && wait_for(server.listener.as_fd().as_raw_fd(), interrupt)? {
                connection = server.ready();
            }
        }
        Ok((Medium::Changing(connection, Box::new(server)), file))
    }

    /// Connects. With `reconnect` other than 0 it does so in the background, again and again.
    pub fn connect(&self, reconnect: u32, interrupt: &mut dyn Interrupt) -> Result<Medium> {
        let mut client = Client {
            address: self.address.clone(),
            nodelay: self.nodelay,
            telnet: self.telnet,
            // An inherited connection can't be made again.
            reconnect: (reconnect != 0 && !matches!(self.address, SocketAddress::Fd { .. }))
                .then(|| Duration::from_secs(reconnect.into())),
            timer: TimerFd::new().map_err(io::Error::from).context("can't make a timer")?,
            attempt: Arc::new(Attempt { result: Mutex::default(), done: EventFd::new(EFD_NONBLOCK)? }),
            connecting: false,
        };
        client.start().context("can't start a thread that connects")?;
        let mut connection = None;
        if client.reconnect.is_none() && wait_for(client.attempt.done.as_raw_fd(), interrupt)? {
            connection = Some(client.finish()?);
        }
        Ok(Medium::Changing(connection, Box::new(client)))
    }
}

/// Waits until `fd` is readable; `false` if the wait was interrupted.
fn wait_for(fd: RawFd, interrupt: &mut dyn Interrupt) -> Result<bool> {
    loop {
        // SAFETY: the callers keep the descriptor open for the duration of the call.
        let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
        let mut fds = [PollFd::new(fd, PollFlags::POLLIN), PollFd::new(interrupt.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("can't wait for a connection"),
        }
        let [ready, signal] = fds.map(|fd| fd.any().unwrap_or(false));
        if signal && interrupt.interrupted() {
            return Ok(false);
        }
        if ready {
            return Ok(true);
        }
    }
}

fn connection(socket: OwnedFd, telnet: bool) -> io::Result<Connection> {
    address::keep_alive(&socket);
    let input = Channel::own(socket.try_clone()?)?;
    let connection = Connection::new(Some(input), Some(Channel::own(socket)?));
    Ok(if telnet { connection.with_telnet() } else { connection })
}

/// A socket that listens.
struct Server {
    listener: Listener,
    nodelay: bool,
    telnet: bool,
}

impl Connector for Server {
    fn watch(&self, connected: bool) -> Option<(RawFd, EventSet)> {
        (!connected).then(|| (self.listener.as_fd().as_raw_fd(), EventSet::IN))
    }

    fn ready(&mut self) -> Option<Connection> {
        match self.listener.accept(self.nodelay).and_then(|socket| connection(socket, self.telnet)) {
            Ok(connection) => Some(connection),
            // The client went away again.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => {
                log::warn!("a client can't be accepted: {error}");
                None
            }
        }
    }

    fn lost(&mut self) {}
}

/// An attempt to connect: names are looked up and networks asked on a thread of its own, since both may take minutes.
struct Attempt {
    result: Mutex<Option<Result<OwnedFd>>>,
    done: EventFd,
}

/// A socket that connects.
struct Client {
    address: SocketAddress,
    nodelay: bool,
    telnet: bool,
    reconnect: Option<Duration>,
    timer: TimerFd,
    attempt: Arc<Attempt>,
    connecting: bool,
}

impl Client {
    fn start(&mut self) -> io::Result<()> {
        let (attempt, address, nodelay) = (Arc::clone(&self.attempt), self.address.clone(), self.nodelay);
        thread::Builder::new().spawn(move || {
            *lock(&attempt.result) = Some(address::connect(&address, nodelay));
            let _ = attempt.done.write(1);
        })?;
        self.connecting = true;
        Ok(())
    }

    fn finish(&mut self) -> Result<Connection> {
        let _ = self.attempt.done.read();
        self.connecting = false;
        let socket = lock(&self.attempt.result).take().context("the thread that connects has ended")??;
        Ok(connection(socket, self.telnet)?)
    }

    /// Tries again later.
    fn postpone(&mut self) {
        if let Some(delay) = self.reconnect
            && let Err(error) = self.timer.reset(delay, None)
        {
            log::warn!("{}: no further attempt to connect: {error}", self.address);
        }
    }
}

impl Connector for Client {
    fn watch(&self, connected: bool) -> Option<(RawFd, EventSet)> {
        let fd = match self.connecting {
            true => self.attempt.done.as_raw_fd(),
            false => self.timer.as_raw_fd(),
        };
        (!connected).then_some((fd, EventSet::IN))
    }

    fn ready(&mut self) -> Option<Connection> {
        if !self.connecting {
            let _ = self.timer.wait();
            if let Err(error) = self.start() {
                log::warn!("{}: can't start a thread that connects: {error}", self.address);
                self.postpone();
            }
            return None;
        }
        match self.finish() {
            Ok(connection) => Some(connection),
            Err(error) => {
                log::debug!("{}: {error:#}", self.address);
                self.postpone();
                None
            }
        }
    }

    fn lost(&mut self) {
        self.postpone();
    }
}
