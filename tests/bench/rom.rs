//! Images whose very first instruction writes to [`MARK`]: what shows when a guest begins.
//!
//! QEMU can't start a kernel without firmware in between. With firmware that is nothing but the mark, its first guest
//! instruction is seen as early as natoma's, and nothing of what firmware does is counted. natoma gets a kernel that is
//! as small: what a larger one takes to be read is the kernel's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The port that the first instruction of every guest here writes to.
pub const MARK: u16 = 0xf4;

/// The least that QEMU takes. It ends at 4 GiB, 16 bytes above the processor's first instruction.
const SIZE: usize = 64 << 10;
const RESET_VECTOR: usize = SIZE - 16;

/// `out 0xf4, al`, then `hlt` for ever. Interrupts are off.
const CODE: [u8; 5] = [0xe6, MARK as u8, 0xf4, 0xeb, 0xfd];

/// The images.
pub struct Images {
    /// Firmware, for QEMU.
    pub firmware: PathBuf,
    /// A kernel, for natoma.
    pub kernel: PathBuf,
}

/// Writes the images to `directory`.
pub fn write(directory: &Path) -> io::Result<Images> {
    let mut firmware = vec![0xf4; SIZE];
    firmware[RESET_VECTOR..RESET_VECTOR + CODE.len()].copy_from_slice(&CODE);
    fs::create_dir_all(directory)?;
    let images =
        Images { firmware: directory.join("first-instruction.rom"), kernel: directory.join("first-instruction.elf") };
    fs::write(&images.firmware, firmware)?;
    fs::write(&images.kernel, kernel())?;
    Ok(images)
}

/// Where the kernel is loaded, file headers and all.
const BASE: u64 = 0x10_0000;

/// A kernel in an ELF file with a PVH entry point.
fn kernel() -> Vec<u8> {
    const EHDR: u64 = 64;
    const PHDR: u64 = 56;
    let (note, code) = (EHDR + 2 * PHDR, EHDR + 2 * PHDR + 20);
    let size = code + CODE.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    let mut put = |size: usize, value: u64| file.extend_from_slice(&value.to_le_bytes()[..size]);
    // ELF header: an executable for x86-64.
    for (size, value) in [(2, 2), (2, 62), (4, 1), (8, BASE + code), (8, EHDR), (8, 0), (4, 0)] {
        put(size, value);
    }
    for value in [EHDR, PHDR, 2, 0, 0, 0] {
        put(2, value);
    }
    // Segments: all of the file (PT_LOAD), the note (PT_NOTE).
    for (kind, offset, len) in [(1, 0, size), (4, note, code - note)] {
        for (size, value) in
            [(4, kind), (4, 5), (8, offset), (8, BASE + offset), (8, BASE + offset), (8, len), (8, len)]
        {
            put(size, value);
        }
        put(8, 4);
    }
    // The note: XEN_ELFNOTE_PHYS32_ENTRY of "Xen".
    for value in [4, 4, 18, u64::from(u32::from_le_bytes(*b"Xen\0")), BASE + code] {
        put(4, value);
    }
    file.extend_from_slice(&CODE);
    file
}
