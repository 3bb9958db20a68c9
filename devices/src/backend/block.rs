//! Block back ends: where the bytes of a drive or a flash chip are kept.
//!
//! This is the synchronous kind, for devices that are small or slow by nature. A call returns when the host has done it,
//! so it takes the time of the host's file system; data is on stable storage only after [`BlockBackend::flush`].

use std::io;
use std::sync::{Arc, Mutex};

use crate::base::lock;

/// Why a request was not carried out. What was asked for has then been done in part or not at all.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// A write to a medium that is not to be written.
    #[error("the medium is read-only")]
    ReadOnly,
    /// Part of the range is past the end.
    #[error("{len:#x} bytes at {offset:#x} reach past the end of the medium")]
    OutOfRange {
        /// First byte of the request.
        offset: u64,
        /// Its length in bytes.
        len: usize,
    },
    /// The host has no room to keep what is written.
    #[error("the host's storage is full")]
    NoSpace,
    /// Anything else that the host says.
    #[error("the host can't carry it out")]
    Io(#[from] io::Error),
    /// Writes that had been carried out and not flushed may be lost: a flush that is tried again would not bring them back.
    #[error("writes that were not flushed may be lost")]
    Lost(#[source] io::Error),
    /// The host does not answer, and was not waited for any longer. The request may have been carried out, and can be made again.
    #[error("the host does not answer")]
    GivenUp(#[source] io::Error),
}

/// A medium of fixed length, as the device sees it. Calls come with the device's lock held: an implementation must not
/// call the device.
pub trait BlockBackend: Send {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Whether there is nothing on it, not even room.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether every write is refused.
    fn is_read_only(&self) -> bool;

    /// Fills `data` from the bytes at `offset`.
    ///
    /// # Errors
    /// The range is not on the medium, or the host fails; `data` is then undefined.
    fn read_at(&mut self, offset: u64, data: &mut [u8]) -> Result<(), BlockError>;

    /// Replaces the bytes at `offset`.
    ///
    /// # Errors
    /// The medium is read-only, the range is not on it, or the host fails.
    fn write_at(&mut self, offset: u64, data: &[u8]) -> Result<(), BlockError>;

    /// Makes everything written so far survive a loss of power.
    ///
    /// # Errors
    /// The host fails: nothing is certain about what was written since the last success.
    fn flush(&mut self) -> Result<(), BlockError>;

    /// The bytes are not needed any more. A medium that can't make use of that leaves them.
    ///
    /// # Errors
    /// As for [`Self::write_at`].
    fn discard(&mut self, offset: u64, len: u64) -> Result<(), BlockError> {
        let _ = (offset, len);
        Ok(())
    }

    /// Makes the bytes zeroes; `may_unmap`: they need not keep room on the host.
    ///
    /// # Errors
    /// As for [`Self::write_at`].
    fn write_zeroes(&mut self, offset: u64, len: u64, may_unmap: bool) -> Result<(), BlockError> {
        let _ = may_unmap;
        let (mut at, end) = (offset, offset.saturating_add(len));
        while at < end {
            let piece = ZEROES.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
            self.write_at(at, &ZEROES[..piece])?;
            at += piece as u64;
        }
        Ok(())
    }
}

/// What is written where a medium knows no better way to make zeroes.
static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

/// Checks that a request lies within a medium of `medium` bytes.
///
/// # Errors
/// It does not.
pub fn check_range(medium: u64, offset: u64, len: usize) -> Result<(), BlockError> {
    match offset.checked_add(len as u64) {
        Some(end) if end <= medium => Ok(()),
        _ => Err(BlockError::OutOfRange { offset, len }),
    }
}

/// A back end in memory. Clones share the medium, so that a test sees what the device wrote.
#[derive(Clone, Default)]
pub struct MemoryBlock(Arc<Mutex<Memory>>);

#[derive(Default)]
struct Memory {
    bytes: Vec<u8>,
    read_only: bool,
    broken: bool,
    flushes: u64,
}

impl MemoryBlock {
    /// A medium with these contents.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Memory { bytes, ..Memory::default() })))
    }

    /// A medium of `len` zeroes.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        Self::new(vec![0; len])
    }

    /// Makes it read-only, or writable again.
    pub fn set_read_only(&self, read_only: bool) {
        lock(&self.0).read_only = read_only;
    }

    /// Makes it longer, by zeroes, or shorter.
    pub fn set_len(&self, len: usize) {
        lock(&self.0).bytes.resize(len, 0);
    }

    /// Makes every request fail as if the host's disk were broken, or mends it.
    pub fn set_broken(&self, broken: bool) {
        lock(&self.0).broken = broken;
    }

    /// What is on the medium.
    #[must_use]
    pub fn contents(&self) -> Vec<u8> {
        lock(&self.0).bytes.clone()
    }

    /// How often the device has flushed it.
    #[must_use]
    pub fn flushes(&self) -> u64 {
        lock(&self.0).flushes
    }
}

impl Memory {
    /// The bytes of a request.
    fn range(&mut self, offset: u64, len: usize) -> Result<&mut [u8], BlockError> {
        if self.broken {
            return Err(io::Error::from(io::ErrorKind::Other).into());
        }
        let range = usize::try_from(offset).ok().and_then(|start| Some(start..start.checked_add(len)?));
        range.and_then(|range| self.bytes.get_mut(range)).ok_or(BlockError::OutOfRange { offset, len })
    }
}

impl BlockBackend for MemoryBlock {
    fn len(&self) -> u64 {
        lock(&self.0).bytes.len() as u64
    }

    fn is_read_only(&self) -> bool {
        lock(&self.0).read_only
    }

    fn read_at(&mut self, offset: u64, data: &mut [u8]) -> Result<(), BlockError> {
        data.copy_from_slice(lock(&self.0).range(offset, data.len())?);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        let mut memory = lock(&self.0);
        if memory.read_only {
            return Err(BlockError::ReadOnly);
        }
        memory.range(offset, data.len())?.copy_from_slice(data);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        let mut memory = lock(&self.0);
        memory.range(0, 0)?;
        memory.flushes += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_past_the_end_of_any_kind_are_refused() {
        let mut medium = MemoryBlock::zeroed(1024);
        medium.write_at(1023, &[7]).unwrap();
        for (offset, len) in [(1024, 1), (1023, 2), (u64::MAX, 1), (u64::MAX - 1, 2)] {
            assert!(matches!(medium.read_at(offset, &mut vec![0; len]), Err(BlockError::OutOfRange { .. })));
            assert!(matches!(medium.write_at(offset, &vec![0; len]), Err(BlockError::OutOfRange { .. })));
            assert!(check_range(1024, offset, len).is_err());
        }
        assert!(check_range(1024, 1024, 0).is_ok());
        assert_eq!(medium.contents()[1023], 7);
    }
}
