//! Where drivers ring for the device, for a board that has quicker ways to hear of it than an access to a register.

use super::VirtioPci;
use super::layout::{LEGACY_BAR, MODERN_BAR, NOTIFY_AT, doorbell_step};
use super::registers::{legacy, status};
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

/// Who wants to know where doorbells are that a driver uses. Called with the function's lock held: a leaf.
pub trait DoorbellWatch: Send + Sync {
    /// These are all that there are from now on.
    fn doorbells_moved(&self, doorbells: &[Doorbell]);
}

/// A device with queues, as the loops of the host see it.
///
/// A loop may also look by itself ([`Self::look`]), again and again, and lets the driver know that it need not tell. Before it
/// waits it has to [`Self::listen`].
pub trait QueueClient: Send {
    /// The driver has rung the doorbell of a queue, and the board has heard it.
    fn ring(&mut self, queue: u16);

    /// Sees to what the driver has made available and to what has been done, without having been told of it. False: there was
    /// nothing.
    fn look(&mut self) -> bool;

    /// The driver has to tell again; and the last [`Self::look`] before it does.
    fn listen(&mut self) -> bool;
}

impl<D: VirtioDevice> QueueClient for VirtioPci<D> {
    fn ring(&mut self, queue: u16) {
        self.notified(queue);
    }

    fn look(&mut self) -> bool {
        self.driver.quiet = true;
        self.ring_all()
    }

    fn listen(&mut self) -> bool {
        self.driver.quiet = false;
        self.ring_all()
    }
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

    /// Looks at all queues as if the driver had told of them; false: nothing was there to be done.
    pub(super) fn ring_all(&mut self) -> bool {
        let before = self.driver.moved;
        for queue in 0..self.driver.queue_count() {
            if self.driver.is_live(queue) {
                self.device.queue_notified(queue, &mut self.driver);
            }
        }
        self.settle();
        self.driver.moved != before
    }

    /// Tells who wants to know if doorbells have moved, or are used by a driver now or no longer.
    pub(super) fn follow_doorbells(&mut self) {
        let Some(watch) = &self.watch else { return };
        let mut now = Vec::new();
        if self.status & status::DRIVER_OK != 0 {
            // Those of the other interface it does not use: should it do so, they are registers like others.
            let space = if self.driver.is_modern() { Space::Memory } else { Space::Port };
            now = self.doorbells();
            now.retain(|doorbell| doorbell.space == space);
        }
        if now != self.rung {
            watch.doorbells_moved(&now);
            self.rung = now;
        }
    }
}
