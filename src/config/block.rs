//! Drives of the host: the image files behind disks, CD and floppy drives and flash chips.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

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
    /// The file.
    pub path: PathBuf,
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
    /// Keep other processes from using the image against its purpose.
    pub locking: Locking,
}

impl Image {
    /// An image with the defaults of `-drive`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            format: None,
            access: Access::ReadWrite,
            snapshot: false,
            cache: CacheMode::Writeback,
            aio: Aio::Auto,
            discard: false,
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

/// What happens to writes on the way to the host's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CacheMode {
    /// They are safe when the guest has flushed them.
    Writeback,
    /// They are safe when the guest sees them done.
    Writethrough,
    /// They are safe when the host finds the time.
    Unsafe,
}
