//! What the tests of the firmware tables share: scratch directories, outside tools, and the memory of a QEMU machine.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, fs, process};

use super::layout::BIOS_SEGMENT;

/// A directory that is gone when the test is over.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// An empty directory; `name` tells the tests of one process apart.
    pub(super) fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("natoma-{}-{name}", process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// The path of a file in it.
    pub(super) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A leftover in the temporary directory is no reason to fail.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether a tool can be started; says so if not.
pub(super) fn installed(tool: &str) -> bool {
    let mut command = Command::new(tool);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let found = command.status().is_ok();
    if !found {
        eprintln!("SKIPPED: {tool} is not installed");
    }
    found
}

/// All that a command prints when it is given `input`, whatever its exit status.
pub(super) fn output(command: &mut Command, input: &str) -> String {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
}

/// What the firmware of another machine has put into its memory.
pub(super) struct GuestMemory {
    /// All of its RAM.
    pub ram: Vec<u8>,
}

impl GuestMemory {
    /// Search the BIOS segment as operating systems do. Returns the address and what is there.
    pub(super) fn find_in_bios_segment(&self, anchor: &[u8]) -> Option<(usize, &[u8])> {
        (BIOS_SEGMENT.start as usize..BIOS_SEGMENT.end as usize)
            .step_by(16)
            .map(|at| (at, &self.ram[at..]))
            .find(|(_, bytes)| bytes.starts_with(anchor))
    }
}

/// RAM of the QEMU machine in MiB.
pub(super) const RAM_MIB: u64 = 32;

/// A QEMU process that ends with the test, come what may.
struct Qemu(Child);

impl Drop for Qemu {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The memory of QEMU's `pc` once SeaBIOS is about to boot. `None`, loudly, without QEMU.
pub(super) fn qemu_memory(name: &str, args: &[&str]) -> Option<GuestMemory> {
    let program = "qemu-system-x86_64";
    if !installed(program) {
        return None;
    }
    let scratch = Scratch::new(&format!("qemu-{name}"));
    let (socket, dump) = (scratch.path("qmp"), scratch.path("ram"));
    let mut command = Command::new(program);
    command.args(["-accel", "tcg", "-machine", "pc", "-nodefaults", "-display", "none"]);
    command.arg("-m").arg(RAM_MIB.to_string());
    command.args(["-chardev", "stdio,id=log", "-device", "isa-debugcon,iobase=0x402,chardev=log"]);
    command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", socket.display())).args(args);
    let mut qemu = Qemu(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());

    let mut log = BufReader::new(qemu.0.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("Booting from") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "QEMU ended before SeaBIOS was done");
    }

    let mut qmp = BufReader::new(UnixStream::connect(&socket).unwrap());
    let mut execute = |command: &str| {
        writeln!(qmp.get_mut(), "{{{command}}}").unwrap();
        let mut answer = String::new();
        while !answer.starts_with(r#"{"return""#) {
            answer.clear();
            assert!(qmp.read_line(&mut answer).unwrap() > 0, "QEMU ended before it answered");
            assert!(!answer.starts_with(r#"{"error""#), "{command}: {answer}");
        }
    };
    let range = format!(r#""val":0,"size":{},"filename":"{}""#, RAM_MIB << 20, dump.display());
    execute(r#""execute":"qmp_capabilities""#);
    execute(&format!(r#""execute":"pmemsave","arguments":{{{range}}}"#));
    Some(GuestMemory { ram: fs::read(&dump).unwrap() })
}
