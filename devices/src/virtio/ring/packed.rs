//! The packed format (virtio 1.2, section 2.8): one ring of descriptors, which both sides write.
//!
//! A descriptor is available if its AVAIL flag is as the driver's wrap counter, and its USED flag is not; it is used if both are as
//! the device's. Each side changes its counter whenever it comes to the end of the ring.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::chain::{Chain, ChainId, Collector, DESCRIPTOR, Descriptor, MOST_DESCRIPTORS, flag, table_entries};
use super::{Area, RingError, barrier, feature, passes};
use crate::base::Dma;

/// Further flags of a descriptor.
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;
/// Where they are in it.
const FLAGS: u64 = 14;

/// What a side wants to be told of: the flags word of an event suppression structure, and the one for a place in the ring.
mod event {
    pub const ENABLE: u16 = 0;
    pub const DISABLE: u16 = 1;
    pub const PLACE: u16 = 2;
    /// Of the first word: the wrap counter.
    pub const WRAP: u16 = 1 << 15;
    /// Offset of the flags word.
    pub const FLAGS: u64 = 2;
}

/// A place in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    index: u16,
    wrap: bool,
}

impl Place {
    const START: Self = Self { index: 0, wrap: true };

    /// The place `entries` further on; no more than there are.
    fn after(self, entries: u16, size: u16) -> Self {
        let index = self.index + entries;
        if index >= size { Self { index: index - size, wrap: !self.wrap } } else { Self { index, ..self } }
    }
}

/// Where the device is in the ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packed {
    /// The descriptor that is taken next.
    next: Place,
    /// The descriptor that is used next.
    used: Place,
    /// Chains that the device has.
    in_use: u16,
    /// Entries that were used since the driver was last told, or not. None between two calls of the device.
    #[serde(skip)]
    fresh: u16,
    /// The driver has been told to say nothing.
    #[serde(skip)]
    hushed: bool,
}

impl Default for Packed {
    fn default() -> Self {
        Self { next: Place::START, used: Place::START, in_use: 0, fresh: 0, hushed: false }
    }
}

impl Packed {
    /// Chains that the device has.
    pub fn in_use(&self) -> u16 {
        self.in_use
    }

    /// A saved state, if it can be.
    pub fn restored(self, area: &Area) -> Result<Self, String> {
        let Self { next, used, in_use, fresh: _, hushed: _ } = &self;
        if next.index >= area.size || used.index >= area.size {
            return Err("a place is behind the end of the ring".into());
        }
        if *in_use > area.size {
            return Err(format!("{in_use} chains are under way in a ring of {}", area.size));
        }
        Ok(self)
    }

    fn is_available(&self, area: &Area, dma: &Dma) -> Result<bool, RingError> {
        let at = area.descriptors.wrapping_add(u64::from(self.next.index) * DESCRIPTOR + FLAGS);
        let flags: u16 = dma.load(at, Ordering::Acquire)?;
        Ok((flags & AVAIL != 0) == self.next.wrap && (flags & USED != 0) != self.next.wrap)
    }

    pub fn pop(
        &mut self,
        area: &Area,
        queue: u16,
        dma: &Dma,
        features: u64,
        quiet: bool,
    ) -> Result<Option<Chain>, RingError> {
        if !self.is_available(area, dma)? {
            self.ask(area, dma, features, quiet)?;
            if quiet {
                return Ok(None);
            }
            // The driver writes a descriptor and looks at this; here it is the other way round.
            barrier();
            if !self.is_available(area, dma)? {
                return Ok(None);
            }
        }
        if self.in_use >= area.size {
            return Err(RingError::TooManyChains { size: area.size });
        }
        let (collector, id, entries) = self.collect(area, dma, features)?;
        let chain = collector.finish(dma, ChainId { queue, id, entries })?;
        self.next = self.next.after(entries, area.size);
        self.in_use += 1;
        Ok(Some(chain))
    }

    /// Asks the driver to tell of what it makes available next, or not to (`quiet`).
    fn ask(&mut self, area: &Area, dma: &Dma, features: u64, quiet: bool) -> Result<(), RingError> {
        let flags = area.device.wrapping_add(event::FLAGS);
        if quiet {
            if !self.hushed {
                dma.store(flags, event::DISABLE, Ordering::Relaxed)?;
            }
        } else if features & feature::EVENT_IDX != 0 {
            let wrap = if self.next.wrap { event::WRAP } else { 0 };
            dma.store(area.device, self.next.index | wrap, Ordering::Relaxed)?;
            dma.store(flags, event::PLACE, Ordering::Release)?;
        } else {
            dma.store(flags, event::ENABLE, Ordering::Relaxed)?;
        }
        self.hushed = quiet;
        Ok(())
    }

    /// The chain that begins at the next place: what is in it, the id of its buffer, and the entries it takes.
    fn collect(&self, area: &Area, dma: &Dma, features: u64) -> Result<(Collector, u16, u16), RingError> {
        let mut collector = Collector::default();
        for entries in 1..=area.size {
            let at = self.next.after(entries - 1, area.size);
            let Descriptor { address, len, third: id, fourth: flags } =
                Descriptor::read(dma, area.descriptors, at.index)?;
            if flags & flag::INDIRECT != 0 {
                if features & feature::INDIRECT_DESC == 0 {
                    return Err(RingError::Indirect("was not agreed on"));
                }
                if entries != 1 || flags & flag::NEXT != 0 {
                    return Err(RingError::Indirect("is part of a chain"));
                }
                collect_table(&mut collector, dma, address, table_entries(len)?)?;
                return Ok((collector, id, entries));
            }
            collector.add(address, len, flags)?;
            if flags & flag::NEXT == 0 {
                return Ok((collector, id, entries));
            }
        }
        Err(RingError::Endless { most: usize::from(area.size) })
    }

    pub fn complete(&mut self, area: &Area, dma: &Dma, chain: &ChainId, written: u32) -> Result<(), RingError> {
        let at = area.descriptors.wrapping_add(u64::from(self.used.index) * DESCRIPTOR);
        // The length and then the id; the flags behind them make them valid.
        let mut bytes = [0; 6];
        bytes[..4].copy_from_slice(&written.to_le_bytes());
        bytes[4..].copy_from_slice(&chain.id.to_le_bytes());
        dma.write(at.wrapping_add(8), &bytes)?;
        let wrap = if self.used.wrap { AVAIL | USED } else { 0 };
        let write = if written == 0 { 0 } else { flag::WRITE };
        dma.store(at.wrapping_add(FLAGS), wrap | write, Ordering::Release)?;
        // A saved state may name chains of any length: the ring has no more than its size.
        let entries = chain.entries.clamp(1, area.size);
        self.used = self.used.after(entries, area.size);
        self.fresh = self.fresh.saturating_add(entries);
        self.in_use = self.in_use.saturating_sub(1);
        Ok(())
    }

    pub fn publish(&mut self, area: &Area, dma: &Dma, features: u64) -> Result<bool, RingError> {
        let fresh = std::mem::take(&mut self.fresh);
        if fresh == 0 {
            return Ok(false);
        }
        barrier();
        let flags: u16 = dma.load(area.driver.wrapping_add(event::FLAGS), Ordering::Acquire)?;
        Ok(match flags {
            event::DISABLE => false,
            event::PLACE if features & feature::EVENT_IDX != 0 => {
                let wanted: u16 = dma.load(area.driver, Ordering::Relaxed)?;
                let mut place = wanted & !event::WRAP;
                if (wanted & event::WRAP != 0) != self.used.wrap {
                    place = place.wrapping_sub(area.size);
                }
                passes(place, self.used.index, self.used.index.wrapping_sub(fresh))
            }
            _ => true,
        })
    }
}

/// The descriptors of a table: one after the other, all of it one chain.
fn collect_table(collector: &mut Collector, dma: &Dma, table: u64, entries: u32) -> Result<(), RingError> {
    if entries as usize > MOST_DESCRIPTORS {
        return Err(RingError::Endless { most: MOST_DESCRIPTORS });
    }
    for index in 0..entries as u16 {
        let Descriptor { address, len, fourth: flags, .. } = Descriptor::read(dma, table, index)?;
        if flags & flag::INDIRECT != 0 {
            return Err(RingError::Indirect("is in another"));
        }
        collector.add(address, len, flags)?;
    }
    Ok(())
}
