//! NUMA: which processors and how much memory are near to each other.

use serde::{Deserialize, Serialize};

/// The nodes of the machine; none: it has no NUMA.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumaConfig {
    /// Memory of each node in bytes, from address 0 on; together that of the machine. At most [`NumaConfig::MOST_NODES`].
    pub memory: Vec<u64>,
    /// The node of each processor that there is or may be, by its number; empty without nodes.
    pub cpus: Vec<u32>,
    /// How far it is from each node (first) to each (second), 10 to itself, 255: not to be reached. Empty: not told.
    pub distances: Vec<Vec<u8>>,
}

impl NumaConfig {
    /// Most nodes: QEMU's limit.
    pub const MOST_NODES: usize = 128;
}
