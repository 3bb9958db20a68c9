//! Guest memory as the loader writes it: by physical address, with errors that say which address.

use std::io;

use vm_memory::guest_memory::Error as GuestMemoryError;
use vm_memory::volatile_memory::Error as VolatileMemoryError;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, ReadVolatile};

/// A range that the memory map calls RAM cannot be written: map and memory disagree.
#[derive(Debug, thiserror::Error)]
#[error("guest memory at {addr:#x} ({len} bytes) cannot be written although the memory map has RAM there")]
pub struct MemoryError {
    addr: u64,
    len: u64,
    source: GuestMemoryError,
}

/// Why [`fill`] failed.
pub(super) enum FillError {
    /// Reading from the source failed, or it ended too soon ([`io::ErrorKind::UnexpectedEof`]).
    Source(io::Error),
    Memory(MemoryError),
}

/// Writes `bytes` at `addr`.
pub(super) fn write(mem: &GuestMemoryMmap, addr: u64, bytes: &[u8]) -> Result<(), MemoryError> {
    mem.write_slice(bytes, GuestAddress(addr)).map_err(|source| MemoryError { addr, len: bytes.len() as u64, source })
}

/// Writes `len` zero bytes at `addr`.
pub(super) fn clear(mem: &GuestMemoryMmap, addr: u64, len: u64) -> Result<(), MemoryError> {
    static ZEROES: [u8; 65536] = [0; 65536];
    let mut done = 0;
    while done < len {
        let step = (len - done).min(ZEROES.len() as u64);
        write(mem, addr + done, &ZEROES[..step as usize])?;
        done += step;
    }
    Ok(())
}

/// Fills `len` bytes at `addr` from `src`. One read may return less than asked for (Linux caps it at 2 GiB), so each
/// piece of contiguous memory is filled by as many reads as it takes.
pub(super) fn fill(mem: &GuestMemoryMmap, addr: u64, len: u64, src: &mut impl ReadVolatile) -> Result<(), FillError> {
    let bad_range = |source| FillError::Memory(MemoryError { addr, len, source });
    for slice in mem.get_slices(GuestAddress(addr), len as usize) {
        let mut slice = slice.map_err(bad_range)?;
        src.read_exact_volatile(&mut slice).map_err(|e| match e {
            VolatileMemoryError::IOError(e) => FillError::Source(e),
            other => bad_range(other.into()),
        })?;
    }
    Ok(())
}
