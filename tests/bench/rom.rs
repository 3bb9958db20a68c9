//! A firmware image whose very first instruction writes to [`MARK`]: what shows when QEMU lets its guest begin.
//!
//! QEMU can't start a kernel without firmware in between. With an image that is nothing but the mark, its first guest
//! instruction is seen as early as natoma's, and nothing of what firmware does is counted.

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

/// Writes the image to `directory` and returns its path.
pub fn write(directory: &Path) -> io::Result<PathBuf> {
    let mut image = vec![0xf4; SIZE];
    image[RESET_VECTOR..RESET_VECTOR + CODE.len()].copy_from_slice(&CODE);
    fs::create_dir_all(directory)?;
    let path = directory.join("first-instruction.rom");
    fs::write(&path, image)?;
    Ok(path)
}
