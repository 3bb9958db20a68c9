//! A connection to a server after the handshake: requests, and the thread that reads the replies.

use std::collections::HashMap;
use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use devices::base::lock;
use nix::libc;
use vm_memory::VolatileSlice;

use super::super::node::total_len;
use super::handshake::{Export, negotiate, u32_from, u64_from};
use crate::config::{NbdConfig, NbdServer};

const REQUEST_MAGIC: u32 = 0x2560_9513;
const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
const TYPE_DISCONNECT: u16 = 2;

/// The longest that a connection may take, and each step of the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Flags of commands.
pub(super) const FUA: u16 = 1 << 0;
pub(super) const NO_HOLE: u16 = 1 << 1;

/// What a server is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Command {
    kind: u16,
    flags: u16,
}

impl Command {
    pub const READ: Self = Self { kind: 0, flags: 0 };
    pub const WRITE: Self = Self { kind: 1, flags: 0 };
    pub const FLUSH: Self = Self { kind: 3, flags: 0 };
    pub const TRIM: Self = Self { kind: 4, flags: 0 };
    pub const WRITE_ZEROES: Self = Self { kind: 6, flags: 0 };

    pub const fn with(self, flags: u16) -> Self {
        Self { flags: self.flags | flags, ..self }
    }
}

/// Why a request was not carried out.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server says so.
    Server(io::Error),
    /// There is no connection any more.
    Lost(io::Error),
}

/// Either kind of stream.
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn connect(server: &NbdServer) -> io::Result<Self> {
        Ok(match server {
            NbdServer::Tcp { host, port } => {
                let mut error = io::ErrorKind::AddrNotAvailable.into();
                let stream = (host.as_str(), *port).to_socket_addrs()?.find_map(|address| {
                    TcpStream::connect_timeout(&address, HANDSHAKE).map_err(|why| error = why).ok()
                });
                let stream = stream.ok_or(error)?;
                // A request is not to wait for more to be sent with it.
                stream.set_nodelay(true)?;
                Self::Tcp(stream)
            }
            NbdServer::Unix(path) => Self::Unix(UnixStream::connect(path)?),
        })
    }

    fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
        })
    }

    /// Reads and writes fail that take longer.
    fn set_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(limit).and_then(|()| stream.set_write_timeout(limit)),
            Self::Unix(stream) => stream.set_read_timeout(limit).and_then(|()| stream.set_write_timeout(limit)),
        }
    }

    fn shut_down(&self) {
        // It may be closed already.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(to),
            Self::Unix(stream) => stream.read(to),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(from),
            Self::Unix(stream) => stream.write(from),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whoever waits for a reply, and how many bytes come with it.
struct Waiter {
    len: usize,
    reply: Sender<io::Result<Vec<u8>>>,
}

/// Requests without a reply, by their cookies; `None` once the connection is lost.
type Waiters = Mutex<Option<HashMap<u64, Waiter>>>;

/// A connection.
pub(super) struct Connection {
    /// Later ones have higher numbers.
    pub number: u64,
    /// The stream to send on, and the next cookie.
    sender: Mutex<(Stream, u64)>,
    /// The same stream, for somebody who can't wait until all has been sent.
    end: Stream,
    waiters: Arc<Waiters>,
}

impl Connection {
    /// Connects, and asks for the export.
    pub fn open(config: &NbdConfig, number: u64) -> Result<(Self, Export)> {
        super::about(config, Self::open_stream(config, number))
    }

    fn open_stream(config: &NbdConfig, number: u64) -> Result<(Self, Export)> {
        let mut stream = Stream::connect(&config.server).context("it can't be reached")?;
        // From here on a server may take as long as it likes for its answers, but a handshake is no work.
        stream.set_timeout(Some(HANDSHAKE))?;
        let (mut replies, end) = (stream.try_clone()?, stream.try_clone()?);
        let export = negotiate(&mut replies, &mut stream, &config.export)?;
        stream.set_timeout(None)?;
        let waiters = Arc::new(Mutex::new(Some(HashMap::new())));
        let readers = Arc::clone(&waiters);
        thread::Builder::new().name("NBD replies".into()).spawn(move || read_replies(replies, &readers))?;
        Ok((Self { number, sender: Mutex::new((stream, 0)), end, waiters }, export))
    }

    /// Whether the other end has closed it.
    pub fn is_lost(&self) -> bool {
        lock(&self.waiters).is_none()
    }

    /// Number of requests that wait for a reply.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        lock(&self.waiters).as_ref().map_or(0, HashMap::len)
    }

    /// Ends the connection: all requests that wait fail.
    pub fn shut_down(&self) {
        self.end.shut_down();
    }

    /// Sends a request of `len` bytes with the data of `from`, waits for the reply, and puts its data into `to`.
    pub fn request(
        &self,
        command: Command,
        offset: u64,
        len: usize,
        to: &[VolatileSlice<'_>],
        from: &[VolatileSlice<'_>],
    ) -> Result<(), Failure> {
        let (reply, received) = mpsc::channel();
        self.send(command, offset, len, from, Waiter { len: total_len(to), reply }).map_err(Failure::Lost)?;
        let gone = || Failure::Lost(io::ErrorKind::ConnectionReset.into());
        let data = received.recv().map_err(|_| gone())?.map_err(Failure::Server)?;
        let mut at = 0;
        for slice in to {
            slice.copy_from(&data[at..at + slice.len()]);
            at += slice.len();
        }
        Ok(())
    }

    fn send(
        &self,
        command: Command,
        offset: u64,
        len: usize,
        from: &[VolatileSlice<'_>],
        waiter: Waiter,
    ) -> io::Result<()> {
        let mut message = vec![0; 28 + total_len(from)];
        let mut at = 28;
        for slice in from {
            at += slice.copy_to(&mut message[at..]);
        }
        let mut sender = lock(&self.sender);
        let (stream, next) = &mut *sender;
        let cookie = *next;
        *next += 1;
        message[..28].copy_from_slice(&head(command, cookie, offset, len));
        match &mut *lock(&self.waiters) {
            Some(waiters) => waiters.insert(cookie, waiter),
            None => return Err(io::ErrorKind::ConnectionReset.into()),
        };
        let sent = stream.write_all(&message);
        if sent.is_err() {
            // What comes after half a message is no request: the other end of the stream tells all who wait.
            stream.shut_down();
        }
        sent
    }
}

impl Drop for Connection {
    /// Takes leave of the server; the reader ends with the stream.
    fn drop(&mut self) {
        let (stream, cookie) = &mut *lock(&self.sender);
        let _ = stream.write_all(&head(Command { kind: TYPE_DISCONNECT, flags: 0 }, *cookie, 0, 0));
        stream.shut_down();
    }
}

/// The fixed part of a request.
fn head(command: Command, cookie: u64, offset: u64, len: usize) -> [u8; 28] {
    let mut head = [0; 28];
    head[..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
    head[4..6].copy_from_slice(&command.flags.to_be_bytes());
    head[6..8].copy_from_slice(&command.kind.to_be_bytes());
    head[8..16].copy_from_slice(&cookie.to_be_bytes());
    head[16..24].copy_from_slice(&offset.to_be_bytes());
    head[24..].copy_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    head
}

/// Hands replies to those who wait for them, until the stream ends.
fn read_replies(stream: Stream, waiters: &Waiters) {
    let mut stream = BufReader::new(stream);
    let end = loop {
        match read_reply(&mut stream, waiters) {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    log::debug!("NBD: no more replies: {end}");
    stream.get_ref().shut_down();
    // Whoever waits finds that nobody will answer.
    *lock(waiters) = None;
}

/// Reads one reply.
fn read_reply(stream: &mut impl Read, waiters: &Waiters) -> io::Result<()> {
    let nonsense = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    if u32_from(stream)? != SIMPLE_REPLY_MAGIC {
        return Err(nonsense("the server's reply makes no sense"));
    }
    let error = u32_from(stream)?;
    let cookie = u64_from(stream)?;
    let waiter = lock(waiters).as_mut().and_then(|waiters| waiters.remove(&cookie));
    let waiter = waiter.ok_or_else(|| nonsense("the server replies to what it was not asked"))?;
    let reply = if error == 0 {
        let mut data = vec![0; waiter.len];
        stream.read_exact(&mut data)?;
        Ok(data)
    } else {
        Err(server_error(error))
    };
    // It may have given up.
    let _ = waiter.reply.send(reply);
    Ok(())
}

/// An error of the protocol, whose numbers are Linux's as far as they go.
fn server_error(error: u32) -> io::Error {
    let known = [
        libc::EPERM,
        libc::EIO,
        libc::ENOMEM,
        libc::EINVAL,
        libc::ENOSPC,
        libc::EOVERFLOW,
        libc::ENOTSUP,
        libc::ESHUTDOWN,
    ];
    let number = i32::try_from(error).ok().filter(|error| known.contains(error));
    // Others are to be taken as EINVAL.
    io::Error::from_raw_os_error(number.unwrap_or(libc::EINVAL))
}
