//! Guest RAM and the host memory it is made of.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Guest RAM. Its size is that of the backends in `ram`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryConfig {
    /// The backends that RAM consists of, one after the other from address 0 on: those of the NUMA nodes, if these have some;
    /// otherwise the one named by `-machine memory-backend=`, or one made up from `-m`, `-mem-path` and `-mem-prealloc`
    /// with the id `pc.ram`.
    pub ram: Vec<MemoryBackend>,
    /// Further backends that were defined and that nothing uses: they must be possible, and monitors tell of them.
    pub spare: Vec<MemoryBackend>,
}

impl MemoryConfig {
    /// RAM of a machine that does not ask for a size, in bytes.
    pub const DEFAULT_SIZE: u64 = 128 << 20;
    /// The least RAM a PC has, in bytes.
    pub const MIN_SIZE: u64 = 1 << 20;
    /// What the 52 address bits of the architecture can hold beside the hole below 4 GiB, in bytes. The host's own limit
    /// is usually lower.
    pub const MAX_SIZE: u64 = (1 << 52) - (1 << 30);

    /// Size of guest RAM in bytes.
    pub fn size(&self) -> u64 {
        self.ram.iter().fold(0, |sum, backend| sum.saturating_add(backend.size))
    }
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { ram: vec![MemoryBackend::anonymous(MemoryBackend::DEFAULT_ID, Self::DEFAULT_SIZE)], spare: Vec::new() }
    }
}

/// A piece of host memory that can become guest memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryBackend {
    /// Unique name.
    pub id: String,
    /// What the memory is.
    pub kind: MemoryBackendKind,
    /// Size in bytes: above 0, a multiple of 4 KiB.
    pub size: u64,
    /// Map it shared (another process can see the guest's writes) instead of private.
    pub share: bool,
    /// Let the host merge identical pages (KSM, `MADV_MERGEABLE`).
    pub merge: bool,
    /// Include it in core dumps of the process (otherwise `MADV_DONTDUMP`).
    pub dump: bool,
    /// Touch every page before the guest starts.
    pub prealloc: bool,
    /// Threads that touch pages when `prealloc` is set: at least 1.
    pub prealloc_threads: u32,
    /// Reserve swap space (otherwise `MAP_NORESERVE`).
    pub reserve: bool,
}

impl MemoryBackend {
    /// The id of the backend that is made when none is named.
    pub const DEFAULT_ID: &str = "pc.ram";

    /// The option that asks for it.
    pub fn option(&self) -> String {
        match &self.kind {
            MemoryBackendKind::Ram if self.id == Self::DEFAULT_ID => "-m".into(),
            MemoryBackendKind::File { path, .. } if self.id == Self::DEFAULT_ID => {
                format!("-mem-path {}", path.display())
            }
            MemoryBackendKind::Ram => format!("-object memory-backend-ram,id={}", self.id),
            MemoryBackendKind::File { .. } => format!("-object memory-backend-file,id={}", self.id),
            MemoryBackendKind::Memfd { .. } => format!("-object memory-backend-memfd,id={}", self.id),
        }
    }

    /// A private, lazily allocated anonymous mapping with QEMU's defaults.
    pub fn anonymous(id: &str, size: u64) -> Self {
        Self {
            id: id.into(),
            kind: MemoryBackendKind::Ram,
            size,
            share: false,
            merge: true,
            dump: true,
            prealloc: false,
            prealloc_threads: 1,
            reserve: true,
        }
    }
}

/// What a memory backend is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum MemoryBackendKind {
    /// Anonymous memory (`memory-backend-ram`).
    Ram,
    /// A file (`memory-backend-file`), on tmpfs or hugetlbfs as a rule.
    File {
        /// The file, or a directory in which an unnamed file is made.
        path: PathBuf,
        /// Alignment of the mapping in bytes: a power of two; 0: natoma's own, 2 MiB.
        align: u64,
        /// Open the file read-only. The guest's writes stay private to it.
        readonly: bool,
    },
    /// An anonymous file of the kernel (`memory-backend-memfd`) that can be handed to another process.
    Memfd {
        /// Use huge pages.
        hugetlb: bool,
        /// Size of the huge pages in bytes, a power of two; 0: the host's default.
        hugetlbsize: u64,
        /// Seal it against growing and shrinking.
        seal: bool,
    },
}
