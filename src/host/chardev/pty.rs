//! A new pseudo-terminal, whose other side any terminal program can open.
//!
//! The kernel tells when the last user of the other side closes it, but not when one opens it. That is learnt from
//! inotify, or, where the user has no inotify instance left, by looking once a second while nobody is there.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use event_manager::EventSet;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use vmm_sys_util::timerfd::TimerFd;

use super::connection::Connection;
use super::link::Connector;
use super::tty;
use crate::host::channel::Channel;

/// How often it is looked for a user where inotify does not work.
const INTERVAL: Duration = Duration::from_secs(1);

/// What tells that the other side may have been opened.
enum Watch {
    Inotify(Inotify),
    Timer(TimerFd),
}

/// The controlling side of a pseudo-terminal.
pub(super) struct Pty {
    master: OwnedFd,
    watch: Watch,
    name: PathBuf,
}

impl Pty {
    /// Makes a pseudo-terminal that passes all bytes unchanged.
    pub fn open() -> Result<Self> {
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
            .context("can't make a pseudo-terminal: is /dev/pts mounted?")?;
        let name = PathBuf::from(Self::prepare(&master).context("can't prepare the pseudo-terminal")?);
        let slave = fs::OpenOptions::new();
        let slave = open_slave(slave, &name).with_context(|| format!("can't open {}", name.display()))?;
        tty::make_raw(&slave).with_context(|| format!("can't set up {}", name.display()))?;
        // From here on the controlling side is hung up whenever nobody has the other one.
        drop(slave);
        let watch = match Self::watch_opens(&name) {
            Ok(inotify) => Watch::Inotify(inotify),
            Err(error) => {
                log::debug!("{} can't be watched ({error}), so it is polled", name.display());
                let mut timer = TimerFd::new().map_err(io::Error::from)?;
                timer.reset(INTERVAL, Some(INTERVAL)).map_err(io::Error::from)?;
                Watch::Timer(timer)
            }
        };
        Ok(Self { master: master.into(), watch, name })
    }

    fn prepare(master: &PtyMaster) -> nix::Result<String> {
        grantpt(master)?;
        unlockpt(master)?;
        ptsname_r(master)
    }

    fn watch_opens(name: &Path) -> nix::Result<Inotify> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        inotify.add_watch(name, AddWatchFlags::IN_OPEN)?;
        Ok(inotify)
    }

    /// The name of the other side.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// Whether somebody has the other side open.
    fn is_open(&self) -> bool {
        let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::empty())];
        poll(&mut fds, PollTimeout::ZERO).is_ok()
            && !fds[0].revents().unwrap_or(PollFlags::empty()).contains(PollFlags::POLLHUP)
    }

    fn connect(&self) -> io::Result<Connection> {
        let channel = || Channel::own(self.master.try_clone()?);
        Ok(Connection::new(Some(channel()?), Some(channel()?)))
    }
}

fn open_slave(mut options: fs::OpenOptions, name: &Path) -> io::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    options.read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits()).open(name)
}

impl Connector for Pty {
    fn watch(&self, connected: bool) -> Option<(RawFd, EventSet)> {
        match &self.watch {
            Watch::Inotify(inotify) => Some((inotify.as_fd().as_raw_fd(), EventSet::IN)),
            Watch::Timer(timer) => (!connected).then(|| (timer.as_raw_fd(), EventSet::IN)),
        }
    }

    fn ready(&mut self) -> Option<Connection> {
        match &mut self.watch {
            // What is in them does not matter, nor that they may be used up already.
            Watch::Inotify(inotify) => drop(inotify.read_events()),
            Watch::Timer(timer) => drop(timer.wait()),
        }
        if !self.is_open() {
            return None;
        }
        self.connect().inspect_err(|error| log::warn!("{}: can't be used: {error}", self.name.display())).ok()
    }

    fn lost(&mut self) {}
}

/// A symbolic link to a pseudo-terminal; removed when dropped.
pub(super) struct PtyLink {
    path: PathBuf,
    target: PathBuf,
}

impl PtyLink {
    /// Makes the link. One that was left behind by a process that was killed is replaced.
    pub fn create(path: &Path, target: &Path) -> Result<Self> {
        let left_behind = fs::read_link(path).is_ok_and(|old| old.starts_with("/dev/pts"));
        if left_behind {
            // Creating the link tells if this did not work.
            let _ = fs::remove_file(path);
        }
        std::os::unix::fs::symlink(target, path)
            .map_err(|error| anyhow!("can't make the link {}: {error}: choose another path", path.display()))?;
        // A daemon changes its directory.
        Ok(Self { path: std::path::absolute(path)?, target: target.to_owned() })
    }
}

impl Drop for PtyLink {
    fn drop(&mut self) {
        // Somebody else may have replaced it.
        if fs::read_link(&self.path).is_ok_and(|target| target == self.target) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
