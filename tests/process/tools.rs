//! Running natoma, and waiting for what it does.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;

/// Nothing here takes this long on the slowest of machines, whose disk may have gigabytes of others' data to write before it has
/// flushed a test's; a test that waits longer has failed.
pub const LIMIT: Duration = Duration::from_secs(150);

/// Whether KVM is there; tests that need it say so when it is not.
pub fn has_kvm() -> bool {
    let exists = Path::new("/dev/kvm").exists();
    if !exists {
        eprintln!("SKIPPED: there is no /dev/kvm");
    }
    exists
}

/// The program with some arguments.
pub fn natoma(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_natoma"));
    command.args(["-nodefaults", "-display", "none", "-m", "16"]).args(arguments).stdin(Stdio::null());
    command
}

/// Waits until `done` says so. Files and processes of others tell no other way.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LIMIT, "{what}: did not happen");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A running natoma, killed at the end of a test that failed.
pub struct Guard(pub Child);

impl Guard {
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    pub fn kill(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).unwrap();
    }

    pub fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < LIMIT, "it does not end\n{}", self.threads());
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// What each of its threads does, for a process that should have ended: name, signals, system call, and where it waits.
    fn threads(&self) -> String {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0.id())).into_iter().flatten().flatten();
        tasks.fold(String::new(), |text, task| {
            let file = |name| fs::read_to_string(task.path().join(name)).unwrap_or_default();
            let wanted = ["Name:", "State:", "SigPnd:", "ShdPnd:", "SigBlk:", "SigCgt:"];
            let status = file("status");
            let lines: Vec<_> =
                status.lines().filter(|line| wanted.iter().any(|name| line.starts_with(name))).collect();
            format!("{text}{}; call {}; waits in {}\n", lines.join(" "), file("syscall").trim(), file("wchan"))
        })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a signal leaves as exit status: natoma's own for those it sees to, the kernel's otherwise.
pub fn ended_by(status: ExitStatus, signal: Signal) -> bool {
    status.code() == Some(128 + signal as i32) || status.signal() == Some(signal as i32)
}

/// A terminal: we have the controlling side, natoma the other one.
pub struct Terminal {
    master: File,
    pub slave: OwnedFd,
}

impl Terminal {
    pub fn new() -> Self {
        // Closed on exec: natoma must not hold the controlling side of its own terminal.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let master = posix_openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NOCTTY);
        let slave = options.open(ptsname_r(&master).unwrap()).unwrap();
        Self { master: OwnedFd::from(master).into(), slave: slave.into() }
    }

    /// Connects a command to the terminal, which is its controlling terminal as from a shell.
    pub fn connect<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let slave = || Stdio::from(self.slave.try_clone().unwrap());
        command.stdin(slave()).stdout(slave()).stderr(slave());
        let take_terminal = || {
            nix::unistd::setsid()?;
            // SAFETY: the request takes an integer.
            if unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        };
        // SAFETY: between fork and exec only two system calls are made.
        unsafe { command.pre_exec(take_terminal) }
    }

    pub fn modes(&self) -> Termios {
        tcgetattr(&self.slave).unwrap()
    }

    /// Whether the open file description that a shell would share is still blocking.
    pub fn is_blocking(&self) -> bool {
        !OFlag::from_bits_retain(fcntl(&self.slave, FcntlArg::F_GETFL).unwrap()).contains(OFlag::O_NONBLOCK)
    }

    pub fn type_keys(&mut self, keys: &[u8]) {
        self.master.write_all(keys).unwrap();
    }

    /// What appears up to and including `text`.
    pub fn expect(&mut self, text: &str) -> String {
        read_until(&mut self.master, text)
    }
}

/// Reads until `text` has arrived.
pub fn read_until(source: &mut (impl Read + AsFd), text: &str) -> String {
    let (start, mut seen) = (Instant::now(), Vec::new());
    while !String::from_utf8_lossy(&seen).contains(text) {
        let left = LIMIT.saturating_sub(start.elapsed());
        assert!(!left.is_zero(), "no '{text}' in {:?}", String::from_utf8_lossy(&seen));
        let timeout = PollTimeout::try_from(left).unwrap();
        let ready = poll(&mut [PollFd::new(source.as_fd(), PollFlags::POLLIN)], timeout).unwrap();
        assert_ne!(ready, 0, "no '{text}' in {:?}", String::from_utf8_lossy(&seen));
        let mut buffer = [0; 4096];
        match source.read(&mut buffer) {
            Ok(0) => panic!("no '{text}' in {:?}", String::from_utf8_lossy(&seen)),
            Ok(count) => seen.extend(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}: no '{text}' in {:?}", String::from_utf8_lossy(&seen)),
        }
    }
    String::from_utf8_lossy(&seen).into_owned()
}

/// A small generator of numbers that look random (xorshift), so that a failure can be repeated.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
