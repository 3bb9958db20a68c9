//! Pid files, sockets, the background, and 200 ends at random moments.

use std::fs;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

use crate::tools::{Guard, Random, Terminal, ended_by, has_kvm, natoma, wait_until};

const CYCLES: u64 = 200;

fn pid_of(path: &Path) -> Option<Pid> {
    fs::read_to_string(path).ok()?.trim().parse().ok().map(Pid::from_raw)
}

#[test]
fn random_signals_at_random_moments_leave_nothing_broken() {
    if !has_kvm() {
        return;
    }
    use Signal::{SIGHUP, SIGINT, SIGKILL, SIGTERM};
    // What nohup(1) ignores, and a shell in its background jobs, would be lost if it came before natoma takes it over.
    for signal in [SIGHUP, SIGINT] {
        // SAFETY: no handler is set.
        unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigDfl) }.unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (pid, socket) = (path("pid"), path("socket"));
    let serial = format!("unix:{socket},server=on,wait=off");
    let seed = u64::from(std::process::id());
    let mut random = Random(seed | 1);
    let terminal = Terminal::new();
    let before = terminal.modes();
    let mut longest = Duration::ZERO;
    for cycle in 0..CYCLES {
        let context = format!("seed {seed}, cycle {cycle}");
        let signal = [SIGTERM, SIGINT, SIGHUP, SIGKILL][random.below(4) as usize];
        let start = Instant::now();
        let arguments = ["-S", "-pidfile", &pid, "-serial", "mon:stdio", "-serial", &serial];
        let mut natoma = Guard::start(terminal.connect(&mut natoma(&arguments)));
        std::thread::sleep(Duration::from_micros(random.below(100_000)));
        natoma.kill(signal);
        let status = natoma.wait();
        longest = longest.max(start.elapsed());
        assert!(ended_by(status, signal), "{context}: {signal}: {status}");
        if signal == SIGKILL {
            // Nothing can be done about these two, but the next cycle must not mind: it takes them over.
            nix::sys::termios::tcsetattr(&terminal.slave, nix::sys::termios::SetArg::TCSANOW, &before).unwrap();
            continue;
        }
        assert_eq!(terminal.modes(), before, "{context}: {signal}");
        // What the cycle before left behind may be there still if this one ended before it came to that.
        if status.code().is_some()
            && pid_of(Path::new(&pid)).is_some_and(|pid| pid.as_raw() == natoma.0.id().cast_signed())
        {
            panic!("{context}: {signal}: the pid file is left");
        }
        assert!(terminal.is_blocking(), "{context}");
    }
    eprintln!("{CYCLES} cycles, the longest took {longest:?}");
    // And it still works with what is left.
    let mut natoma = Guard::start(&mut natoma(&["-S", "-pidfile", &pid, "-serial", &serial]));
    wait_until("a server", || UnixStream::connect(&socket).is_ok());
    natoma.kill(SIGTERM);
    natoma.wait();
    assert!(!Path::new(&pid).exists() && !Path::new(&socket).exists());
}

#[test]
fn a_pid_file_is_there_while_natoma_runs_and_belongs_to_one() {
    if !has_kvm() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pid");
    let arguments = ["-S", "-pidfile", path.to_str().unwrap()];
    let mut first = Guard::start(&mut natoma(&arguments));
    wait_until("a pid file", || pid_of(&path) == Some(Pid::from_raw(first.0.id().cast_signed())));
    let second = natoma(&arguments).output().unwrap();
    let message = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(message.contains("-pidfile") && message.contains(&first.0.id().to_string()), "{message}");
    assert!(path.exists());
    first.kill(Signal::SIGTERM);
    assert_eq!(first.wait().code(), Some(143));
    assert!(!path.exists());
}

#[test]
fn a_daemon_is_ready_when_its_parent_exits() {
    if !has_kvm() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    // Relative names mean the directory natoma was started in, though a daemon leaves it.
    let mut command = natoma(&["-S", "-daemonize", "-pidfile", "pid", "-serial", "unix:socket,server=on,wait=off"]);
    command.args(["-D", "log.%d"]);
    let parent = command.current_dir(&directory).output().unwrap();
    assert_eq!((parent.status.code(), parent.stderr.len()), (Some(0), 0), "{parent:?}");
    let pid_file = directory.path().join("pid");
    let pid = pid_of(&pid_file).expect("a pid file");
    UnixStream::connect(directory.path().join("socket")).unwrap();
    assert!(directory.path().join(format!("log.{pid}")).exists(), "the log has the number of the process that stays");
    for fd in 0..3 {
        assert_eq!(fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap(), Path::new("/dev/null"));
    }
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), Path::new("/"));
    assert_ne!(nix::unistd::getsid(Some(pid)).unwrap(), nix::unistd::getsid(None).unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    wait_until("the end of the daemon", || !pid_file.exists());
    wait_until("the end of the daemon", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        kill(pid, None) == Err(Errno::ESRCH) || stat.contains(") Z ")
    });
    assert!(!directory.path().join("socket").exists());
}

#[test]
fn a_daemon_that_can_t_start_tells_why() {
    let directory = tempfile::tempdir().unwrap();
    let pid_file = directory.path().join("pid");
    let arguments = ["-daemonize", "-pidfile", pid_file.to_str().unwrap(), "-serial", "file:/nonexistent/x"];
    let outcome = natoma(&arguments).output().unwrap();
    let message = String::from_utf8(outcome.stderr).unwrap();
    assert_eq!(outcome.status.code(), Some(1));
    assert!(message.contains("/nonexistent/x") && message.lines().count() == 1, "{message}");
    assert!(!pid_file.exists());
}

#[test]
fn the_process_has_the_name_it_is_given() {
    if !has_kvm() {
        return;
    }
    let mut natoma = Guard::start(natoma(&["-S", "-name", "guest,process=tester"]).stdout(Stdio::null()));
    let comm = format!("/proc/{}/comm", natoma.0.id());
    wait_until("a name", || fs::read_to_string(&comm).is_ok_and(|name| name == "tester\n"));
    natoma.kill(Signal::SIGTERM);
    natoma.wait();
}

/// natoma where it may have `soft` files open, and may raise that to `hard`.
fn limited(arguments: &[&str], soft: u64, hard: u64) -> Command {
    let mut command = natoma(arguments);
    let limit = move || Ok(setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?);
    // SAFETY: between fork and exec only a system call is made.
    unsafe { command.pre_exec(limit) };
    command
}

#[test]
fn processors_may_be_more_than_files_can_be_open() {
    if !has_kvm() {
        return;
    }
    let outcome = limited(&["-S", "-smp", "64"], 40, 40).output().unwrap();
    let message = String::from_utf8(outcome.stderr).unwrap();
    assert_eq!(outcome.status.code(), Some(1));
    assert!(message.contains("-smp: no file is left for CPU") && message.contains("ulimit -Hn"), "{message}");

    let directory = tempfile::tempdir().unwrap();
    let pid_file = directory.path().join("pid");
    let arguments = ["-S", "-smp", "64", "-daemonize", "-pidfile", pid_file.to_str().unwrap()];
    let parent = limited(&arguments, 40, 400).output().unwrap();
    assert_eq!((parent.status.code(), parent.stderr.len()), (Some(0), 0), "{parent:?}");
    kill(pid_of(&pid_file).expect("a pid file"), Signal::SIGTERM).unwrap();
    wait_until("the end of the daemon", || !pid_file.exists());
}

/// Whether the process has taken over its signals.
fn has_taken_over_signals(natoma: &Guard) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", natoma.0.id())).unwrap_or_default();
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
    blocked.is_some_and(|set| u64::from_str_radix(set.trim(), 16).unwrap() >> (Signal::SIGTERM as i32 - 1) & 1 == 1)
}

#[test]
fn a_signal_ends_it_whatever_it_waits_for() {
    if !has_kvm() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    // A kernel that never comes.
    let fifo = directory.path().join("fifo");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let mut waits_for_kernel = Guard::start(&mut natoma(&["-kernel", fifo.to_str().unwrap()]));
    // A standard error that nobody reads, where it wants to say that it ends.
    let pid_file = directory.path().join("pid");
    let (_reader, mut full) = io::pipe().unwrap();
    let flags = OFlag::from_bits_retain(fcntl(&full, FcntlArg::F_GETFL).unwrap());
    fcntl(&full, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).unwrap();
    while full.write(&[0; 4096]).is_ok() {}
    fcntl(&full, FcntlArg::F_SETFL(flags)).unwrap();
    let arguments = ["-S", "-pidfile", pid_file.to_str().unwrap()];
    let mut waits_for_reader = Guard::start(natoma(&arguments).stderr(full));
    for natoma in [&waits_for_kernel, &waits_for_reader] {
        wait_until("its own signals", || has_taken_over_signals(natoma));
        natoma.kill(Signal::SIGTERM);
    }
    for natoma in [&mut waits_for_kernel, &mut waits_for_reader] {
        assert_eq!(natoma.wait().code(), Some(143));
    }
}

#[test]
fn processors_are_stopped_whatever_became_of_signals_before() {
    if !has_kvm() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let [rom, socket, pid_file] = ["rom", "qmp", "pid"].map(|name| directory.path().join(name));
    // A processor that halts, with interrupts off.
    fs::write(&rom, vec![0xf4; 64 << 10]).unwrap();
    let mut command = natoma(&["-bios", rom.to_str().unwrap(), "-pidfile", pid_file.to_str().unwrap()]);
    command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", socket.display()));
    // All signals are blocked, and the user's processes have as many pending as they may.
    let hamper = || {
        SigSet::all().thread_block()?;
        Ok(setrlimit(Resource::RLIMIT_SIGPENDING, 0, 0)?)
    };
    // SAFETY: between fork and exec only two system calls are made.
    unsafe { command.pre_exec(hamper) };
    let mut natoma = Guard::start(&mut command);
    wait_until("a server", || UnixStream::connect(&socket).is_ok());
    // The processor is in the guest for good; it has to be got out of it.
    natoma.kill(Signal::SIGTERM);
    assert_eq!(natoma.wait().code(), Some(143));
    assert!(!pid_file.exists(), "the end had to be forced");
}
