//! The driver as a device sees it: what it has accepted, and the queues it has set up.

use std::fmt;

use smallvec::SmallVec;

use super::feature;
use super::ring::{Chain, ChainId, Queue};
use crate::base::{Dma, GuestLog};

/// What the function has to tell the driver, once the device is done.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Queues with used buffers of which it wants to know.
    pub queues: SmallVec<[u16; 4]>,
    /// The configuration has changed, or the device has failed.
    pub configuration: bool,
}

/// The driver's side of a device.
///
/// A device takes chains of descriptors from a queue ([`Self::pop`]), does what they ask for, now or later, and gives each back
/// once ([`Self::complete`]). The transport shows them to the driver, and interrupts, when the device is done with what
/// it has been called for.
pub struct Driver {
    name: &'static str,
    dma: Dma,
    pub(super) queues: Vec<Queue>,
    /// What it has accepted of what it was offered.
    pub(super) features: u64,
    /// It has said that it is ready, or need not (legacy).
    pub(super) ready: bool,
    /// It has broken a rule, and has to reset the device.
    pub(super) failed: bool,
    /// It need not tell of chains: somebody looks all the time.
    pub(super) quiet: bool,
    /// Chains taken and given back.
    pub(super) moved: u64,
    /// Queues on which something was given back and not shown yet.
    used: Vec<u16>,
    configuration_changed: bool,
    log: GuestLog,
}

impl Driver {
    /// No driver yet. `name` is that of the device in messages; `sizes` those of its queues.
    pub(super) fn new(name: &'static str, dma: Dma, sizes: &[u16]) -> Self {
        Self {
            name,
            dma,
            queues: sizes.iter().map(|size| Queue::new(*size)).collect(),
            features: 0,
            ready: false,
            failed: false,
            quiet: false,
            moved: 0,
            used: Vec::new(),
            configuration_changed: false,
            log: GuestLog::default(),
        }
    }

    /// The driver is gone.
    pub(super) fn reset(&mut self) {
        self.queues.iter_mut().for_each(Queue::reset);
        self.features = 0;
        self.ready = false;
        self.failed = false;
        self.used.clear();
        self.configuration_changed = false;
    }

    /// A driver with the same RAM and these features and queues, of a saved state. It is not ready.
    pub(super) fn restored(&self, features: u64, queues: Vec<Queue>, failed: bool) -> Self {
        Self {
            name: self.name,
            dma: self.dma.clone(),
            queues,
            features,
            ready: false,
            failed,
            quiet: self.quiet,
            moved: self.moved,
            used: Vec::new(),
            configuration_changed: false,
            log: GuestLog::default(),
        }
    }

    /// Whether it has accepted all of these features.
    #[must_use]
    pub fn has(&self, features: u64) -> bool {
        self.features & features == features
    }

    /// Whether it is one of virtio 1, not a legacy one.
    #[must_use]
    pub fn is_modern(&self) -> bool {
        self.has(feature::VERSION_1)
    }

    /// Its RAM.
    #[must_use]
    pub fn dma(&self) -> &Dma {
        &self.dma
    }

    /// How many queues there are.
    #[must_use]
    pub fn queue_count(&self) -> u16 {
        self.queues.len() as u16
    }

    /// Whether chains can be had from a queue.
    #[must_use]
    pub fn is_live(&self, queue: u16) -> bool {
        self.ready && !self.failed && self.queues.get(usize::from(queue)).is_some_and(Queue::is_enabled)
    }

    /// Takes the next chain of a queue. `None`: there is none now; the driver will notify when there is.
    pub fn pop(&mut self, queue: u16) -> Option<Chain> {
        // While the function may not master the bus it sees no chains.
        if !self.is_live(queue) || !self.dma.is_enabled() {
            return None;
        }
        match self.queues[usize::from(queue)].pop(queue, &self.dma, self.features, self.quiet) {
            Ok(chain) => {
                self.moved += u64::from(chain.is_some());
                chain
            }
            Err(error) => {
                self.fail(format_args!("queue {queue}: {error}"));
                None
            }
        }
    }

    /// Gives back a chain, of whose room the first `written` bytes were written. A chain of a queue that was reset meanwhile is
    /// forgotten by the device, not given back.
    pub fn complete(&mut self, chain: &ChainId, written: u32) {
        if !self.is_live(chain.queue) || !self.dma.is_enabled() {
            return;
        }
        self.moved += 1;
        match self.queues[usize::from(chain.queue)].complete(&self.dma, chain, written) {
            Ok(()) if self.used.contains(&chain.queue) => {}
            Ok(()) => self.used.push(chain.queue),
            Err(error) => self.fail(format_args!("queue {}: {error}", chain.queue)),
        }
    }

    /// The driver has broken a rule: nothing is done for it any more until it resets the device.
    pub fn fail(&mut self, why: fmt::Arguments<'_>) {
        self.log.warn(self.name, format_args!("{why}; the device needs a reset"));
        self.failed = true;
        // Only a driver of virtio 1 knows the bit that tells of this.
        self.configuration_changed |= self.is_modern();
    }

    /// The device's configuration has changed.
    pub fn configuration_changed(&mut self) {
        self.configuration_changed = true;
    }

    /// Shows the driver what was given back, and says what it has to be told.
    pub(super) fn publish(&mut self) -> News {
        let mut news = News { configuration: std::mem::take(&mut self.configuration_changed), ..News::default() };
        let mut used = std::mem::take(&mut self.used);
        for number in used.drain(..) {
            let Some(queue) = self.queues.get_mut(usize::from(number)) else { continue };
            match queue.publish(&self.dma, self.features) {
                Ok(true) => news.queues.push(number),
                Ok(false) => {}
                // Nobody is told of a fault of what had been in order a moment before but in the device's status.
                Err(error) => self.fail(format_args!("queue {number}: {error}")),
            }
        }
        // Its room is needed again.
        self.used = used;
        news.configuration |= std::mem::take(&mut self.configuration_changed);
        news
    }
}
