//! Drives of the host: the image files behind disks, CD and floppy drives and flash chips.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

use super::block_drivers::{Source, Throttle};

/// Flash chips that firmware can have.
pub const PFLASH_UNITS: usize = 2;

/// A place for a medium, which may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drive {
    /// Unique name by which devices refer to it.
    pub id: String,
    /// The medium in it at the start.
    pub image: Option<Image>,
    /// What errors of reads lead to, at a device that can do more than report them.
    pub on_read_error: OnError,
    /// What errors of writes and flushes lead to.
    pub on_write_error: OnError,
}

impl Drive {
    /// A drive with the defaults of `-drive`.
    pub fn new(id: impl Into<String>, image: Option<Image>) -> Self {
        Self { id: id.into(), image, on_read_error: OnError::Report, on_write_error: OnError::Enospc }
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

/// An image file (or a block device of the host), and how it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The file, or the name of what else there is.
    pub path: PathBuf,
    /// What the name stands for.
    pub source: Source,
    /// A file of rules (QEMU's blkdebug) by which requests of the file fail.
    pub rules: Option<PathBuf>,
    /// How much may be done in a second.
    pub throttle: Option<Throttle>,
    /// Its format; `None`: found out from its contents.
    pub format: Option<ImageFormat>,
    /// What may be done with it.
    pub access: Access,
    /// Writes go to a temporary file and are lost at the end.
    pub snapshot: bool,
    /// What happens on the way to the host's disk.
    pub cache: CacheMode,
    /// By what means requests of disks reach the host.
    pub aio: Aio,
    /// What the guest does not need any more is given back to the host.
    pub discard: bool,
    /// What becomes of writes of nothing but zeroes.
    pub detect_zeroes: DetectZeroes,
    /// Keep other processes from using the image against its purpose.
    pub locking: Locking,
}

impl Image {
    /// An image with the defaults of `-drive`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            source: Source::File,
            rules: None,
            throttle: None,
            format: None,
            access: Access::ReadWrite,
            snapshot: false,
            cache: CacheMode::WRITEBACK,
            aio: Aio::Auto,
            discard: false,
            detect_zeroes: DetectZeroes::Off,
            locking: Locking::Auto,
        }
    }
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

/// The format of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageFormat {
    /// The bytes of the medium, one after the other.
    Raw,
    /// Clusters that exist when they are written, over another image if there is one.
    Qcow2,
    /// A text that says in which files the parts of the medium are.
    Vmdk,
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
