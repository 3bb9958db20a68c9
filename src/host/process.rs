//! The process around the machine: its name, its pid file, and its life in the background.
//!
//! Order of calls: [`Process::start`] first of all, while there is one thread and nothing is open that could not
//! survive a fork; [`Process::ready`] when the machine is built. Dropping it removes the pid file.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{ForkResult, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};

use crate::config::{Identity, RunConfig};

/// What a daemon tells its parent when the machine is built.
const READY: u8 = 1;
/// Longest contents of a pid file: a number and a line feed.
const PID_TEXT: u64 = 32;

/// The process.
pub struct Process {
    /// Removed when dropped.
    _pid_file: Option<PidFile>,
    /// A daemon's way to tell its parent that it made it.
    parent: Option<io::PipeWriter>,
}

impl Process {
    /// Gives the process its name, goes into the background with `daemonize`, and writes the pid file. A daemon's
    /// parent stays inside until [`Process::ready`] and then exits with status 0, or with 1 if the daemon ends before,
    /// which reports the reason itself.
    ///
    /// # Errors
    /// The kernel refuses to fork, or the pid file can't be written or belongs to a process that runs.
    pub fn start(identity: &Identity, run: &RunConfig) -> Result<Self> {
        if let Some(name) = &identity.process_name {
            let name = CString::new(name.as_str()).context("-name process=NAME has a zero byte in it")?;
            prctl::set_name(&name).context("-name process=NAME can't be set")?;
        }
        let parent = match run.daemonize {
            true => Some(daemonize().context("-daemonize: can't go into the background")?),
            false => None,
        };
        let pid_file = run.pidfile.as_deref().map(PidFile::create).transpose()?;
        Ok(Self { _pid_file: pid_file, parent })
    }

    /// The machine is built: a daemon leaves its terminal and directory, and its parent exits.
    ///
    /// # Errors
    /// The null device can't be opened.
    pub fn ready(&mut self) -> Result<()> {
        let Some(mut parent) = self.parent.take() else { return Ok(()) };
        let null = OpenOptions::new().read(true).write(true).open("/dev/null");
        let null = null.context("-daemonize: can't open /dev/null")?;
        chdir("/").context("-daemonize: can't leave the directory")?;
        for result in [dup2_stdin(&null), dup2_stdout(&null), dup2_stderr(&null)] {
            result.context("-daemonize: can't leave the terminal")?;
        }
        // A parent that was killed in the meantime is no reason to end.
        let _ = parent.write_all(&[READY]);
        Ok(())
    }
}

/// Goes on in a process of its own session that can't get a terminal again.
fn daemonize() -> Result<io::PipeWriter> {
    let (mut news, parent) = io::pipe()?;
    // SAFETY: there is one thread yet, so the child may do everything.
    match unsafe { fork()? } {
        ForkResult::Parent { .. } => {
            drop(parent);
            let mut byte = [0];
            let is_ready = news.read_exact(&mut byte).is_ok() && byte[0] == READY;
            std::process::exit(i32::from(!is_ready));
        }
        ForkResult::Child => {}
    }
    drop(news);
    setsid()?;
    // A process that is no session leader does not get a terminal by opening one.
    // SAFETY: there is one thread, as above.
    match unsafe { fork()? } {
        ForkResult::Parent { .. } => std::process::exit(0),
        ForkResult::Child => {}
    }
    umask(Mode::from_bits_truncate(0o027));
    Ok(parent)
}

/// The file that holds the process id while the process runs. It is locked for as long, by the lock that QEMU takes:
/// a file that was left behind by a process that was killed is free.
struct PidFile {
    /// Absolute: a daemon changes its directory.
    path: PathBuf,
    file: File,
}

impl PidFile {
    fn create(path: &Path) -> Result<Self> {
        let what = || format!("-pidfile {}", path.display());
        let path = std::path::absolute(path).with_context(what)?;
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NONBLOCK);
            let opened = options.open(&path).context("can't write it: give a file in a directory that you may write");
            let mut file = opened.with_context(what)?;
            if !file.metadata()?.is_file() {
                return Err(anyhow::anyhow!("it is no regular file: give a different path")).with_context(what);
            }
            lock(&mut file).with_context(what)?;
            // Its owner may have removed it between the opening and the locking.
            let pid_file = Self { path: path.clone(), file };
            if pid_file.is_in_place() {
                pid_file.write().context("can't write it").with_context(what)?;
                return Ok(pid_file);
            }
        }
    }

    fn write(&self) -> io::Result<()> {
        self.file.set_len(0)?;
        (&self.file).seek(SeekFrom::Start(0))?;
        writeln!(&self.file, "{}", std::process::id())
    }

    /// Whether the path still leads to our file.
    fn is_in_place(&self) -> bool {
        let identity = |data: fs::Metadata| (data.dev(), data.ino());
        match (self.file.metadata().map(identity), fs::metadata(&self.path).map(identity)) {
            (Ok(ours), Ok(there)) => ours == there,
            _ => false,
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if self.is_in_place() {
            // There is nobody left to tell.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn lock(file: &mut File) -> Result<()> {
    let whole = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    match fcntl(&*file, FcntlArg::F_OFD_SETLK(&whole)) {
        Ok(_) => Ok(()),
        Err(Errno::EAGAIN | Errno::EACCES) => {
            let mut owner = String::new();
            // Only for the message.
            let _ = file.take(PID_TEXT).read_to_string(&mut owner);
            bail!("process {} uses it: end that first, or give another path", owner.trim())
        }
        Err(error) => Err(error).context("can't lock it"),
    }
}

/// Makes sure, as far as the host allows, that `count` files can be opened for something that needs one for each of many.
/// The limit of a shell is often 1024.
pub fn make_room_for_files(count: u32) {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    if u64::from(count) > soft / 2 {
        // Whoever opens them finds out, should that not be enough.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, soft.saturating_add(count.into()).min(hard), hard);
    }
}

/// This process.
#[must_use]
pub fn id() -> i32 {
    std::process::id().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_lives_as_long_as_its_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let first = PidFile::create(&path).unwrap();
        let pid = format!("{}\n", std::process::id());
        assert_eq!(fs::read_to_string(&path).unwrap(), pid);

        let error = format!("{:#}", PidFile::create(&path).err().unwrap());
        assert!(error.contains("-pidfile") && error.contains(pid.trim()), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), pid);
        drop(first);
        assert!(!path.exists());

        fs::write(&path, "1234567890 left behind\n").unwrap();
        let second = PidFile::create(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), pid);
        // A file that somebody else put there stays.
        fs::remove_file(&path).unwrap();
        fs::write(&path, "theirs").unwrap();
        drop(second);
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
    }

    #[test]
    fn a_pid_file_that_can_t_be_written_is_reported() {
        for path in ["/nonexistent/pid", "/dev/null"] {
            let error = format!("{:#}", PidFile::create(Path::new(path)).err().unwrap());
            assert!(error.starts_with(&format!("-pidfile {path}: ")) && error.contains("give a"), "{error}");
        }
    }
}
