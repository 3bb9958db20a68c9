//! virtio devices (OASIS virtio 1.2, with the legacy interface of its "Legacy Interface" sections): a device's own part
//! ([`VirtioDevice`]), its driver as it sees it ([`Driver`]), and the PCI function that brings them together ([`VirtioPci`]).
//!
//! A device never touches a ring: it takes [`Chain`]s and gives them back. The transport checks the rings, negotiates
//! features, keeps the status, and interrupts.

pub mod block;
mod driver;
pub mod feature;
pub mod pci;
mod ring;
pub mod scsi;

#[cfg(test)]
mod tests;

pub use driver::Driver;
pub use pci::{Doorbell, DoorbellWatch, PciOptions, QueueClient, RingOptions, VirtioPci, Wiring};
pub use ring::{Chain, ChainId, LARGEST_QUEUE, MOST_DESCRIPTORS};

use crate::base::{Inspector, ResetKind, State, StateError};

/// What kind of device it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its name in messages, traces and saved state, as QEMU spells its type: `virtio-blk-pci`.
    pub name: &'static str,
    /// The id of its type (virtio 1.2, chapter 5).
    pub id: u16,
    /// Its PCI device id if it can be used by legacy drivers.
    pub transitional_id: u16,
    /// PCI class: base class, sub-class, programming interface.
    pub class: u32,
}

/// The part of a virtio device that is its own. Calls come with the function's lock held.
pub trait VirtioDevice: Send {
    /// What kind of device it is. It never changes.
    fn kind(&self) -> Kind;

    /// The feature bits of its own that it offers. They never change.
    fn features(&self) -> u64;

    /// Of those, the ones that only a driver of the legacy interface is offered, and which have no place beside virtio 1.
    fn legacy_features(&self) -> u64 {
        0
    }

    /// Whether it can work with a driver that has accepted these of its features.
    fn accepts(&self, _features: u64) -> bool {
        true
    }

    /// The largest number of entries of each of its queues: a power of two up to [`LARGEST_QUEUE`].
    fn queue_sizes(&self) -> Vec<u16>;

    /// Its configuration structure as it is now, always of the same length.
    fn config(&self) -> Vec<u8>;

    /// The driver has written to the configuration structure.
    fn config_written(&mut self, _offset: usize, _data: &[u8], _driver: &mut Driver) {}

    /// The driver has negotiated features and set up its queues.
    fn started(&mut self, _driver: &mut Driver) {}

    /// The driver has made chains available on a queue, or may have.
    fn queue_notified(&mut self, queue: u16, driver: &mut Driver);

    /// The driver takes a queue back. When this returns nothing touches its chains any more, and none of them is given back.
    fn queue_reset(&mut self, queue: u16, driver: &mut Driver);

    /// Back to the state in which no driver has been there; `None`: a reset by the driver, after which settings that it can't
    /// make stay. When this returns nothing touches any chain any more, and none is given back.
    fn reset(&mut self, kind: Option<ResetKind>);

    /// The state of its own.
    fn save(&self) -> State;

    /// Replaces the state by a saved one, which was made with this driver.
    ///
    /// # Errors
    /// As [`crate::base::Device::load`]; the device is unchanged then.
    fn load(&mut self, state: &State, driver: &Driver) -> Result<(), StateError>;

    /// Reports its state.
    fn inspect(&self, out: &mut Inspector);
}

/// A virtio device with disks: the calls of [`crate::backend::disk::DiskClient`], with the driver to be served.
pub trait VirtioStorage: VirtioDevice {
    /// There are completions.
    fn requests_completed(&mut self, driver: &mut Driver);

    /// The machine goes on after it was stopped: requests that were kept because of an error are submitted again.
    fn resume_requests(&mut self, driver: &mut Driver);

    /// A medium has become longer or shorter.
    fn medium_resized(&mut self, _driver: &mut Driver) {}

    /// Waits until no request is under way, and sees to their completions, and to new requests that these lead to.
    fn drain_requests(&mut self, driver: &mut Driver);
}
