//! A real Linux kernel reads what it has been given: the test kernel runs on a bare virtual CPU until it has printed, on an
//! emulated serial port that only transmits, what it found in the zero page or in `hvm_start_info`.

use std::env;
use std::path::{Path, PathBuf};

use kvm_ioctls::VcpuExit;

use super::*;
use crate::boot::Protocol;

const COM1: u16 = 0x3f8;
const LINE_STATUS: u16 = COM1 + 5;
const TRANSMITTER_EMPTY: u8 = 0x60;
const CMDLINE: &str = "earlyprintk=serial,ttyS0,115200 nokaslr";

/// A file of the test kernel, or `None` (said loudly) if it has not been built.
fn test_kernel(file: &str) -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-kernel");
    let path = env::var_os("NATOMA_TEST_KERNEL_DIR").map_or_else(default, PathBuf::from).join(file);
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: no test kernel at {} (resources/test-kernel/build.sh builds it)", path.display());
    None
}

/// Runs the kernel until it has printed `last`; returns all it has printed.
fn console(machine: &Machine, entry: &Entry, last: &str) -> Option<String> {
    let mut vm = cpu::vm(&machine.mem, entry)?;
    let mut text = String::new();
    while !text.contains(last) || !text.ends_with('\n') {
        match vm.vcpu.run().unwrap() {
            VcpuExit::IoOut(COM1, data) => text.push(data[0].into()),
            VcpuExit::IoIn(LINE_STATUS, data) => data.fill(TRANSMITTER_EMPTY),
            VcpuExit::IoIn(_, data) | VcpuExit::MmioRead(_, data) => data.fill(0xff),
            VcpuExit::IoOut(..) | VcpuExit::MmioWrite(..) => {}
            other => panic!("{other:?} after:\n{text}"),
        }
    }
    Some(text)
}

/// Lets the test kernel tell what it was given.
fn check(file: &str, protocol: Protocol, edit: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let Some(path) = test_kernel(file) else { return };
    let kernel = Image::from_bytes(file, edit(std::fs::read(path).unwrap()));
    let mut boot = DirectBoot::new(kernel, CMDLINE.as_bytes()).unwrap();
    assert_eq!(boot.protocol(), protocol);
    boot = boot.with_initrd(Image::from_bytes("initrd", vec![0; 300_000]));
    let machine = Machine::new(96);
    let entry = machine.load(&mut boot).unwrap();
    let Some(text) = console(&machine, &entry, "RAMDISK:") else { return };
    for line in [
        "Linux version 6.1.",
        &format!("Command line: {CMDLINE}"),
        "BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable",
        "BIOS-e820: [mem 0x0000000000100000-0x0000000005fdffff] usable",
        "BIOS-e820: [mem 0x0000000005fe0000-0x0000000005ffffff] ACPI data",
        "BIOS-e820: [mem 0x00000000feffc000-0x00000000feffffff] reserved",
        "RAMDISK: [mem 0x05f96000-0x05fdffff]",
    ] {
        assert!(text.contains(line), "no `{line}` in:\n{text}");
    }
}

#[test]
fn linux_reads_the_zero_page_of_a_vmlinux() {
    check("vmlinux-up", Protocol::Linux64, |kernel| kernel);
}

#[test]
fn linux_reads_the_zero_page_of_a_bzimage() {
    check("bzImage-up", Protocol::Linux64, |kernel| kernel);
}

/// A vmlinux that does not look like Linux, so that its PVH note decides.
fn disguise(mut vmlinux: Vec<u8>) -> Vec<u8> {
    let headers = u64::from_le_bytes(vmlinux[0x20..0x28].try_into().unwrap()) as usize;
    let count = usize::from(u16::from_le_bytes([vmlinux[0x38], vmlinux[0x39]]));
    for header in (0..count).map(|i| headers + 56 * i) {
        vmlinux.copy_within(header + 0x18..header + 0x20, header + 0x10); // p_vaddr = p_paddr
    }
    let is_note_name = |bytes: &[u8]| bytes == b"Linux\0\0\0";
    while let Some(at) = vmlinux.windows(8).position(is_note_name) {
        vmlinux[at] = b'l';
    }
    vmlinux
}

#[test]
fn linux_reads_the_start_info_of_pvh() {
    check("vmlinux-up", Protocol::Pvh, disguise);
}
