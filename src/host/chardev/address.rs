//! Addresses of stream sockets: connecting to them and listening on them.

use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{self, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use nix::sys::stat::{SFlag, fstat};

use crate::config::SocketAddress;

/// Length of the name of an abstract socket that fills `sun_path` behind its leading zero byte.
const ABSTRACT_NAME: usize = 107;

impl fmt::Display for SocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet { host, port, .. } if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Self::Inet { host, port, .. } => write!(f, "tcp:{host}:{port}"),
            Self::Unix { path, abstract_name: true, .. } => write!(f, "unix:{path},abstract=on"),
            Self::Unix { path, .. } => write!(f, "unix:{path}"),
            Self::Fd { fd } => write!(f, "fd={fd}"),
        }
    }
}

/// A socket that listens.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The file of a listening Unix socket; removed when dropped.
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode: the file may have been replaced by somebody else's.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|data| (data.dev(), data.ino()))
}

impl Listener {
    /// Listens on an address. The file that this may create is the caller's.
    pub fn bind(address: &SocketAddress) -> Result<(Self, Option<SocketFile>)> {
        let mut file = None;
        let listener = match address {
            SocketAddress::Inet { port, to, .. } => {
                Self::Tcp(bind_tcp(&resolve(address, true)?, *port, to.unwrap_or(*port))?)
            }
            SocketAddress::Unix { path, abstract_name: true, .. } => {
                let name = abstract_address(address)?;
                let listener = UnixListener::bind_addr(&name)
                    .with_context(|| format!("can't listen: choose another name than {path}"))?;
                Self::Unix(listener)
            }
            SocketAddress::Unix { path, .. } => {
                let (listener, created) = bind_unix(Path::new(path))?;
                file = Some(created);
                listener
            }
            SocketAddress::Fd { fd } => {
                let socket = inherit(*fd)?;
                if !getsockopt(&socket, sockopt::AcceptConn).context("can't examine the socket")? {
                    bail!("the socket does not listen: call listen() on it first, or use server=off");
                }
                match is_unix(&socket)? {
                    true => Self::Unix(socket.into()),
                    false => Self::Tcp(socket.into()),
                }
            }
        };
        match &listener {
            Self::Tcp(listener) => listener.set_nonblocking(true),
            Self::Unix(listener) => listener.set_nonblocking(true),
        }
        .context("can't set up the socket")?;
        Ok((listener, file))
    }

    /// Accepts a client.
    ///
    /// # Errors
    /// `WouldBlock`: there is none.
    pub fn accept(&self, nodelay: bool) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                // Without it the connection is merely slower.
                let _ = stream.set_nodelay(nodelay);
                Ok(stream.into())
            }
            Self::Unix(listener) => listener.accept().map(|(stream, _)| stream.into()),
        }
    }

    /// The port that the kernel picked.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok().map(|address| address.port()),
            Self::Unix(_) => None,
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

/// Connects to an address; takes as long as the network takes.
pub(super) fn connect(address: &SocketAddress, nodelay: bool) -> Result<OwnedFd> {
    match address {
        SocketAddress::Inet { .. } => {
            let addresses = resolve(address, false)?;
            let stream = TcpStream::connect(&addresses[..])
                .context("can't connect: start the server first, or add reconnect=SECONDS")?;
            // Without it the connection is merely slower.
            let _ = stream.set_nodelay(nodelay);
            Ok(stream.into())
        }
        SocketAddress::Unix { path, abstract_name, .. } => {
            let stream = match abstract_name {
                true => UnixStream::connect_addr(&abstract_address(address)?),
                false => UnixStream::connect(path),
            };
            Ok(stream.context("can't connect: start the server first, or add reconnect=SECONDS")?.into())
        }
        SocketAddress::Fd { fd } => inherit(*fd),
    }
}

/// The addresses of a TCP host, of the protocols that are allowed.
fn resolve(address: &SocketAddress, server: bool) -> Result<Vec<SocketAddr>> {
    let SocketAddress::Inet { host, port, ipv4, ipv6, .. } = address else { return Ok(Vec::new()) };
    // A protocol that is asked for excludes the other one, unless that is asked for too.
    let v4 = ipv4.unwrap_or(*ipv6 != Some(true));
    let v6 = ipv6.unwrap_or(*ipv4 != Some(true));
    let hosts: &[&str] = match (host.as_str(), server) {
        // The IPv6 wildcard takes IPv4 connections too.
        ("", true) => &["::", "0.0.0.0"],
        ("", false) => &["localhost"],
        (host, _) => &[host],
    };
    let mut addresses = Vec::new();
    for host in hosts {
        let found = (*host, *port).to_socket_addrs();
        let found = found.with_context(|| format!("can't find the host '{host}': check its name"))?;
        addresses.extend(found.filter(|address| if address.is_ipv4() { v4 } else { v6 }));
    }
    if addresses.is_empty() {
        bail!("'{host}' has no address of the protocol asked for: change ipv4 or ipv6");
    }
    Ok(addresses)
}

/// Listens on the first port of a range that is free.
fn bind_tcp(addresses: &[SocketAddr], from: u16, to: u16) -> Result<TcpListener> {
    if to < from {
        bail!("to={to} is below the port {from}: give a higher one");
    }
    let mut refusal = None;
    for port in from..=to {
        let with_port: Vec<_> = addresses.iter().map(|address| SocketAddr::new(address.ip(), port)).collect();
        match TcpListener::bind(&with_port[..]) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => refusal = Some(error),
            Err(error) => {
                return Err(error).context("can't listen: give an address of this host and a port you may use");
            }
        }
    }
    let refusal = refusal.unwrap_or_else(|| io::ErrorKind::AddrInUse.into());
    Err(refusal).context("can't listen: choose another port, or give a range with to=PORT")
}

/// Listens on a path. What a process that was killed left there is replaced.
fn bind_unix(path: &Path) -> Result<(Listener, SocketFile)> {
    match fs::symlink_metadata(path) {
        Ok(data) if data.file_type().is_socket() => {
            fs::remove_file(path).with_context(|| format!("can't replace the socket {}: remove it", path.display()))?;
        }
        Ok(_) => bail!("{} exists and is no socket: remove it or choose another path", path.display()),
        // Binding tells.
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).with_context(|| {
        format!("can't listen on {}: choose a path in a directory that you may write", path.display())
    })?;
    // A daemon changes its directory.
    let path = std::path::absolute(path)?;
    let identity = identity(&path).with_context(|| format!("{} has vanished", path.display()))?;
    Ok((Listener::Unix(listener), SocketFile { path, identity }))
}

fn abstract_address(address: &SocketAddress) -> Result<net::SocketAddr> {
    let SocketAddress::Unix { path, tight, .. } = address else { bail!("it is no Unix socket") };
    let mut name = path.clone().into_bytes();
    if !tight {
        name.resize(ABSTRACT_NAME.max(name.len()), 0);
    }
    net::SocketAddr::from_abstract_name(&name).context("the name does not fit")
}

/// Takes over a socket that was inherited. Everything that natoma opens itself closes on exec, so a descriptor that does
/// not was there before; it then closes too, which keeps it from being taken twice.
fn inherit(fd: RawFd) -> Result<OwnedFd> {
    let not_inherited = || anyhow!("natoma inherits no socket {fd}: start it with one, and use it only once");
    if fd < 0 {
        return Err(not_inherited());
    }
    // SAFETY: the descriptor is only examined; if it is not open the kernel says so.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let flags = fcntl(borrowed, FcntlArg::F_GETFD).map_err(|_| not_inherited())?;
    let kind = fstat(borrowed)?.st_mode & SFlag::S_IFMT.bits();
    if FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC) || kind != SFlag::S_IFSOCK.bits() {
        return Err(not_inherited());
    }
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: nothing in this process owns it, as the flag told, and nothing else will.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn is_unix(socket: &OwnedFd) -> Result<bool> {
    use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname};
    use std::os::fd::AsRawFd;
    let name = getsockname::<SockaddrStorage>(socket.as_raw_fd()).context("can't examine the socket")?;
    Ok(name.family() == Some(AddressFamily::Unix))
}

/// Keeps a TCP connection to a host that vanishes from lasting forever.
pub(super) fn keep_alive(socket: &OwnedFd) {
    // Unix sockets don't need it and take it anyway.
    let _ = setsockopt(socket, sockopt::KeepAlive, &true);
}
