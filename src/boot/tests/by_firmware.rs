//! Kernels in parts for firmware. Expected values follow Linux's `Documentation/arch/x86/boot.rst`, and QEMU's rule for where an
//! initrd lies.

use std::ffi::OsStr;
use std::fs;

use super::images::BzImage;
use crate::boot::by_firmware::{FirmwareKernel, ROM};

const MIB: u64 = 1 << 20;

fn open(image: Vec<u8>, initrd: Option<Vec<u8>>, append: &str, ram: u64) -> Result<FirmwareKernel, String> {
    let directory = tempfile::tempdir().unwrap();
    let (kernel, initrd_file) = (directory.path().join("kernel"), directory.path().join("initrd"));
    fs::write(&kernel, image).unwrap();
    if let Some(initrd) = &initrd {
        fs::write(&initrd_file, initrd).unwrap();
    }
    let initrd = initrd.is_some().then_some(initrd_file.as_os_str()).map(OsStr::new);
    FirmwareKernel::open(&kernel, initrd, append.as_bytes(), ram)
        .map_err(|error| format!("{:#}", anyhow::Error::from(error)))
}

fn dword(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

#[test]
fn a_bzimage_is_laid_out_as_qemu_does() {
    let image = BzImage::default();
    let parts = open(image.build(), Some(vec![7; 5000]), "quiet vga=0x317", 64 * MIB).unwrap();
    assert_eq!(
        (parts.setup.address, parts.command_line.address, parts.kernel.address),
        (0x1_0000, 0x2_0000, 0x10_0000)
    );
    assert_eq!(parts.command_line.bytes, b"quiet vga=0x317\0");
    assert_eq!(parts.setup.bytes.len(), 28 * 512);
    assert!(parts.kernel.bytes.starts_with(&image.code));
    // Below what SeaBIOS may use for its tables, in whole pages: (64 MiB - 28000h - 1 - 5000) & ~0xfff.
    assert_eq!(parts.initrd.address, 0x3fd_6000);
    let setup = &parts.setup.bytes;
    assert_eq!((dword(setup, 0x218), dword(setup, 0x21c)), (0x3fd_6000, 5000));
    assert_eq!(setup[0x210], 0xb0);
    assert_eq!(setup[0x211] & 0x81, 0x81, "loaded high, with a heap");
    assert_eq!(setup[0x224..0x226], 0xfe00_u16.to_le_bytes());
    assert_eq!(dword(setup, 0x228), 0x2_0000);
    assert_eq!(setup[0x1fa..0x1fc], 0x317_u16.to_le_bytes());
}

#[test]
fn an_initrd_stays_below_the_kernels_limit() {
    let parts = open(BzImage::linux_2_4().build(), Some(vec![1; 4096]), "", 2048 * MIB).unwrap();
    assert_eq!(parts.initrd.address, 0x37ff_e000);
    let none = open(BzImage::default().build(), None, "", 64 * MIB).unwrap();
    assert_eq!((none.initrd.address, none.initrd.bytes.len()), (0, 0));
    let refusal = |ram| open(BzImage::default().build(), Some(vec![1; 3 << 20]), "", ram).map(|_| ()).unwrap_err();
    assert!(refusal(4 * MIB).contains("give the machine more"), "{}", refusal(4 * MIB));
}

/// What has to start in real mode can: this is how.
#[test]
fn old_kernels_are_loaded_low() {
    let parts = open(BzImage { loadflags: 0, ..BzImage::default() }.build(), None, "root=/dev/fd0", 64 * MIB).unwrap();
    assert_eq!((parts.setup.address, parts.kernel.address), (0x9_0000, 0x1_0000));
    assert_eq!(parts.command_line.address, 0x9_a000 - 14);
    let parts = open(BzImage { version: 0x201, ..BzImage::default() }.build(), None, "x", 64 * MIB).unwrap();
    assert_eq!(parts.setup.bytes[0x20..0x24], [0x3f, 0xa3, 0, 0], "the mark, and the offset modulo 64 KiB");
}

#[test]
fn what_firmware_cannot_start_is_refused() {
    let refusal = |image: Vec<u8>, append: &str| open(image, None, append, 64 * MIB).map(|_| ()).unwrap_err();
    assert!(refusal(vec![0x90; 4096], "").contains("not a Linux kernel"));
    assert!(refusal(Vec::new(), "").contains("not a Linux kernel"));
    assert!(refusal(BzImage::default().build()[..0x300].to_vec(), "").contains("truncated"));
    assert!(refusal(BzImage::default().build(), &"x".repeat(0x1_0000)).contains("-append"));
    assert!(refusal(BzImage::default().build(), "a\0b").contains("zero byte"));
}

/// Plug and Play BIOS Specification 1.0A, section 3.
#[test]
fn the_option_rom_offers_a_bootstrap_entry() {
    let sum = |bytes: &[u8]| bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    assert_eq!(ROM[..2], [0x55, 0xaa]);
    assert_eq!(ROM.len(), 512 * usize::from(ROM[2]));
    assert_eq!(sum(ROM), 0);
    let pnp = &ROM[usize::from(ROM[0x1a])..];
    assert!(pnp.starts_with(b"$PnP"));
    assert_eq!(sum(&pnp[..16 * usize::from(pnp[5])]), 0);
    assert_eq!(ROM[3], 0xcb, "initialisation returns at once, by a far return");
    assert_ne!(pnp[0x1a..0x1c], [0, 0]);
}
