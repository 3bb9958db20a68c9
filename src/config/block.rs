//! Drives of the host: the image files behind disks, CD and floppy drives and flash chips.

use serde::{Deserialize, Serialize};

use super::block_drivers::Throttle;
use super::block_node::Child;

/// Flash chips that firmware can have.
pub const PFLASH_UNITS: usize = 2;

/// A place for a medium, which may be empty: what is between a device and the nodes of a medium.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drive {
    /// Unique name by which devices refer to it. One that begins with `#` was made up for a device that names a node.
    pub id: String,
    /// The medium in it at the start.
    pub medium: Option<Child>,
    /// Writes are safe when the guest has flushed them; otherwise as soon as it sees them done.
    pub write_back: bool,
    /// How much may be done in a second.
    pub throttle: Option<Throttle>,
    /// What errors of reads lead to, at a device that can do more than report them; what the device says of them counts.
    pub on_read_error: OnError,
    /// What errors of writes and flushes lead to.
    pub on_write_error: OnError,
    /// Its device bears that others write to the medium too.
    pub share_rw: bool,
}

impl Drive {
    /// A drive with the defaults of `-drive`.
    pub fn new(id: impl Into<String>, medium: Option<Child>) -> Self {
        Self {
            id: id.into(),
            medium,
            write_back: true,
            throttle: None,
            on_read_error: OnError::Report,
            on_write_error: OnError::Enospc,
            share_rw: false,
        }
    }

    /// The name by which monitors know it, if it has one.
    pub fn name(&self) -> Option<&str> {
        Some(self.id.as_str()).filter(|id| !id.starts_with('#'))
    }
}

/// What an error of the host leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// The guest is told.
    Report,
    /// The machine stops, and tries again when it goes on.
    Stop,
    /// The guest is told that all is well.
    Ignore,
    /// The machine stops if the host's storage is full; the guest is told of all other errors.
    Enospc,
}

/// Whether other processes are kept off an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Locking {
    /// Where the file system has locks.
    Auto,
    /// Or the image is not used.
    On,
    /// They are not.
    Off,
}

/// What may be done with an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Reading only.
    ReadOnly,
    /// Reading and writing.
    ReadWrite,
    /// Writing too if the host allows it, for media that have a write protection the guest can see.
    Auto,
}

/// By what means requests of disks reach the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aio {
    /// io_uring where the host has it and the image is raw, worker threads otherwise.
    Auto,
    /// Worker threads.
    Threads,
    /// io_uring for raw images.
    IoUring,
    /// The same, for those who know it by the name of its predecessor.
    Native,
}

/// What happens to data on the way to the host's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CacheMode {
    /// Writes are safe when the guest has flushed them; otherwise as soon as it sees them done.
    pub writeback: bool,
    /// The host's cache is passed by.
    pub direct: bool,
    /// Flushing does nothing: writes are safe when the host finds the time.
    pub no_flush: bool,
}

impl CacheMode {
    /// `cache=writeback`.
    pub const WRITEBACK: Self = Self { writeback: true, direct: false, no_flush: false };
    /// `cache=writethrough`.
    pub const WRITETHROUGH: Self = Self { writeback: false, ..Self::WRITEBACK };
    /// `cache=none`.
    pub const NONE: Self = Self { direct: true, ..Self::WRITEBACK };
    /// `cache=directsync`.
    pub const DIRECTSYNC: Self = Self { writeback: false, ..Self::NONE };
    /// `cache=unsafe`.
    pub const UNSAFE: Self = Self { no_flush: true, ..Self::WRITEBACK };
}

/// What becomes of writes of nothing but zeroes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DetectZeroes {
    /// They are writes like others; nobody looks.
    Off,
    /// The host is asked for zeroes.
    On,
    /// The same, and they need not keep room on it.
    Unmap,
}
