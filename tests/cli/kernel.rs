//! Kernels that can't be started: what the image, its initrd, its command line or the size of memory is to blame for.

use crate::machine::{check_failure, has_kvm};
use crate::support::temporary_directory;
use std::fs;

/// Offsets of the Linux boot protocol's setup header (Documentation/arch/x86/boot.rst).
mod header {
    pub const SETUP_SECTS: usize = 0x1f1;
    pub const SYSSIZE: usize = 0x1f4;
    pub const BOOT_FLAG: usize = 0x1fe;
    pub const JUMP: usize = 0x200;
    pub const MAGIC: usize = 0x202;
    pub const VERSION: usize = 0x206;
    pub const LOADFLAGS: usize = 0x211;
    pub const CODE32_START: usize = 0x214;
    pub const KERNEL_ALIGNMENT: usize = 0x230;
    pub const XLOADFLAGS: usize = 0x236;
    pub const CMDLINE_SIZE: usize = 0x238;
    pub const PREF_ADDRESS: usize = 0x258;
    pub const INIT_SIZE: usize = 0x260;
}

/// Command line that the kernel takes, in bytes.
const CMDLINE_SIZE: u32 = 2047;

/// An image that says all a bzImage has to say, and has no code. It needs `init_size` bytes of memory from 16 MiB on.
fn bzimage(init_size: u32) -> Vec<u8> {
    const CODE: usize = 0x1000;
    let mut image = vec![0; 0x400 + CODE];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(header::SETUP_SECTS, &[1]);
    put(header::SYSSIZE, &(CODE as u32 / 16).to_le_bytes());
    put(header::BOOT_FLAG, &[0x55, 0xaa]);
    // The jump over the header tells where it ends: at 0x26c.
    put(header::JUMP, &[0xeb, 0x6a]);
    put(header::MAGIC, b"HdrS");
    put(header::VERSION, &0x020f_u16.to_le_bytes());
    put(header::LOADFLAGS, &[1]);
    put(header::CODE32_START, &0x10_0000_u32.to_le_bytes());
    put(header::KERNEL_ALIGNMENT, &0x20_0000_u32.to_le_bytes());
    put(header::XLOADFLAGS, &[1]);
    put(header::CMDLINE_SIZE, &CMDLINE_SIZE.to_le_bytes());
    put(header::PREF_ADDRESS, &0x100_0000_u64.to_le_bytes());
    put(header::INIT_SIZE, &init_size.to_le_bytes());
    image
}

#[test]
fn what_goes_with_a_kernel_is_named_with_the_reason() {
    let directory = temporary_directory("initrds");
    let kernel = directory.join("bzImage");
    fs::write(&kernel, bzimage(0x10_0000)).unwrap();
    let kernel = kernel.to_str().unwrap();
    let folder = directory.to_str().unwrap();
    check_failure(
        &["-kernel", kernel, "-initrd", "/nonexistent/initrd"],
        &["`-initrd /nonexistent/initrd`", "No such file or directory"],
    );
    check_failure(&["-kernel", kernel, "-initrd", folder], &[&format!("`-initrd {folder}`"), "directory"]);
    let line = "x".repeat(CMDLINE_SIZE as usize + 1);
    check_failure(&["-kernel", kernel, "-append", &line], &["-append", "2048 bytes", "at most 2047"]);
}

#[test]
fn a_kernel_of_another_architecture_is_named_with_its_own() {
    const E_MACHINE: usize = 18;
    const EM_AARCH64: u16 = 183;
    let mut image = fs::read(env!("CARGO_BIN_EXE_natoma")).unwrap();
    image[E_MACHINE..E_MACHINE + 2].copy_from_slice(&EM_AARCH64.to_le_bytes());
    let path = temporary_directory("architecture").join("Image");
    fs::write(&path, image).unwrap();
    let path = path.to_str().unwrap();
    check_failure(&["-kernel", path], &["-kernel", path, "another machine", "AARCH64"]);
}

#[test]
fn an_endless_kernel_is_refused() {
    check_failure(&["-m", "16", "-kernel", "/dev/zero"], &["-kernel /dev/zero", "more than", "regular file"]);
}

#[test]
fn too_little_memory_for_the_kernel_is_told_with_the_size_it_needs() {
    if !has_kvm() {
        return;
    }
    let path = temporary_directory("memory").join("bzImage");
    // 496 MiB from 16 MiB on.
    fs::write(&path, bzimage(0x1f00_0000)).unwrap();
    let path = path.to_str().unwrap();
    check_failure(&["-m", "256", "-kernel", path], &["-kernel", path, "-m 512M"]);
}
