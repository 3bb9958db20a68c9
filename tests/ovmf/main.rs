//! UEFI firmware (OVMF, Debian package ovmf) in flash chips, as far as it comes in reasonable time on a host that interprets
//! the guest's kernel code: to where it unpacks itself, which takes a long time there and makes no accesses to devices.
//!
//! QEMU 7.2 on such a host ends an access earlier, with an internal error of KVM at `fwait`. Until there OVMF writes
//! neither to its debug port (402h) nor to port 80h.

mod variables;

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

const CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
const LIMIT: Duration = Duration::from_secs(180);

/// What OVMF does first: it looks for a PIIX4, gives its power management block an address and opens it, and then reads why
/// it was started. QEMU's trace shows the same accesses with the same values.
const ACCESSES: [&str; 19] = [
    "pci-conf-idx: Port read at 0xcf8: [00, 00, 00, 00]",
    "pci-conf-idx: Port write at 0xcf8: [00, 00, 00, 80]",
    "pci-conf-data: Port read at 0xcfe: [37, 12]",
    "pci-conf-idx: Port write at 0xcf8: [00, 00, 00, 00]",
    "pci-conf-idx: Port read at 0xcf8: [00, 00, 00, 00]",
    "pci-conf-idx: Port write at 0xcf8: [80, 0b, 00, 80]",
    "pci-conf-data: Port read at 0xcfc: [00]",
    "pci-conf-idx: Port write at 0xcf8: [00, 00, 00, 00]",
    "pci-conf-idx: Port read at 0xcf8: [00, 00, 00, 00]",
    "pci-conf-idx: Port write at 0xcf8: [40, 0b, 00, 80]",
    "pci-conf-data: Port read at 0xcfc: [01, 00, 00, 00]",
    "pci-conf-data: Port write at 0xcfc: [01, b0, 00, 00]",
    "pci-conf-idx: Port write at 0xcf8: [00, 00, 00, 00]",
    "pci-conf-idx: Port read at 0xcf8: [00, 00, 00, 00]",
    "pci-conf-idx: Port write at 0xcf8: [80, 0b, 00, 80]",
    "pci-conf-data: Port read at 0xcfc: [00]",
    "pci-conf-data: Port write at 0xcfc: [01]",
    "pci-conf-idx: Port write at 0xcf8: [00, 00, 00, 00]",
    "rtc: Port write at 0x70: [0f]",
];

/// Ends the machine with the test.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program under test.
fn natoma() -> OsString {
    std::env::var_os("NATOMA_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_natoma").into())
}

#[test]
fn ovmf_starts_from_its_flash_chip() {
    if !Path::new("/dev/kvm").exists() {
        println!("SKIPPED: there is no /dev/kvm");
        return;
    }
    if !Path::new(CODE).exists() {
        println!("SKIPPED: there is no {CODE} (Debian: package ovmf)");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let variables = directory.path().join("variables");
    fs::copy(VARIABLES, &variables).expect("a copy of the variables");
    let mut command = Command::new(natoma());
    command.args(["-nodefaults", "-display", "none", "-m", "128", "-d", "trace:access"]);
    command.arg("-drive").arg(format!("if=pflash,format=raw,readonly=on,file={CODE}"));
    command.arg("-drive").arg(format!("if=pflash,format=raw,file={}", variables.display()));
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut machine = Machine(child.expect("natoma starts"));
    let output = BufReader::new(machine.0.stderr.take().expect("its standard error"));
    let (sender, lines) = mpsc::channel();
    // natoma may have something to say of the host besides.
    let accesses = output.lines().map_while(Result::ok).filter(|line| line.contains(": Port "));
    std::thread::spawn(move || accesses.into_iter().try_for_each(|line| sender.send(line)));

    let end = Instant::now() + LIMIT;
    for expected in ACCESSES {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => assert!(line.ends_with(expected), "OVMF does {line:?} instead of {expected:?}"),
            Err(RecvTimeoutError::Timeout) => panic!("no {expected:?} in {LIMIT:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("natoma ended before {expected:?}"),
        }
    }
}
