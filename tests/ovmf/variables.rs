//! A flash chip that the guest writes to, as UEFI firmware keeps its variables there. OVMF itself does not come that far on
//! a host that interprets the guest's kernel code; this firmware of 100 bytes does.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::{Machine, natoma};

/// One of both chips. The first ends at 4 GiB, the second lies below it.
const CHIP: usize = 0x1_0000;
/// Where in its chip the code lies; the chip begins at FFFF0000h.
const CODE_AT: usize = 0xf000;
/// Where a processor starts.
const RESET_AT: usize = 0xfff0;
const LIMIT: Duration = Duration::from_secs(60);

/// jmp near to [`CODE_AT`].
const RESET: &[u8] = &[0xe9, 0x0d, 0xf0];
/// Programs one more bit of the second chip's first byte to 0, and writes that byte, read again, to isa-debug-exit.
const CODE: &[u8] = &[
    0xfa, // cli
    0x2e, 0x66, 0x0f, 0x01, 0x16, 0x40, 0xf0, // lgdt cs:[f040h]
    0x0f, 0x20, 0xc0, // mov eax, cr0
    0x0c, 0x01, // or al, 1
    0x0f, 0x22, 0xc0, // mov cr0, eax
    0x66, 0xea, 0x20, 0xf0, 0xff, 0xff, 0x08, 0x00, // jmp 0008h:fffff020h
    0, 0, 0, 0, 0, 0, 0, 0, //
    0x66, 0xb8, 0x10, 0x00, // mov ax, 10h
    0x8e, 0xd8, // mov ds, ax
    0xbb, 0x00, 0x00, 0xfe, 0xff, // mov ebx, fffe0000h
    0x8a, 0x0b, // mov cl, [ebx]
    0x00, 0xc9, // add cl, cl
    0xc6, 0x03, 0x40, // mov byte [ebx], 40h: program
    0x88, 0x0b, // mov [ebx], cl
    0xc6, 0x03, 0xff, // mov byte [ebx], ffh: show the array
    0x8a, 0x03, // mov al, [ebx]
    0x66, 0xba, 0x01, 0x05, // mov dx, 501h
    0xee, // out dx, al
    0xeb, 0xfe, // jmp $
    0x1f, 0x00, 0x48, 0xf0, 0xff, 0xff, 0, 0, // the limit and address of what follows
    0, 0, 0, 0, 0, 0, 0, 0, // no segment
    0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0, // 0008h: code, all 4 GiB
    0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0, // 0010h: data, all 4 GiB
    0, 0, 0, 0, 0, 0, 0, 0,
];

/// The first chip.
fn code() -> Vec<u8> {
    let mut chip = vec![0xff; CHIP];
    chip[CODE_AT..][..CODE.len()].copy_from_slice(CODE);
    chip[RESET_AT..][..RESET.len()].copy_from_slice(RESET);
    chip
}

fn wait(machine: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = machine.try_wait().unwrap() {
            return status;
        }
        assert!(start.elapsed() < LIMIT, "it does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Starts a machine with two chips until it ends; the status is `value << 1 | 1` of what the guest wrote.
fn run(program: &OsStr, code: &Path, variables: &Path) -> Option<i32> {
    let mut command = Command::new(program);
    command.args(["-enable-kvm", "-nodefaults", "-display", "none", "-m", "16", "-device", "isa-debug-exit"]);
    command.arg("-drive").arg(format!("if=pflash,format=raw,readonly=on,file={}", code.display()));
    command.arg("-drive").arg(format!("if=pflash,format=raw,file={}", variables.display()));
    let mut machine = Machine(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("it starts"));
    wait(&mut machine.0).code()
}

/// Starts a machine three times, and returns what is left in the second chip.
fn run_three_times(program: &OsStr) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let [code_file, variables] = ["code", "variables"].map(|name| directory.path().join(name));
    fs::write(&code_file, code()).unwrap();
    fs::write(&variables, vec![0xff; CHIP]).unwrap();
    for left in [0xfe, 0xfc, 0xf8] {
        assert_eq!(run(program, &code_file, &variables), Some((left << 1 | 1) & 0xff), "to read {left:#x}");
    }
    assert_eq!(fs::read(&code_file).unwrap(), code(), "the first chip is read-only");
    fs::read(&variables).unwrap()
}

#[test]
fn what_a_guest_writes_survives_restarts() {
    if !Path::new("/dev/kvm").exists() {
        println!("SKIPPED: there is no /dev/kvm");
        return;
    }
    let mut expected = vec![0xff; CHIP];
    expected[0] = 0xf8;
    assert_eq!(run_three_times(&natoma()), expected);

    let qemu = OsStr::new("qemu-system-x86_64");
    if Command::new(qemu).arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("SKIPPED: {} is not installed", qemu.display());
        return;
    }
    assert_eq!(run_three_times(qemu), expected, "QEMU leaves something else");
}
