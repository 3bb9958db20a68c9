//! Virtqueues (virtio 1.2, sections 2.6 to 2.8): what the driver has made available, and what the device has used.
//!
//! The rings are in RAM, and a hostile guest writes to them at any time. So every value is read once, into a local, and checked
//! there; a chain is walked over no more descriptors than its table has; no more chains are under way than the ring has
//! entries. Whatever breaks a rule is a [`RingError`], upon which the device is not used until it is reset.

mod chain;
mod packed;
mod split;

pub use chain::{Chain, ChainId, MOST_DESCRIPTORS};

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use self::packed::Packed;
use self::split::Split;
use super::feature;
use crate::base::{Dma, DmaError};

/// Most entries of a queue.
pub const LARGEST_QUEUE: u16 = 1024;

/// What a driver has done wrong with a queue.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// Something lies outside RAM, or not where its kind has to.
    #[error("the ring or a buffer is not in RAM, or not aligned: {0}")]
    Ram(#[from] DmaError),
    /// The index of a ring has jumped.
    #[error("the driver has made {available} entries available in a ring of {size}")]
    Index {
        /// How many it claims.
        available: u16,
        /// How many there are.
        size: u16,
    },
    /// There is no descriptor of that number.
    #[error("descriptor {index} of a table of {entries}")]
    NoDescriptor {
        /// Its number.
        index: u16,
        /// How many there are.
        entries: u32,
    },
    /// More chains are under way than a ring can hold.
    #[error("more chains are under way than the ring has entries ({size})")]
    TooManyChains {
        /// Entries of the ring.
        size: u16,
    },
    /// A chain does not end.
    #[error("a chain of descriptors is a loop, or has more than {most} of them")]
    Endless {
        /// How many there can be.
        most: usize,
    },
    /// A descriptor of no bytes.
    #[error("a descriptor has no bytes")]
    Empty,
    /// A descriptor for reading follows one for writing.
    #[error("a descriptor that the device reads follows one that it writes")]
    Order,
    /// A table of descriptors where there can be none.
    #[error("a table of descriptors {0}")]
    Indirect(&'static str),
}

/// Number of a vector that is none.
pub const NO_VECTOR: u16 = 0xffff;

/// Whether one side wants to be told: an index has gone from `old` to `new`, and it asked to be told when it passes `event`.
fn passes(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

/// Where a queue is. The names of the areas are those of virtio 1; in the split format they are the descriptor
/// table, the available ring and the used ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Area {
    /// Number of entries.
    pub size: u16,
    /// Address of the descriptors.
    pub descriptors: u64,
    /// Address of what the driver writes.
    pub driver: u64,
    /// Address of what the device writes.
    pub device: u64,
}

/// The rings of a queue, and where both sides are in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Ring {
    Split(Split),
    Packed(Packed),
}

/// One queue as the device has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Entries after a reset.
    largest: u16,
    /// Where it is; the driver's to set until it is enabled.
    pub area: Area,
    /// The driver has enabled it.
    enabled: bool,
    /// The message that tells of used buffers.
    pub vector: u16,
    ring: Ring,
}

impl Queue {
    /// A queue that the driver has not set up.
    pub fn new(largest: u16) -> Self {
        Self {
            largest,
            area: Area { size: largest, ..Area::default() },
            enabled: false,
            vector: NO_VECTOR,
            ring: Ring::Split(Split::default()),
        }
    }

    /// Back to how it was made.
    pub fn reset(&mut self) {
        *self = Self::new(self.largest);
    }

    /// Entries after a reset.
    pub fn largest(&self) -> u16 {
        self.largest
    }

    /// Whether the driver has enabled it.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Whether a ring of this size and format can be.
    fn has_size(&self, size: u16, packed: bool) -> bool {
        (1..=self.largest).contains(&size) && (packed || size.is_power_of_two())
    }

    /// The driver enables it, having accepted `features`; false if its size can't be.
    pub fn enable(&mut self, features: u64) -> bool {
        let packed = features & feature::RING_PACKED != 0;
        let possible = self.has_size(self.area.size, packed);
        if possible {
            self.ring = if packed { Ring::Packed(Packed::default()) } else { Ring::Split(Split::default()) };
            self.enabled = true;
        }
        possible
    }

    /// Takes the next chain that the driver has made available. `number` is the queue's own. Without one the driver
    /// is asked to tell when there is, or (`quiet`) not to.
    pub fn pop(&mut self, number: u16, dma: &Dma, features: u64, quiet: bool) -> Result<Option<Chain>, RingError> {
        match &mut self.ring {
            Ring::Split(ring) => ring.pop(&self.area, number, dma, features, quiet),
            Ring::Packed(ring) => ring.pop(&self.area, number, dma, features, quiet),
        }
    }

    /// Gives a chain back, of which `written` bytes were written. The driver sees it once it was published.
    pub fn complete(&mut self, dma: &Dma, chain: &ChainId, written: u32) -> Result<(), RingError> {
        match &mut self.ring {
            Ring::Split(ring) => ring.complete(&self.area, dma, chain, written),
            Ring::Packed(ring) => ring.complete(&self.area, dma, chain, written),
        }
    }

    /// Shows the driver what was given back; true: it wants to be told.
    pub fn publish(&mut self, dma: &Dma, features: u64) -> Result<bool, RingError> {
        match &mut self.ring {
            Ring::Split(ring) => ring.publish(&self.area, dma, features),
            Ring::Packed(ring) => ring.publish(&self.area, dma, features),
        }
    }

    /// Chains that the device has.
    pub fn in_use(&self) -> u16 {
        match &self.ring {
            Ring::Split(ring) => ring.in_use(),
            Ring::Packed(ring) => ring.in_use(),
        }
    }

    /// The guest-visible state.
    pub fn save(&self) -> QueueState {
        let Self { largest: _, area, enabled, vector, ring } = self;
        QueueState { area: *area, enabled: *enabled, vector: *vector, ring: ring.clone() }
    }

    /// The queue of a saved state, in place of this one. A driver that has accepted `features` made it.
    pub fn restored(&self, state: QueueState, features: u64) -> Result<Self, String> {
        let QueueState { area, enabled, vector, ring } = state;
        let packed = features & feature::RING_PACKED != 0;
        if enabled && !self.has_size(area.size, packed) {
            return Err(format!("there is no queue with {} entries", area.size));
        }
        let ring = match ring {
            Ring::Split(ring) if !enabled && ring == Split::default() => Ring::Split(ring),
            Ring::Split(ring) if enabled && !packed => Ring::Split(ring.restored(&area)?),
            Ring::Packed(ring) if enabled && packed => Ring::Packed(ring.restored(&area)?),
            _ if enabled => return Err("it is not of the format that was agreed on".into()),
            _ => return Err("it is in use without being enabled".into()),
        };
        Ok(Self { largest: self.largest, area, enabled, vector, ring })
    }
}

/// Saved form of a [`Queue`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueState {
    area: Area,
    enabled: bool,
    /// The message that tells of used buffers.
    pub vector: u16,
    ring: Ring,
}

/// Makes what was written before visible to the driver before anything is read that it writes.
fn barrier() {
    std::sync::atomic::fence(Ordering::SeqCst);
}
