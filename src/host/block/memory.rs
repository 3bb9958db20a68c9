//! A medium in memory, for tests and fuzz targets: it grows as a file does and remembers what was done to it, so that a test can
//! see what a crash would have left.

use std::sync::Mutex;

use devices::backend::block::{BlockError, check_range};
use devices::base::lock;
use vm_memory::VolatileSlice;

use super::node::{Node, check_transfer, total_len};

/// Something that was done to a medium.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The bytes at an offset were replaced.
    Write(u64, Vec<u8>),
    /// It got this length.
    Resize(u64),
    /// Everything before is on the disk.
    Flush,
}

impl Change {
    /// Does the same to `bytes`.
    pub fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => {
                let start = usize::try_from(*offset).unwrap_or(usize::MAX);
                bytes[start..start + data.len()].copy_from_slice(data);
            }
            Self::Resize(len) => bytes.resize(usize::try_from(*len).unwrap_or(usize::MAX), 0),
            Self::Flush => {}
        }
    }
}

/// A medium in memory.
pub struct Memory {
    bytes: Mutex<Vec<u8>>,
    /// What was done, if that is wanted.
    journal: Option<Mutex<Vec<Change>>>,
    /// Length that it can't outgrow.
    most: u64,
    read_only: bool,
}

impl Memory {
    /// A medium with these contents.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: Mutex::new(bytes), journal: None, most: u64::MAX, read_only: false }
    }

    /// That remembers what was done to it.
    #[must_use]
    pub fn with_journal(self) -> Self {
        Self { journal: Some(Mutex::default()), ..self }
    }

    /// That has no room for more than `most` bytes.
    #[must_use]
    pub fn with_room_for(self, most: u64) -> Self {
        Self { most, ..self }
    }

    /// That can't be written.
    #[must_use]
    pub fn read_only(self) -> Self {
        Self { read_only: true, ..self }
    }

    /// What is on it.
    #[must_use]
    pub fn contents(&self) -> Vec<u8> {
        lock(&self.bytes).clone()
    }

    /// What was done to it, in order.
    #[must_use]
    pub fn journal(&self) -> Vec<Change> {
        self.journal.as_ref().map(|journal| lock(journal).clone()).unwrap_or_default()
    }

    /// Number of changes so far.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.journal.as_ref().map_or(0, |journal| lock(journal).len())
    }

    fn note(&self, change: impl FnOnce() -> Change) {
        if let Some(journal) = &self.journal {
            lock(journal).push(change());
        }
    }
}

impl Node for Memory {
    fn len(&self) -> u64 {
        lock(&self.bytes).len() as u64
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn read(&self, offset: u64, to: &[VolatileSlice<'_>]) -> Result<(), BlockError> {
        let bytes = lock(&self.bytes);
        check_transfer(bytes.len() as u64, offset, to)?;
        // As checked.
        let mut at = offset as usize;
        for slice in to {
            slice.copy_from(&bytes[at..at + slice.len()]);
            at += slice.len();
        }
        Ok(())
    }

    fn write(&self, offset: u64, from: &[VolatileSlice<'_>], durable: bool) -> Result<(), BlockError> {
        if self.read_only {
            return Err(BlockError::ReadOnly);
        }
        let mut bytes = lock(&self.bytes);
        let len = total_len(from);
        check_range(bytes.len() as u64, offset, len)?;
        let start = offset as usize;
        let mut at = start;
        for slice in from {
            at += slice.copy_to(&mut bytes[at..]);
        }
        self.note(|| Change::Write(offset, bytes[start..start + len].to_vec()));
        drop(bytes);
        if durable { self.flush() } else { Ok(()) }
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.note(|| Change::Flush);
        Ok(())
    }

    fn resize(&self, len: u64) -> Result<(), BlockError> {
        if len > self.most {
            return Err(BlockError::NoSpace);
        }
        lock(&self.bytes).resize(usize::try_from(len).map_err(std::io::Error::other)?, 0);
        self.note(|| Change::Resize(len));
        Ok(())
    }
}
