//! Memory and ports, as monitors read and write them by hand.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Bytes that are carried at once.
const PIECE: usize = 1 << 20;

/// What processors reach, and their registers.
pub trait Access {
    /// Reads memory: at a linear address of a processor, or with `None` at a guest-physical one. `false` if not all of it is
    /// mapped.
    ///
    /// # Errors
    /// There is no such processor, or the host refuses.
    fn read_memory(&self, processor: Option<u32>, address: u64, data: &mut [u8]) -> Result<bool>;

    /// The first address behind all memory and devices at guest-physical addresses.
    fn end_of_memory(&self) -> u64;

    /// Where a processor finds a linear address now; `None` if it is not mapped.
    ///
    /// # Errors
    /// There is no such processor, or the host refuses.
    fn translate(&self, processor: u32, linear: u64) -> Result<Option<u64>>;

    /// Reads 1, 2 or 4 bytes from an I/O port.
    fn read_port(&self, port: u16, data: &mut [u8]);

    /// Writes 1, 2 or 4 bytes to an I/O port.
    fn write_port(&self, port: u16, data: &[u8]);

    /// A register by the name that debuggers have for it.
    ///
    /// # Errors
    /// There is no such processor or register, or the host refuses.
    fn register(&self, processor: u32, name: &str) -> Result<u64>;
}

/// Reads a stretch of memory piece by piece.
fn for_pieces(
    access: &dyn Access,
    processor: Option<u32>,
    address: u64,
    size: u64,
    mut each: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    // Linear addresses have holes, which end it soon.
    let end = address.checked_add(size).filter(|end| processor.is_some() || *end <= access.end_of_memory());
    if end.is_none() {
        bail!("there is no memory at {address:#x} with {size} bytes: it ends at {:#x}", access.end_of_memory());
    }
    let mut buffer = vec![0; PIECE.min(usize::try_from(size).unwrap_or(PIECE))];
    let mut done = 0;
    while done < size {
        let piece = &mut buffer[..PIECE.min(usize::try_from(size - done).unwrap_or(PIECE))];
        if !access.read_memory(processor, address.wrapping_add(done), piece)? {
            bail!("Invalid addr {address:#018x}/size {size} specified");
        }
        each(piece)?;
        done += piece.len() as u64;
    }
    Ok(())
}

/// Writes a stretch of memory to a file.
///
/// # Errors
/// Not all of it is there, or the file can't be written.
pub(super) fn save(
    access: &dyn Access,
    processor: Option<u32>,
    address: u64,
    size: u64,
    path: impl AsRef<Path>,
) -> Result<()> {
    let path = path.as_ref();
    let mut file = File::create(path).with_context(|| format!("Could not open '{}'", path.display()))?;
    for_pieces(access, processor, address, size, |piece| {
        file.write_all(piece).with_context(|| format!("can't write to '{}'", path.display()))
    })
}

/// The BSD checksum of physical memory.
///
/// # Errors
/// Not all of it is there.
pub(super) fn checksum(access: &dyn Access, address: u64, size: u64) -> Result<u16> {
    let mut sum = 0_u16;
    for_pieces(access, None, address, size, |piece| {
        sum = piece.iter().fold(sum, |sum, byte| sum.rotate_right(1).wrapping_add((*byte).into()));
        Ok(())
    })?;
    Ok(sum)
}
