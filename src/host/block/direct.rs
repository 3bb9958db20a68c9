//! Files that are read and written past the host's cache (`O_DIRECT`): what does not suit the disk's blocks goes through a
//! buffer that does.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};

use vm_memory::VolatileSlice;

use super::node::{part, total_len};
use super::vectored;

/// Bytes that go through the buffer at a time.
const PIECE: usize = 1 << 20;

/// What requests to the host have to be multiples of, in bytes; powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alignment {
    /// Offsets in the file, and lengths.
    pub file: usize,
    /// Addresses.
    pub memory: usize,
}

impl Alignment {
    /// Of a file that is read and written through the host's cache.
    pub const NONE: Self = Self { file: 1, memory: 1 };

    fn suits(self, offset: u64, slices: &[VolatileSlice<'_>]) -> bool {
        let fits = |slice: &VolatileSlice<'_>| {
            let address = slice.ptr_guard_mut().as_ptr() as usize;
            address.is_multiple_of(self.memory) && slice.len().is_multiple_of(self.file)
        };
        self == Self::NONE || (offset.is_multiple_of(self.file as u64) && slices.iter().all(fits))
    }
}

/// Ordinary memory at an address that suits any disk.
struct Buffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    fn new(len: usize, alignment: Alignment) -> Self {
        let multiple = alignment.memory.max(alignment.file);
        let memory = vec![0; len + multiple];
        let start = memory.as_ptr().align_offset(multiple);
        Self { memory, start, len }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..][..self.len]
    }
}

/// Keeps writes of parts of blocks, which have to be read before, from other writes.
#[derive(Default)]
pub(super) struct Edges(RwLock<()>);

impl Edges {
    /// Keeps all writes away.
    pub fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills `to` from the bytes at `offset`.
    pub fn read(&self, file: &File, alignment: Alignment, offset: u64, to: &[VolatileSlice<'_>]) -> io::Result<()> {
        if alignment.suits(offset, to) {
            return vectored::read_exact(file, offset, to);
        }
        for (at, range) in pieces(offset, total_len(to)) {
            let (start, end) = around(at, range.len(), alignment);
            let mut buffer = Buffer::new((end - start) as usize, alignment);
            let needed = (at - start) as usize..(at - start) as usize + range.len();
            fill(file, start, buffer.bytes(), needed.end)?;
            scatter(&buffer.bytes()[needed], &part(to, range.start, range.len()));
        }
        Ok(())
    }

    /// Writes `from` at `offset`. The file has `len` bytes, and keeps these; who changes that does it by [`Self::alone`].
    /// `durable`: it returns when they are on the disk.
    pub fn write(
        &self,
        file: &File,
        alignment: Alignment,
        len: &AtomicU64,
        offset: u64,
        from: &[VolatileSlice<'_>],
        durable: bool,
    ) -> io::Result<()> {
        if alignment == Alignment::NONE {
            return vectored::write_all(file, offset, from, durable);
        }
        if alignment.suits(offset, from) {
            let _whole = self.0.read().unwrap_or_else(PoisonError::into_inner);
            return vectored::write_all(file, offset, from, durable);
        }
        let _parts = self.alone();
        let len = len.load(Ordering::Acquire);
        for (at, range) in pieces(offset, total_len(from)) {
            let (start, end) = around(at, range.len(), alignment);
            let mut buffer = Buffer::new((end - start) as usize, alignment);
            let within = (at - start) as usize..(at - start) as usize + range.len();
            if start < at || end > at + range.len() as u64 {
                // What is around it stays, as far as there is something.
                let there = usize::try_from(len.saturating_sub(start)).unwrap_or(usize::MAX).min(buffer.len);
                fill(file, start, buffer.bytes(), there)?;
            }
            gather(&part(from, range.start, range.len()), &mut buffer.bytes()[within]);
            vectored::write_all(file, start, &[VolatileSlice::from(buffer.bytes())], durable)?;
            if end > len {
                file.set_len(len)?;
            }
        }
        Ok(())
    }
}

/// A range in pieces that end at multiples of [`PIECE`]: offset, range in the data.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let room = PIECE - (at % PIECE as u64) as usize;
        let range = done..len.min(done + room);
        done = range.end;
        (!range.is_empty()).then_some((at, range))
    })
}

/// The whole blocks around a range.
fn around(at: u64, len: usize, alignment: Alignment) -> (u64, u64) {
    let block = alignment.file as u64;
    (at / block * block, (at + len as u64).next_multiple_of(block))
}

/// Reads into a buffer until it has `needed` bytes: the file may end in its last block.
fn fill(file: &File, start: u64, buffer: &mut [u8], needed: usize) -> io::Result<()> {
    let mut done = 0;
    while done < needed {
        match file.read_at(&mut buffer[done..], start + done as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn scatter(mut from: &[u8], to: &[VolatileSlice<'_>]) {
    for slice in to {
        let (first, rest) = from.split_at(slice.len().min(from.len()));
        slice.copy_from(first);
        from = rest;
    }
}

fn gather(from: &[VolatileSlice<'_>], mut to: &mut [u8]) {
    for slice in from {
        let copied = slice.copy_to(to);
        to = &mut to[copied..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of two blocks and a half, written as if the disk had blocks of 4096 bytes: what a buffered write would make of it.
    #[test]
    fn parts_of_blocks_leave_what_is_around_them() {
        let alignment = Alignment { file: 4096, memory: 512 };
        let file = tempfile::tempfile().unwrap();
        let mut expected: Vec<u8> = (0..10240_u32).map(|n| (n / 7) as u8).collect();
        file.write_all_at(&expected, 0).unwrap();
        let edges = Edges::default();
        for (offset, len) in [(0, 1), (4095, 2), (512, 512), (0, 4096), (8192, 2048), (9216, 1024), (100, 10140)] {
            let mut data = vec![offset as u8 ^ 0x5a; len];
            let (first, second) = data.split_at_mut(len / 3);
            let slices = [VolatileSlice::from(first), VolatileSlice::from(second)];
            edges.write(&file, alignment, &AtomicU64::new(10240), offset, &slices, false).unwrap();
            expected[offset as usize..][..len].fill(offset as u8 ^ 0x5a);
            let mut found = vec![0; 10240];
            edges.read(&file, alignment, 0, &[VolatileSlice::from(&mut found[..])]).unwrap();
            assert_eq!(found, expected, "{len} bytes at {offset}");
            assert_eq!(file.metadata().unwrap().len(), 10240, "{len} bytes at {offset}");
        }
        let beyond = edges.read(&file, alignment, 10000, &[VolatileSlice::from(&mut [0; 241][..])]);
        assert_eq!(beyond.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
