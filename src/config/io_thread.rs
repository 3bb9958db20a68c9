//! Threads that serve the queues of devices.

use serde::{Deserialize, Serialize};

/// A thread that serves queues of devices (`-object iothread`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IoThread {
    /// Its name.
    pub id: String,
    /// Longest time, in nanoseconds, for which it looks for more to do before it sleeps; 0: it sleeps at once.
    pub poll_max_ns: u64,
    /// By what that time grows when it was too short; 0: by 2.
    pub poll_grow: u64,
    /// By what it shrinks when even the longest was; 0: to nothing.
    pub poll_shrink: u64,
    /// Most requests that go to the host at once; 0: as many as there are. It is told, and has no effect: all that a device
    /// makes together goes together.
    pub aio_max_batch: u64,
}

impl IoThread {
    /// A thread with QEMU's defaults.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), poll_max_ns: 32768, poll_grow: 0, poll_shrink: 0, aio_max_batch: 0 }
    }
}
