//! Block nodes: what a medium is made of, one node on another.
//!
//! At the bottom is a file, a block device or a server; above it an image format, filters, a temporary overlay. The names and
//! the meaning of all this are QEMU's (`BlockdevOptions` of its QMP reference).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::block::{Access, Aio, DetectZeroes, Locking};
use super::block_drivers::{BlkdebugConfig, NbdConfig, NullConfig};

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// The name by which others refer to it; `None`: it gets one.
    pub name: Option<String>,
    /// What it is.
    pub driver: NodeDriver,
    /// What may be done with it.
    pub access: Access,
    /// The host's cache is passed by.
    pub direct: bool,
    /// Flushing does nothing: writes are safe when the host finds the time.
    pub no_flush: bool,
    /// What is not needed any more is given back to the host.
    pub discard: bool,
    /// What becomes of writes of nothing but zeroes.
    pub detect_zeroes: DetectZeroes,
    /// It is opened although others may write to it.
    pub force_share: bool,
}

impl NodeConfig {
    /// A node with the defaults of `-blockdev`.
    pub fn new(driver: NodeDriver) -> Self {
        Self {
            name: None,
            driver,
            access: Access::ReadWrite,
            direct: false,
            no_flush: false,
            discard: false,
            detect_zeroes: DetectZeroes::Off,
            force_share: false,
        }
    }
}

/// A node under another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Child {
    /// One that has been there before.
    Name(String),
    /// One of its own.
    Node(Box<NodeConfig>),
}

impl From<NodeConfig> for Child {
    fn from(node: NodeConfig) -> Self {
        Self::Node(Box::new(node))
    }
}

/// What a node is, and what is under it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeDriver {
    /// A file or a block device.
    File(FileConfig),
    /// An export of a server.
    Nbd(NbdConfig),
    /// Nothing.
    Null(NullConfig),
    /// An image whose format is found out from its contents.
    Probed {
        /// What it is in.
        file: Child,
    },
    /// The bytes of the medium, one after the other.
    Raw {
        /// What they are in.
        file: Child,
        /// Where they begin.
        offset: u64,
        /// How many they are; `None`: all behind the offset.
        size: Option<u64>,
    },
    /// Clusters that exist when they are written, over another image if there is one.
    Qcow2 {
        /// What they are in.
        file: Child,
        /// The other image.
        backing: Backing,
    },
    /// A text that says in which files the parts of the medium are.
    Vmdk {
        /// What it is in.
        file: Child,
    },
    /// Errors where a test wants them.
    Blkdebug(Blkdebug),
    /// No more in a second than a group of limits allows.
    Throttle {
        /// What is throttled.
        file: Child,
        /// The group.
        group: String,
    },
    /// A temporary file takes what is written, and what is below stays as it is.
    Overlay {
        /// What is below.
        file: Child,
    },
}

/// `driver=blkdebug`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blkdebug {
    /// What fails.
    pub image: Child,
    /// A file of rules by which it does.
    pub rules_file: Option<PathBuf>,
    /// Further rules.
    pub rules: BlkdebugConfig,
}

/// What is under an image that is made over another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backing {
    /// What the image names.
    AsTheImageSays,
    /// Nothing, whatever it names.
    Nothing,
    /// This.
    Node(Child),
}

/// `driver=file` and its kin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// The file.
    pub path: PathBuf,
    /// What kind it has to be of.
    pub kind: FileKind,
    /// Keep other processes from using the image against its purpose.
    pub locking: Locking,
    /// Other processes may write to it, too: all who use it here bear that.
    pub share_rw: bool,
    /// By what means requests of disks reach the host.
    pub aio: Aio,
}

impl FileConfig {
    /// A file with the defaults of `-blockdev`.
    pub fn new(path: impl Into<PathBuf>, kind: FileKind) -> Self {
        Self { path: path.into(), kind, locking: Locking::Auto, share_rw: false, aio: Aio::Auto }
    }
}

/// Kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// A regular file or a block device.
    Any,
    /// A regular file.
    Regular,
    /// A block device.
    Device,
    /// A CD drive.
    Cdrom,
}
