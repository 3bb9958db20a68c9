//! A file descriptor that is read or written without ever blocking.
//!
//! `O_NONBLOCK` belongs to the open file description, which an inherited descriptor shares with the shell and with
//! everybody else who has it: set there, it would outlive natoma (after SIGKILL nothing could take it back) and break
//! the others' blocking reads and writes. So it is only set on descriptions of natoma's own. Of an inherited terminal
//! or FIFO a description of our own is made by opening `/proc/self/fd/N`; on a socket each call says that it must not
//! wait; where neither is possible, a call is made only when `poll` says that it won't wait.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::sys::stat::{FileStat, SFlag, fstat};
use nix::unistd::{isatty, read, write};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

/// Bytes that `poll` promises room for in a FIFO: one page.
const FIFO_ROOM: usize = 4096;

/// What a channel is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Reading.
    Input,
    /// Writing.
    Output,
}

/// How a call is kept from blocking.
#[derive(Debug)]
enum Way {
    /// The description is non-blocking, or its file never blocks.
    Plain,
    /// Every call carries `MSG_DONTWAIT`.
    Socket,
    /// Every call is preceded by `poll` and limited to this number of bytes.
    Polled(usize),
}

/// One direction of a connection to the host.
#[derive(Debug)]
pub struct Channel {
    fd: OwnedFd,
    way: Way,
    watchable: bool,
}

impl Channel {
    /// A channel on a description that nobody else has, which becomes non-blocking.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn own(fd: OwnedFd) -> io::Result<Self> {
        let kind = kind(&fstat(&fd)?);
        let way = match kind {
            SFlag::S_IFSOCK => Way::Socket,
            _ => {
                let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
                fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
                Way::Plain
            }
        };
        let watchable = is_watchable(fd.as_raw_fd())?;
        Ok(Self { fd, way, watchable })
    }

    /// A channel on a descriptor that was inherited; its description is left as it is.
    ///
    /// # Errors
    /// The descriptor is not open, or the kernel refuses.
    pub fn inherited(fd: BorrowedFd<'_>, direction: Direction) -> io::Result<Self> {
        let stat = fstat(fd)?;
        let kind = kind(&stat);
        // Opening the controlling side of a pseudo-terminal would make a new one.
        let is_ptmx = stat.st_rdev == libc::makedev(5, 2);
        let is_terminal = kind == SFlag::S_IFCHR && !is_ptmx && isatty(fd).unwrap_or(false);
        if (kind == SFlag::S_IFIFO || is_terminal)
            && let Ok(own) = reopen(fd, direction)
        {
            return Self::own(own);
        }
        let fd = fd.try_clone_to_owned()?;
        let watchable = is_watchable(fd.as_raw_fd())?;
        let way = match kind {
            SFlag::S_IFSOCK => Way::Socket,
            SFlag::S_IFIFO => Way::Polled(FIFO_ROOM),
            // Output processing of a terminal makes two characters of one.
            SFlag::S_IFCHR if watchable => Way::Polled(1),
            _ => Way::Plain,
        };
        Ok(Self { fd, way, watchable })
    }

    /// Reads what is there; 0 bytes mean the end.
    ///
    /// # Errors
    /// `WouldBlock`: nothing is there now. Everything else is final.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(retry(|| match self.way {
            Way::Plain => read(&self.fd, buffer),
            Way::Socket => recv(self.fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT),
            Way::Polled(_) => self.poll(PollFlags::POLLIN).and_then(|()| read(&self.fd, buffer)),
        })?)
    }

    /// Writes as much as is taken now.
    ///
    /// # Errors
    /// `WouldBlock`: nothing is taken now. Everything else is final.
    pub fn write(&self, data: &[u8]) -> io::Result<usize> {
        Ok(retry(|| match self.way {
            Way::Plain => write(&self.fd, data),
            Way::Socket => send(self.fd.as_raw_fd(), data, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL),
            Way::Polled(limit) => {
                self.poll(PollFlags::POLLOUT).and_then(|()| write(&self.fd, &data[..data.len().min(limit)]))
            }
        })?)
    }

    fn poll(&self, events: PollFlags) -> nix::Result<()> {
        match poll(&mut [PollFd::new(self.fd.as_fd(), events)], PollTimeout::ZERO)? {
            0 => Err(Errno::EAGAIN),
            _ => Ok(()),
        }
    }

    /// Whether `epoll` can tell when it is ready. It is always ready if not: a regular file, `/dev/null`.
    #[must_use]
    pub fn is_watchable(&self) -> bool {
        self.watchable
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// Opens what `fd` refers to once more.
fn reopen(fd: BorrowedFd<'_>, direction: Direction) -> io::Result<OwnedFd> {
    let file = OpenOptions::new()
        .read(direction == Direction::Input)
        .write(direction == Direction::Output)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    Ok(file.into())
}

/// Asks `epoll`, which refuses files that are always ready.
fn is_watchable(fd: RawFd) -> io::Result<bool> {
    match Epoll::new()?.ctl(ControlOperation::Add, fd, EpollEvent::new(EventSet::empty(), 0)) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(false),
        Err(error) => Err(error),
    }
}

fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn flags(fd: impl AsFd) -> OFlag {
        OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).unwrap())
    }

    #[test]
    fn an_inherited_fifo_stays_blocking_for_the_others_and_never_blocks_us() {
        let (mut reader, mut writer) = io::pipe().unwrap();
        let input = Channel::inherited(reader.as_fd(), Direction::Input).unwrap();
        let output = Channel::inherited(writer.as_fd(), Direction::Output).unwrap();
        assert!(input.is_watchable() && output.is_watchable());
        assert_eq!(input.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);

        writer.write_all(b"in").unwrap();
        let mut buffer = [0; 8];
        assert_eq!(input.read(&mut buffer).unwrap(), 2);
        assert_eq!(&buffer[..2], b"in");

        let mut taken = 0;
        while let Ok(count) = output.write(&[7; 5000]) {
            taken += count;
        }
        assert_eq!(output.write(&[7]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let mut all = vec![0; taken];
        reader.read_exact(&mut all).unwrap();
        assert!(!flags(&reader).contains(OFlag::O_NONBLOCK) && !flags(&writer).contains(OFlag::O_NONBLOCK));
    }

    #[test]
    fn an_inherited_socket_keeps_its_flags() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let channel = Channel::inherited(ours.as_fd(), Direction::Input).unwrap();
        assert_eq!(channel.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        while channel.write(&[0; 4096]).is_ok() {}
        assert!(!flags(&ours).contains(OFlag::O_NONBLOCK));
        theirs.write_all(b"x").unwrap();
        assert_eq!(channel.read(&mut [0; 8]).unwrap(), 1);
        drop(theirs);
        // The bytes that the peer has not read make the end an error.
        assert!(matches!(channel.read(&mut [0; 8]), Ok(0) | Err(_)));
        assert_eq!(channel.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn regular_files_and_the_null_device_are_always_ready() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abc").unwrap();
        let channel = Channel::inherited(file.as_fd(), Direction::Output).unwrap();
        assert!(!channel.is_watchable());
        // The shared file position is kept: a shell's `natoma >> log` goes on where the log ended.
        assert_eq!(channel.write(b"def").unwrap(), 3);
        assert_eq!(file.metadata().unwrap().len(), 6);

        let null = std::fs::File::open("/dev/null").unwrap();
        let channel = Channel::inherited(null.as_fd(), Direction::Input).unwrap();
        assert!(!channel.is_watchable());
        assert_eq!(channel.read(&mut [0; 8]).unwrap(), 0);
    }
}
