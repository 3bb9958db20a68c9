//! The terminal is left as it was found, whatever ends natoma.

use std::env;
use std::io::{Read, stdin};
use std::process::Command;

use natoma::host::terminal;
use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, Termios};

use crate::tools::{Guard, Terminal, ended_by, has_kvm, natoma, wait_until};

fn is_raw(modes: &Termios) -> bool {
    !modes.local_flags.intersects(LocalFlags::ICANON | LocalFlags::ECHO)
}

/// Starts natoma on a terminal and waits until that is raw.
fn start(terminal: &Terminal, arguments: &[&str]) -> Guard {
    let guard = Guard::start(terminal.connect(&mut natoma(arguments)));
    wait_until("a raw terminal", || is_raw(&terminal.modes()));
    guard
}

#[test]
fn every_ending_restores_the_terminal() {
    if !has_kvm() {
        return;
    }
    use Signal::{SIGABRT, SIGHUP, SIGINT, SIGQUIT, SIGSEGV, SIGTERM, SIGUSR1};
    for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGSEGV, SIGABRT, SIGUSR1] {
        let terminal = Terminal::new();
        let before = terminal.modes();
        let mut natoma = start(&terminal, &["-S", "-serial", "mon:stdio"]);
        natoma.kill(signal);
        let status = natoma.wait();
        assert!(ended_by(status, signal), "{signal}: {status}");
        assert_eq!(terminal.modes(), before, "{signal}");
        assert!(terminal.is_blocking());
    }
}

#[test]
fn ctrl_a_x_ends_natoma_and_restores_the_terminal() {
    if !has_kvm() {
        return;
    }
    let mut terminal = Terminal::new();
    let before = terminal.modes();
    let mut natoma = start(&terminal, &["-S", "-serial", "mon:stdio"]);
    // Ctrl-C is the guest's.
    assert!(!terminal.modes().local_flags.contains(LocalFlags::ISIG));
    terminal.type_keys(b"\x03\x1a\x01x");
    assert_eq!(natoma.wait().code(), Some(0));
    assert_eq!(terminal.modes(), before);
}

#[test]
fn ctrl_c_ends_natoma_where_signals_are_on() {
    if !has_kvm() {
        return;
    }
    let mut terminal = Terminal::new();
    let before = terminal.modes();
    let mut natoma = start(&terminal, &["-S", "-serial", "stdio"]);
    terminal.type_keys(b"\x03");
    let status = natoma.wait();
    assert!(ended_by(status, Signal::SIGINT), "{status}");
    assert_eq!(terminal.modes(), before);
}

#[test]
fn an_error_restores_the_terminal() {
    let mut terminal = Terminal::new();
    let before = terminal.modes();
    let arguments =
        ["-chardev", "stdio,id=a,signal=off", "-chardev", "file,id=b,path=/nonexistent/b", "-serial", "chardev:a"];
    let mut natoma = Guard::start(terminal.connect(&mut natoma(&arguments)));
    assert_eq!(natoma.wait().code(), Some(1));
    terminal.expect("/nonexistent/b");
    assert_eq!(terminal.modes(), before);
}

#[test]
fn a_stop_restores_the_terminal_until_natoma_goes_on() {
    if !has_kvm() {
        return;
    }
    let terminal = Terminal::new();
    let before = terminal.modes();
    let mut natoma = start(&terminal, &["-S", "-serial", "stdio"]);
    natoma.kill(Signal::SIGTSTP);
    wait_until("a terminal as it was", || terminal.modes() == before);
    natoma.kill(Signal::SIGCONT);
    wait_until("a raw terminal", || is_raw(&terminal.modes()));
    natoma.kill(Signal::SIGTERM);
    natoma.wait();
    assert_eq!(terminal.modes(), before);
}

#[test]
fn the_guest_s_own_end_restores_the_terminal() {
    if !has_kvm() {
        return;
    }
    let mut terminal = Terminal::new();
    let before = terminal.modes();
    let mut natoma = start(&terminal, &["-serial", "mon:stdio"]);
    terminal.expect("Powering off");
    assert_eq!(natoma.wait().code(), Some(0));
    assert_eq!(terminal.modes(), before);
}

#[test]
fn a_terminal_that_vanishes_is_an_orderly_end() {
    if !has_kvm() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let pid_file = directory.path().join("pid");
    let terminal = Terminal::new();
    let mut natoma = start(&terminal, &["-S", "-serial", "mon:stdio", "-pidfile", pid_file.to_str().unwrap()]);
    // Closing the controlling side hangs up: SIGHUP, and neither input nor output any more.
    drop(terminal);
    let status = natoma.wait();
    assert_eq!(status.code(), Some(128 + Signal::SIGHUP as i32), "{status}");
    assert!(!pid_file.exists());
}

/// Set in the process that [`panics_on_a_terminal`] is to panic in.
const PANIC: &str = "NATOMA_TEST_PANIC";
/// How libtest ends if a test fails.
const TESTS_FAILED: i32 = 101;

/// The other half of [`a_panic_restores_the_terminal`], which nothing in natoma could be made to do from outside.
#[test]
fn panics_on_a_terminal() {
    if env::var_os(PANIC).is_some() {
        terminal::make_raw(false).unwrap();
        stdin().read_exact(&mut [0]).unwrap();
        panic!("a key was pressed");
    }
}

#[test]
fn a_panic_restores_the_terminal() {
    let mut terminal = Terminal::new();
    let before = terminal.modes();
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "terminal::panics_on_a_terminal", "--nocapture"]).env(PANIC, "1");
    let mut panics = Guard::start(terminal.connect(&mut command));
    wait_until("a raw terminal", || is_raw(&terminal.modes()));
    terminal.type_keys(b"x");
    terminal.expect("a key was pressed");
    // The message comes after the terminal is as it was; nothing else in this process would restore it.
    assert_eq!(terminal.modes(), before);
    assert_eq!(panics.wait().code(), Some(TESTS_FAILED));
    assert_eq!(terminal.modes(), before);
}
