//! Where drivers ring for the device, for a board that has quicker ways to hear of it than an access to a register.

use super::VirtioPci;
use super::layout::{LEGACY_BAR, MODERN_BAR, NOTIFY_AT, doorbell_step};
use super::registers::legacy;
use crate::base::Space;
use crate::virtio::VirtioDevice;

/// A register whose only purpose is that somebody writes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doorbell {
    /// The queue that it is for: the board calls [`VirtioPci::ring`].
    pub queue: u16,
    /// The space it is in.
    pub space: Space,
    /// Where it is now.
    pub address: u64,
    /// The value of 16 bits that has to be written; `None`: any, of any length.
    pub value: Option<u16>,
}

/// Who wants to know where doorbells are. Called with the function's lock held: a leaf.
pub trait DoorbellWatch: Send + Sync {
    /// These are all that there are from now on.
    fn doorbells_moved(&self, doorbells: &[Doorbell]);
}

impl<D: VirtioDevice> VirtioPci<D> {
    /// Where its doorbells are now.
    #[must_use]
    pub fn doorbells(&self) -> Vec<Doorbell> {
        let queues = 0..self.driver.queue_count();
        let ports = self.config.bar_address(LEGACY_BAR).into_iter().flat_map(|base| {
            let address = base + legacy::QUEUE_NOTIFY;
            queues.clone().map(move |queue| Doorbell { queue, space: Space::Port, address, value: Some(queue) })
        });
        let step = doorbell_step(&self.options);
        let memory = self.config.bar_address(MODERN_BAR).into_iter().flat_map(|base| {
            let address = move |queue| base + NOTIFY_AT + u64::from(queue) * step;
            queues.clone().map(move |queue| Doorbell {
                queue,
                space: Space::Memory,
                address: address(queue),
                value: None,
            })
        });
        ports.chain(memory).collect()
    }

    /// Tells who wants to know if doorbells have moved.
    pub(super) fn follow_doorbells(&mut self) {
        let Some(watch) = &self.watch else { return };
        let now = self.doorbells();
        if now != self.rung {
            watch.doorbells_moved(&now);
            self.rung = now;
        }
    }
}
