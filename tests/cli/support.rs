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
    let output = Command::new(env!("CARGO_BIN_EXE_natoma"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("natoma starts");
    Outcome {
        status: output.status.code().expect("natoma was not killed"),
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
