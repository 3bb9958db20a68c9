//! Signals: those that end natoma, and those of a stop and of going on after it.
//!
//! They are blocked in all threads and read by the main loop, which takes an end as a message like others and leaves nothing
//! behind. Something may keep it from that: a FIFO that has no writer yet, a standard error that nobody reads, a file system of
//! the host that does not answer, or a processor's thread that waits for one of these. So a thread stands by that ends the
//! process if it is still there after some seconds.
//!
//! The same goes for an end of any other cause: what is left to be done then, the last tables of an image say, is given more time,
//! as a disk may be slow, unless another signal comes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};

use super::lifecycle::ExitStatus;
use super::mailbox::{Mailbox, Message, UserRequest};
use crate::host::chardev::Interrupt;
use crate::host::terminal;
use crate::tell::tell;

/// Three that end the machine, and those of a stop and of going on after it.
const SIGNALS: [Signal; 5] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM, Signal::SIGTSTP, Signal::SIGCONT];
/// Half the time that may pass until the main loop sees to an end.
const HALF_OF_PATIENCE: Duration = Duration::from_secs(5);
/// Milliseconds that the end itself may take, after that.
const LAST_PATIENCE: u16 = 50_000;
/// Stack of the thread that stands by, in bytes.
const STACK: usize = 64 << 10;

/// What the main loop and the thread that stands by share.
struct Watch {
    fd: SignalFd,
    /// The exit status, once natoma is to end; before, less than 0.
    end: AtomicI32,
    /// The main loop has ended.
    leaving: AtomicBool,
    /// Read when there is an end.
    bell: io::PipeReader,
}

impl Watch {
    /// Sees to a signal; its number if it ends natoma.
    fn see(&self, info: &siginfo) -> Option<i32> {
        let number = info.ssi_signo.cast_signed();
        match Signal::try_from(number) {
            Ok(Signal::SIGTSTP) => terminal::suspend(),
            Ok(Signal::SIGCONT) => terminal::resume(),
            _ => return Some(number),
        }
        None
    }

    /// Whether a signal waits for the main loop, or an end for all that it takes. Waits for either for so long.
    fn is_behind(&self, timeout: PollTimeout) -> bool {
        is_ready(&[self.fd.as_fd(), self.bell.as_fd()], timeout)
    }

    /// The thread.
    fn stand_by(&self) {
        while self.is_behind(PollTimeout::NONE) {
            thread::sleep(HALF_OF_PATIENCE);
            // The process may have been stopped, and have got the signal only now.
            if !self.is_behind(PollTimeout::ZERO) {
                continue;
            }
            thread::sleep(HALF_OF_PATIENCE);
            if self.leaving.load(Ordering::SeqCst) {
                is_ready(&[self.fd.as_fd()], LAST_PATIENCE.into());
            }
            let end = match self.end.load(Ordering::SeqCst) {
                ..0 => std::iter::from_fn(|| self.fd.read_signal().ok().flatten())
                    .find_map(|info| self.see(&info))
                    .map(|number| ExitStatus::signal(number).0.into()),
                status => Some(forced(status)),
            };
            if let Some(status) = end {
                terminal::restore();
                // SAFETY: ends the process without touching anything of it.
                unsafe { libc::_exit(status) };
            }
        }
    }
}

/// The exit status of an end that was to have this one, but has not been carried out: that is no success.
fn forced(status: i32) -> i32 {
    if status == i32::from(ExitStatus::SUCCESS.0) { ExitStatus::FAILURE.0.into() } else { status }
}

/// Waits until one of the files can be read, or for so long. Tells whether that is so.
fn is_ready(files: &[BorrowedFd<'_>], timeout: PollTimeout) -> bool {
    let mut fds: Vec<_> = files.iter().map(|file| PollFd::new(*file, PollFlags::POLLIN)).collect();
    loop {
        match poll(&mut fds, timeout) {
            Err(Errno::EINTR) => {}
            result => return result.is_ok_and(|ready| ready > 0),
        }
    }
}

/// The main loop's end.
pub(super) struct Signals {
    watch: Arc<Watch>,
    mailbox: Arc<Mailbox>,
    /// Closed when there is an end, which makes the other side readable.
    bell: Option<io::PipeWriter>,
}

impl Signals {
    /// Takes over the signals. To be called before any thread exists, so that all inherit the mask.
    ///
    /// # Errors
    /// The host has no file descriptor left.
    pub fn block(mailbox: Arc<Mailbox>) -> io::Result<Self> {
        // A file that has reached the size that the user allows (ulimit -f) is one that the host has no more room for.
        // SAFETY: there is no handler.
        unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }?;
        let set: SigSet = SIGNALS.into_iter().collect();
        set.thread_block()?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let (reader, writer) = io::pipe()?;
        let watch = Arc::new(Watch { fd, end: AtomicI32::new(-1), leaving: AtomicBool::new(false), bell: reader });
        Ok(Self { watch, mailbox, bell: Some(writer) })
    }

    /// Has a thread stand by. To be called before anything is done that may take long.
    ///
    /// # Errors
    /// The host has no thread left.
    pub fn stand_by(&self) -> io::Result<()> {
        let watch = Arc::clone(&self.watch);
        thread::Builder::new().stack_size(STACK).spawn(move || watch.stand_by()).map(drop)
    }

    /// The main loop has ended, and natoma ends with this status: somebody watches how long that takes.
    pub fn leave(&mut self, status: ExitStatus) {
        self.watch.end.store(status.0.into(), Ordering::SeqCst);
        self.watch.leaving.store(true, Ordering::SeqCst);
        self.bell = None;
    }

    /// How the process ends, if a signal has come that ends it.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.interrupted();
        std::iter::from_fn(|| self.mailbox.take()).find_map(|message| match message {
            Message::User(UserRequest::Signal(number)) => Some(ExitStatus::signal(number)),
            _ => None,
        })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.fd.as_fd()
    }
}

impl Interrupt for Signals {
    fn interrupted(&mut self) -> bool {
        let mut ends = false;
        while let Ok(Some(info)) = self.watch.fd.read_signal() {
            if let Some(number) = self.watch.see(&info) {
                self.watch.end.store(ExitStatus::signal(number).0.into(), Ordering::SeqCst);
                self.bell = None;
                self.mailbox.post(Message::User(UserRequest::Signal(number)));
                tell(format_args!("terminating on signal {number} from pid {}", info.ssi_pid));
                ends = true;
            }
        }
        ends
    }
}

impl MutEventSubscriber for Signals {
    fn process(&mut self, _events: Events, _ops: &mut EventOps) {
        self.interrupted();
    }

    fn init(&mut self, ops: &mut EventOps) {
        if let Err(error) = ops.add(Events::new(&self.watch.fd, EventSet::IN)) {
            log::error!("signals can't be watched: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_leaves_something_undone_is_no_success() {
        assert_eq!([0, 1, 33, 143].map(forced), [1, 1, 33, 143]);
    }
}
