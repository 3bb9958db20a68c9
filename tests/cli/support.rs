//! Running natoma.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// How a process ended and what it printed.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs natoma without input until it ends.
pub fn natoma(arguments: &[impl AsRef<OsStr>]) -> Outcome {
    outcome(Command::new(env!("CARGO_BIN_EXE_natoma")).args(arguments))
}

/// Runs natoma by `runner` in a mount namespace of its own, after a script has changed what is mounted there. `None` if this
/// user may not do that, or if the runner may not run natoma.
pub fn natoma_in_shell(script: &str, runner: &str) -> Option<Outcome> {
    const SCRIPT_FAILED: i32 = 99;
    let shell = format!("{{ {script}; }} 2> /dev/null || exit {SCRIPT_FAILED}\nexec {runner} \"$0\"");
    let outcome = outcome(Command::new("unshare").args(["--mount", "sh", "-c", &shell, env!("CARGO_BIN_EXE_natoma")]));
    let not_allowed =
        outcome.status == SCRIPT_FAILED || ["unshare:", "setpriv:"].iter().any(|tool| outcome.stderr.starts_with(tool));
    (!not_allowed).then_some(outcome)
}

fn outcome(command: &mut Command) -> Outcome {
    let output = command.stdin(Stdio::null()).output().expect("the process starts");
    Outcome {
        status: output.status.code().expect("the process was not killed"),
        stdout: String::from_utf8(output.stdout).expect("natoma prints UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("natoma prints UTF-8"),
    }
}

/// An empty directory for one test, below cargo's own.
pub fn temporary_directory(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{name}"));
    match std::fs::remove_dir_all(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{}: {error}", path.display()),
        _ => {}
    }
    std::fs::create_dir_all(&path).expect("the directory can be made");
    path
}
