//! The three that are compared, and how each is told to run a guest.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{bare, rom};

/// Guest RAM in MiB, of every guest here.
pub const RAM_MIB: u64 = 128;

/// The program to compare with.
pub const QEMU: &str = "qemu-system-x86_64";

/// What runs a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Monitor {
    /// The one that this is about.
    Natoma,
    /// `qemu-system-x86_64`.
    Qemu,
    /// The KVM calls that a guest needs, and nothing else: see [`bare`].
    Bare,
}

impl Monitor {
    /// As the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Natoma => "natoma",
            Self::Qemu => "QEMU",
            Self::Bare => "bare",
        }
    }
}

/// The programs.
pub struct Monitors {
    /// natoma, built together with this program.
    pub natoma: &'static Path,
    /// QEMU's first line of `--version`, if it is installed.
    pub qemu_version: Option<String>,
    this: PathBuf,
    images: rom::Images,
}

impl Monitors {
    /// Finds what is installed.
    pub fn find() -> Result<Self> {
        let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench"));
        let qemu_version = qemu_version();
        if qemu_version.is_none() {
            eprintln!("SKIPPED: {QEMU} is not installed, so natoma is not compared with it");
        }
        Ok(Self {
            natoma: Path::new(env!("CARGO_BIN_EXE_natoma")),
            qemu_version,
            this: env::current_exe().context("can't find this program")?,
            images: rom::write(directory).with_context(|| format!("can't write to {}", directory.display()))?,
        })
    }

    /// Those that can be run.
    pub fn all(&self) -> Vec<Monitor> {
        let qemu = self.qemu_version.is_some().then_some(Monitor::Qemu);
        [Some(Monitor::Natoma), qemu, Some(Monitor::Bare)].into_iter().flatten().collect()
    }

    /// A guest whose first instruction writes a byte to standard output. Nothing is said of what it does then.
    pub fn first_instruction(&self, monitor: Monitor) -> Command {
        match monitor {
            Monitor::Natoma => {
                let mut command = self.command(monitor);
                command.arg("-kernel").arg(&self.images.kernel);
                mark(command)
            }
            Monitor::Qemu => {
                let mut command = self.command(monitor);
                command.arg("-bios").arg(&self.images.firmware);
                mark(command)
            }
            Monitor::Bare => bare::first_instruction(self.command(monitor)),
        }
    }

    /// The guest at `path` with this command line, its mark on standard output and nothing else.
    pub fn marked_guest(&self, monitor: Monitor, path: &str, append: &str) -> Command {
        let mut command = self.command(monitor);
        command.args(["-kernel", path, "-append", append]);
        mark(command)
    }

    /// The guest at `path` with this command line, its first serial port on standard output.
    pub fn guest(&self, monitor: Monitor, path: &str, append: &str) -> Command {
        let mut command = self.command(monitor);
        match monitor {
            Monitor::Natoma | Monitor::Qemu => {
                command.args(["-kernel", path, "-append", append, "-serial", "stdio", "-no-reboot"]);
            }
            Monitor::Bare => return bare::guest(command, path, append),
        }
        command
    }

    /// A machine without anything that was not asked for.
    pub fn command(&self, monitor: Monitor) -> Command {
        let mut command = match monitor {
            Monitor::Natoma => Command::new(self.natoma),
            Monitor::Qemu => Command::new(QEMU),
            Monitor::Bare => return Command::new(&self.this),
        };
        command.args(["-enable-kvm", "-machine", "pc", "-nodefaults", "-display", "none"]);
        command.args(["-m", &RAM_MIB.to_string()]);
        // What it warns of (features of its default CPU that the host lacks) it warns of at every start.
        command.stderr(if monitor == Monitor::Qemu { Stdio::null() } else { Stdio::inherit() });
        command
    }
}

/// Puts on standard output what the guest writes to the port of its mark.
fn mark(mut command: Command) -> Command {
    let device = format!("isa-debugcon,iobase={:#x},chardev=mark", rom::MARK);
    command.args(["-device", &device, "-chardev", "stdio,id=mark"]);
    command
}

fn qemu_version() -> Option<String> {
    let output = Command::new(QEMU).arg("--version").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(str::to_owned)
}
