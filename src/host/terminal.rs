//! The terminal that natoma was started from: raw while a guest uses it, as it was on every way out.
//!
//! It is restored by [`restore`] when natoma ends or reports an error, by a hook when it panics, by a signal handler
//! when a signal is about to kill it, and by [`suspend`] before it stops. Only SIGKILL leaves it raw.

use std::io;
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::libc::{self, c_int, c_void, siginfo_t, termios};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use nix::unistd::{getpgrp, isatty};

/// The terminal is the one on standard input, as in QEMU.
const TERMINAL: c_int = libc::STDIN_FILENO;

/// Signals whose default action ends the process and that nothing else handles.
const FATAL: [Signal; 16] = [
    Signal::SIGQUIT,
    Signal::SIGILL,
    Signal::SIGTRAP,
    Signal::SIGABRT,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGSEGV,
    Signal::SIGSYS,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGXCPU,
    Signal::SIGIO,
    Signal::SIGPWR,
];

/// Modes of the terminal, and what is to be done with fatal signals.
struct Saved {
    /// As it was.
    cooked: termios,
    /// As the guest needs it.
    raw: termios,
    /// The actions that [`on_fatal_signal`] replaced.
    actions: [Option<libc::sigaction>; FATAL.len()],
}

static SAVED: OnceLock<Saved> = OnceLock::new();
/// Whether the terminal is raw now.
static RAW: AtomicBool = AtomicBool::new(false);

/// Makes the terminal raw if standard input is one: every byte that is typed arrives, and nothing is echoed. Output
/// processing stays on. Without `signal` Ctrl-C, Ctrl-Z and Ctrl-\ are bytes like all others.
///
/// # Errors
/// The terminal can't be set up.
pub fn make_raw(signal: bool) -> io::Result<()> {
    if !isatty(io::stdin()).unwrap_or(false) {
        return Ok(());
    }
    if !is_in_foreground() {
        // The shell has the terminal in modes of its own: wait until it gives the terminal to us.
        raise(Signal::SIGTTOU)?;
    }
    let mut modes = MaybeUninit::uninit();
    // SAFETY: the descriptor is a terminal, and the modes are written to `modes`, which outlives the call.
    if unsafe { libc::tcgetattr(TERMINAL, modes.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it wrote the modes.
    let cooked: termios = unsafe { modes.assume_init() };
    let mut raw = cooked;
    raw.c_iflag &= !(libc::IGNBRK
        | libc::BRKINT
        | libc::PARMRK
        | libc::ISTRIP
        | libc::INLCR
        | libc::IGNCR
        | libc::ICRNL
        | libc::IXON);
    raw.c_oflag |= libc::OPOST;
    raw.c_lflag &= !(libc::ECHO | libc::ECHONL | libc::ICANON | libc::IEXTEN);
    if !signal {
        raw.c_lflag &= !libc::ISIG;
    }
    raw.c_cflag &= !(libc::CSIZE | libc::PARENB);
    raw.c_cflag |= libc::CS8;
    raw.c_cc[libc::VMIN] = 1;
    raw.c_cc[libc::VTIME] = 0;

    let actions = FATAL.map(current_action);
    if SAVED.set(Saved { cooked, raw, actions }).is_err() {
        return Err(io::Error::other("the terminal is in use already"));
    }
    restore_on_panic();
    for signal in FATAL {
        take_over(signal)?;
    }
    apply();
    Ok(())
}

/// Whether the terminal is ours to set up. A process that has no say in the matter (another session's terminal) may.
fn is_in_foreground() -> bool {
    // SAFETY: only asks, and may be called by a signal handler.
    let group = unsafe { libc::tcgetpgrp(TERMINAL) };
    group < 0 || group == getpgrp().as_raw()
}

/// Makes the terminal raw (again).
fn apply() {
    let Some(saved) = SAVED.get() else { return };
    RAW.store(true, Ordering::SeqCst);
    set_modes(&saved.raw);
}

/// Puts the terminal back to what it was. May be called at any time, from a signal handler too.
pub fn restore() {
    if !RAW.swap(false, Ordering::SeqCst) {
        return;
    }
    // A shell that stopped us has set its own modes; ours are none of its business.
    if let Some(saved) = SAVED.get()
        && is_in_foreground()
    {
        set_modes(&saved.cooked);
    }
}

/// Sets the modes even if the terminal has been taken away from us in this moment.
fn set_modes(modes: &termios) {
    let mut blocked = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: writes the set, which outlives the call.
    unsafe { libc::sigemptyset(blocked.as_mut_ptr()) };
    // SAFETY: the set is initialised, and the signal exists.
    unsafe { libc::sigaddset(blocked.as_mut_ptr(), libc::SIGTTOU) };
    // SAFETY: reads the initialised set and writes the other one, which both outlive the call.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, blocked.as_ptr(), before.as_mut_ptr()) };
    // It fails if the terminal has gone (a hang-up), and then there is nothing to restore.
    // SAFETY: reads the modes, which outlive the call.
    unsafe { libc::tcsetattr(TERMINAL, libc::TCSANOW, modes) };
    // SAFETY: the set was written by the call above, which can't fail with valid arguments.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
}

/// Stops the process as Ctrl-Z does, with the terminal as it was. To be followed by [`resume`] at SIGCONT.
pub fn suspend() {
    restore();
    // It can't fail: the signal exists.
    let _ = raise(Signal::SIGSTOP);
}

/// Makes the terminal raw again after a stop, unless natoma goes on in the background.
pub fn resume() {
    if is_in_foreground() {
        apply();
    }
}

/// In a release build a panic aborts: nothing else would restore the terminal.
fn restore_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        restore();
        report(info);
    }));
}

/// What happens on a signal now.
fn current_action(signal: Signal) -> Option<libc::sigaction> {
    let mut action = MaybeUninit::uninit();
    // SAFETY: writes the action, which outlives the call, and changes nothing.
    let result = unsafe { libc::sigaction(signal as c_int, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: a successful call wrote the action.
    (result == 0).then(|| unsafe { action.assume_init() })
}

fn take_over(signal: Signal) -> nix::Result<()> {
    let handler = SigHandler::SigAction(on_fatal_signal);
    let action = SigAction::new(handler, SaFlags::SA_ONSTACK, SigSet::from(Signal::SIGTTOU));
    // SAFETY: the handler calls async-signal-safe functions only.
    unsafe { sigaction(signal, &action) }.map(drop)
}

/// Restores the terminal and lets the signal do what it would have done.
extern "C" fn on_fatal_signal(number: c_int, info: *mut siginfo_t, _context: *mut c_void) {
    restore();
    let Ok(signal) = Signal::try_from(number) else { return };
    // SAFETY: the kernel passes a valid pointer.
    let is_fault = unsafe { (*info).si_code } > 0;
    let before = FATAL.iter().position(|fatal| *fatal == signal);
    let before = before.and_then(|index| SAVED.get()?.actions[index]);
    match before {
        // The faulting instruction is executed again and meets the handler that reports stack overflows.
        Some(before) if is_fault => {
            // SAFETY: the action is the one that was in force before, with the flags that belong to its handler.
            unsafe { libc::sigaction(number, &before, std::ptr::null_mut()) };
        }
        _ => {
            let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
            // SAFETY: there is no handler.
            let _ = unsafe { sigaction(signal, &default) };
        }
    }
    if !is_fault {
        // It is delivered when this handler returns.
        let _ = raise(signal);
    }
}
