//! Nodes: what can be read and written, one built on another.
//!
//! At the bottom of a drive is the node of a file, a block device or a server; above it may be those of an image format, of a
//! temporary overlay, of a throttle. A node takes any range of bytes at any time, from several threads at once: what alignment or
//! order it needs it sees to itself. A request takes the time of the thread that makes it; who can't wait has an engine between
//! itself and the node.
//!
//! Memory is passed as [`VolatileSlice`]s: it may be guest RAM, which changes while it is looked at.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use devices::backend::block::{BlockBackend, BlockError, check_range};
use vm_memory::VolatileSlice;

/// A medium, or a layer of one.
pub trait Node: Send + Sync {
    /// Length in bytes. It changes only by [`Node::resize`], or if what is below grows.
    fn len(&self) -> u64;

    /// Whether there is nothing on it, not even room.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether everything that would change it is refused.
    fn is_read_only(&self) -> bool;

    /// Fills `to`, one slice after the other, from the bytes at `offset`.
    ///
    /// # Errors
    /// The range is not on the medium, or the host fails; what is in `to` is then undefined.
    fn read(&self, offset: u64, to: &[VolatileSlice<'_>]) -> Result<(), BlockError>;

    /// Replaces the bytes at `offset` by `from`, one slice after the other. `durable`: it returns only when they survive a loss of
    /// power.
    ///
    /// # Errors
    /// The node is read-only, the range is not on the medium, or the host fails; it may then have been done in part.
    fn write(&self, offset: u64, from: &[VolatileSlice<'_>], durable: bool) -> Result<(), BlockError>;

    /// Makes every write that has returned survive a loss of power.
    ///
    /// # Errors
    /// The host fails: nothing is certain about what was written since the last success.
    fn flush(&self) -> Result<(), BlockError>;

    /// The bytes are not needed any more: what they read as is undefined. A node that can't make use of that leaves them.
    ///
    /// # Errors
    /// As for [`Self::write`].
    fn discard(&self, offset: u64, len: u64) -> Result<(), BlockError> {
        let _ = (offset, len);
        Ok(())
    }

    /// Makes the bytes zeroes; `may_unmap`: they need not keep room on the host.
    ///
    /// # Errors
    /// As for [`Self::write`].
    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> Result<(), BlockError> {
        let _ = may_unmap;
        fill_with_zeroes(self, offset, len)
    }

    /// Makes the medium longer or shorter; what is added reads as zeroes.
    ///
    /// # Errors
    /// The node has a length that can't be chosen, or the host fails.
    fn resize(&self, len: u64) -> Result<(), BlockError> {
        let _ = len;
        Err(io::Error::from(io::ErrorKind::Unsupported).into())
    }

    /// Requests that wait of the node's own accord (for their turn at a throttle, say) are to go at once from now on (`true`), as
    /// somebody waits for all of them to end; or may wait again. The calls nest.
    fn hurry(&self, hurried: bool) {
        let _ = hurried;
    }

    /// Requests that wait for somebody else's answer are to end at once, with [`BlockError::GivenUp`], and so are those that
    /// are made until nobody is in a hurry any more. A node that waits for nobody but the kernel can do nothing about it.
    fn give_up(&self) {}

    /// What a file has been through: `None` if it is none.
    fn file_tally(&self) -> Option<FileTally> {
        None
    }

    /// How to go past the node, straight to the file, if its bytes are those of the file.
    fn raw(&self) -> Option<RawAccess<'_>> {
        None
    }

    /// The file of [`Self::raw`] has been synced past the node, or could not be. Gives what whoever wanted it is told.
    ///
    /// # Errors
    /// Something is not on the disk.
    fn synced(&self, result: io::Result<()>) -> Result<(), BlockError> {
        result.map_err(BlockError::Io)
    }
}

/// What a file has been through by way of its node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileTally {
    /// The end of what was written, as far as it goes. An engine that goes past the node counts for itself.
    pub highest_written: u64,
    /// Discards that the host has carried out, and their bytes.
    pub discards: u64,
    /// Bytes of these.
    pub discarded: u64,
    /// Discards that have failed.
    pub failed_discards: u64,
}

/// The file whose bytes are those of a node, for an engine that makes requests of the kernel itself.
#[derive(Clone, Copy, Debug)]
pub struct RawAccess<'a> {
    /// The file. It can be read, and written unless the node is read-only.
    pub file: BorrowedFd<'a>,
    /// What offsets and lengths have to be multiples of (1: nothing). What is not goes through the node.
    pub alignment: usize,
    /// What addresses in memory have to be multiples of.
    pub memory_alignment: usize,
    /// Writes to bytes below go through the node, which looks at them.
    pub watched: u64,
    /// Flushes do something.
    pub flushes: bool,
}

/// Writes zeroes the slow way.
///
/// # Errors
/// As for [`Node::write`].
pub fn fill_with_zeroes(node: &(impl Node + ?Sized), offset: u64, len: u64) -> Result<(), BlockError> {
    let mut zeroes = vec![0; (64 << 10).min(usize::try_from(len).unwrap_or(usize::MAX))];
    let (mut at, end) = (offset, offset.saturating_add(len));
    while at < end {
        let piece = zeroes.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
        write_bytes(node, at, &mut zeroes[..piece], false)?;
        at += piece as u64;
    }
    Ok(())
}

/// Number of bytes in all slices.
#[must_use]
pub fn total_len(slices: &[VolatileSlice<'_>]) -> usize {
    slices.iter().map(VolatileSlice::len).sum()
}

/// `len` bytes of the slices from byte `start` on, or as many as there are.
#[must_use]
pub fn part<'a>(slices: &[VolatileSlice<'a>], start: usize, len: usize) -> Vec<VolatileSlice<'a>> {
    let (mut skip, mut left) = (start, len);
    let mut found = Vec::new();
    for slice in slices {
        let from = skip.min(slice.len());
        let taken = (slice.len() - from).min(left);
        if taken > 0 {
            // Within the slice, as computed.
            found.extend(slice.subslice(from, taken));
        }
        skip -= from;
        left -= taken;
    }
    found
}

/// Checks that a transfer lies within a medium of `medium` bytes.
///
/// # Errors
/// It does not.
pub fn check_transfer(medium: u64, offset: u64, slices: &[VolatileSlice<'_>]) -> Result<(), BlockError> {
    check_range(medium, offset, total_len(slices))
}

/// Reads into ordinary memory.
///
/// # Errors
/// As for [`Node::read`].
pub fn read_bytes(node: &(impl Node + ?Sized), offset: u64, to: &mut [u8]) -> Result<(), BlockError> {
    node.read(offset, &[VolatileSlice::from(to)])
}

/// Writes ordinary memory, which nobody changes meanwhile and which is left as it is.
///
/// # Errors
/// As for [`Node::write`].
pub fn write_bytes(node: &(impl Node + ?Sized), offset: u64, from: &mut [u8], durable: bool) -> Result<(), BlockError> {
    node.write(offset, &[VolatileSlice::from(from)], durable)
}

/// A node for a device that waits for each request.
pub struct Waiting {
    node: Arc<dyn Node>,
    /// Every write is durable.
    write_through: bool,
}

impl Waiting {
    /// `write_through`: a write is done when it survives a loss of power.
    #[must_use]
    pub fn new(node: Arc<dyn Node>, write_through: bool) -> Self {
        Self { node, write_through }
    }
}

impl BlockBackend for Waiting {
    fn len(&self) -> u64 {
        self.node.len()
    }

    fn is_read_only(&self) -> bool {
        self.node.is_read_only()
    }

    fn read_at(&mut self, offset: u64, data: &mut [u8]) -> Result<(), BlockError> {
        read_bytes(&*self.node, offset, data)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        // Nodes take memory that may change, and what is lent here may not: these devices are slow, and write little.
        write_bytes(&*self.node, offset, &mut data.to_vec(), self.write_through)
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        self.node.flush()
    }

    fn discard(&mut self, offset: u64, len: u64) -> Result<(), BlockError> {
        self.node.discard(offset, len)
    }

    fn write_zeroes(&mut self, offset: u64, len: u64, may_unmap: bool) -> Result<(), BlockError> {
        self.node.write_zeroes(offset, len, may_unmap)?;
        if self.write_through { self.node.flush() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_slices_is_what_it_would_be_of_their_bytes() {
        let mut bytes: Vec<u8> = (0..20).collect();
        let whole = bytes.clone();
        let slices: Vec<_> = bytes.chunks_mut(6).map(VolatileSlice::from).collect();
        for (start, len) in [(0, 20), (0, 0), (5, 2), (6, 6), (3, usize::MAX), (20, 5), (25, 1)] {
            let mut found = [0; 32];
            let mut at = 0;
            for slice in part(&slices, start, len) {
                at += slice.copy_to(&mut found[at..]);
            }
            let expected: Vec<_> = whole.iter().copied().skip(start).take(len).collect();
            assert_eq!(found[..at], expected, "{len} bytes from {start}");
        }
    }
}
