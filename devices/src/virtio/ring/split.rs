//! The split format (virtio 1.2, section 2.7): a table of descriptors, a ring of those that are available and one of those that
//! are used.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::chain::{Chain, ChainId, Collector, Descriptor, MOST_DESCRIPTORS, flag, table_entries};
use super::{Area, RingError, barrier, feature, passes};
use crate::base::Dma;

/// The driver needs no interrupt: a flag of the available ring.
const NO_INTERRUPT: u16 = 1;
/// The device needs no notification: a flag of the used ring.
const NO_NOTIFY: u16 = 1;

/// Offsets in both rings.
const INDEX: u64 = 2;
const RING: u64 = 4;

/// Where device and driver are in the rings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// The available entry that is taken next.
    next: u16,
    /// The used entry that is written next.
    used: u16,
    /// What the driver knows of `used`. The same between two calls of the device.
    #[serde(skip)]
    published: u16,
    /// Entries up to this one were available when last looked at.
    #[serde(skip)]
    seen: u16,
    /// The driver may have been told to say nothing, by a flag: it is to be told otherwise.
    #[serde(skip)]
    hushed: bool,
}

impl Area {
    fn available_entry(&self, index: u16) -> u64 {
        self.driver.wrapping_add(RING + 2 * u64::from(index % self.size))
    }

    /// Where the driver says at which used entry it wants to be told.
    fn used_event(&self) -> u64 {
        self.driver.wrapping_add(RING + 2 * u64::from(self.size))
    }

    fn used_entry(&self, index: u16) -> u64 {
        self.device.wrapping_add(RING + 8 * u64::from(index % self.size))
    }

    /// Where the device says at which available entry it wants to be told.
    fn available_event(&self) -> u64 {
        self.device.wrapping_add(RING + 8 * u64::from(self.size))
    }
}

impl Split {
    /// Chains that the device has.
    pub fn in_use(&self) -> u16 {
        self.next.wrapping_sub(self.used)
    }

    /// A saved state, if it can be.
    pub fn restored(self, area: &Area) -> Result<Self, String> {
        if self.in_use() > area.size {
            return Err(format!("{} chains are under way in a ring of {}", self.in_use(), area.size));
        }
        // What the flag was is in RAM only.
        Ok(Self { published: self.used, seen: self.next, hushed: true, ..self })
    }

    fn available_index(area: &Area, dma: &Dma) -> Result<u16, RingError> {
        Ok(dma.load(area.driver.wrapping_add(INDEX), Ordering::Acquire)?)
    }

    pub fn pop(
        &mut self,
        area: &Area,
        queue: u16,
        dma: &Dma,
        features: u64,
        quiet: bool,
    ) -> Result<Option<Chain>, RingError> {
        if !self.look(area, dma, features, quiet)? {
            return Ok(None);
        }
        if self.in_use() >= area.size {
            return Err(RingError::TooManyChains { size: area.size });
        }
        let head = dma.load(area.available_entry(self.next), Ordering::Relaxed)?;
        let id = ChainId { queue, id: head, entries: 1 };
        let chain = collect(area, dma, head, features)?.finish(dma, id)?;
        self.next = self.next.wrapping_add(1);
        Ok(Some(chain))
    }

    /// Whether something is available. If not, the driver is asked to tell, or not to (`quiet`).
    fn look(&mut self, area: &Area, dma: &Dma, features: u64, quiet: bool) -> Result<bool, RingError> {
        if self.seen != self.next {
            return Ok(true);
        }
        let mut index = Self::available_index(area, dma)?;
        if index == self.next && self.ask(area, dma, features, quiet)? {
            // The driver writes its index and looks at ours; here it is the other way round.
            barrier();
            index = Self::available_index(area, dma)?;
        }
        let available = index.wrapping_sub(self.next);
        if available > area.size {
            return Err(RingError::Index { available, size: area.size });
        }
        self.seen = index;
        Ok(available != 0)
    }

    /// Says whether the driver is to tell of what it makes available next. True: it may not have known.
    fn ask(&mut self, area: &Area, dma: &Dma, features: u64, quiet: bool) -> Result<bool, RingError> {
        if features & feature::EVENT_IDX != 0 {
            // It has passed the place of the last time, and tells at none until it is given another.
            if !quiet {
                dma.store(area.available_event(), self.next, Ordering::Relaxed)?;
            }
            return Ok(!quiet);
        }
        if self.hushed != quiet {
            dma.store(area.device, if quiet { NO_NOTIFY } else { 0 }, Ordering::Relaxed)?;
            self.hushed = quiet;
            return Ok(!quiet);
        }
        Ok(false)
    }

    pub fn complete(&mut self, area: &Area, dma: &Dma, chain: &ChainId, written: u32) -> Result<(), RingError> {
        let entry = u64::from(written) << 32 | u64::from(chain.id);
        dma.write(area.used_entry(self.used), &entry.to_le_bytes())?;
        self.used = self.used.wrapping_add(1);
        Ok(())
    }

    pub fn publish(&mut self, area: &Area, dma: &Dma, features: u64) -> Result<bool, RingError> {
        if self.published == self.used {
            return Ok(false);
        }
        let old = std::mem::replace(&mut self.published, self.used);
        dma.store(area.device.wrapping_add(INDEX), self.used, Ordering::Release)?;
        barrier();
        if features & feature::NOTIFY_ON_EMPTY != 0
            && self.in_use() == 0
            && Self::available_index(area, dma)? == self.next
        {
            return Ok(true);
        }
        if features & feature::EVENT_IDX != 0 {
            let event = dma.load(area.used_event(), Ordering::Relaxed)?;
            return Ok(passes(event, self.used, old));
        }
        let flags: u16 = dma.load(area.driver, Ordering::Relaxed)?;
        Ok(flags & NO_INTERRUPT == 0)
    }
}

/// Walks the chain that begins with descriptor `head`.
fn collect(area: &Area, dma: &Dma, head: u16, features: u64) -> Result<Collector, RingError> {
    let mut collector = Collector::default();
    let (mut table, mut entries, mut index) = (area.descriptors, u32::from(area.size), head);
    let mut indirect = false;
    // One more for the descriptor that leads to a table.
    for _ in 0..=MOST_DESCRIPTORS {
        if u32::from(index) >= entries {
            return Err(RingError::NoDescriptor { index, entries });
        }
        let Descriptor { address, len, third: flags, fourth: next } = Descriptor::read(dma, table, index)?;
        if flags & flag::INDIRECT != 0 {
            if features & feature::INDIRECT_DESC == 0 {
                return Err(RingError::Indirect("was not agreed on"));
            }
            if indirect {
                return Err(RingError::Indirect("is in another"));
            }
            (table, entries, index, indirect) = (address, table_entries(len)?, 0, true);
            continue;
        }
        collector.add(address, len, flags)?;
        if flags & flag::NEXT == 0 {
            return Ok(collector);
        }
        index = next;
    }
    Err(RingError::Endless { most: MOST_DESCRIPTORS })
}
