//! Disk back ends: where the sectors of a disk or CD are kept, by requests that complete later.
//!
//! A device *submits* a [`Request`] and goes on; when the back end has carried it out, a [`Completion`] waits to be taken.
//! A back end never calls the device: it rings a bell of the host's, whose loop then locks the device and calls
//! [`DiskClient::requests_completed`]. One that completes at once ([`AtOnce`]) needs no bell, as a device looks for completions
//! after it has submitted. Data goes straight between the medium and guest RAM where it can ([`Payload::Guest`]).
//!
//! [`DiskPort`] is the device's end of all this: it knows which requests are not done, what an error leads to
//! ([`ErrorPolicy`]), and how to save what is not done and submit it again.

mod at_once;
mod in_flight;
mod port;
#[cfg(any(test, feature = "testing"))]
mod scripted;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use at_once::AtOnce;
pub(crate) use in_flight::InFlight;
pub(crate) use port::NAMES;
pub use port::{DiskPort, DiskPortState, Done, ErrorAction, ErrorPolicy, ErrorReport, ErrorReporter, OnError};
#[cfg(any(test, feature = "testing"))]
pub use scripted::{Fault, ScriptedDisk};

use super::block::BlockError;
use crate::base::GuestBuffer;
use serde::{Deserialize, Serialize};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Operation {
    /// Bytes of the medium to the payload.
    Read,
    /// The payload to the medium.
    Write {
        /// It is complete only when the bytes survive a loss of power.
        durable: bool,
    },
    /// Everything whose completion was seen before survives a loss of power.
    Flush,
    /// The guest does not need these bytes any more: what they read as from now on is undefined.
    Discard,
    /// The bytes become zeroes.
    WriteZeroes {
        /// They need not keep room on the host.
        may_unmap: bool,
    },
}

impl Operation {
    /// Whether the medium would be changed.
    #[must_use]
    pub fn modifies(self) -> bool {
        matches!(self, Self::Write { .. } | Self::Discard | Self::WriteZeroes { .. })
    }
}

/// Where the bytes of a request come from or go to.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Nowhere: the operation has no data, or a read brings its own back in [`Completion::result`].
    None,
    /// From here (a write).
    Bytes(Arc<[u8]>),
    /// From or to guest RAM.
    Guest(GuestBuffer),
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Names it among those that are not done.
    pub id: u64,
    /// What is to be done.
    pub operation: Operation,
    /// First byte on the medium.
    pub offset: u64,
    /// Number of bytes; 0 for a flush.
    pub len: u64,
    /// The data.
    pub payload: Payload,
}

/// A request that has ended.
#[derive(Debug)]
pub struct Completion {
    /// Its name.
    pub id: u64,
    /// The bytes of a read without a place for them, otherwise nothing; or why it failed. It may then have been done in part.
    pub result: Result<Vec<u8>, BlockError>,
}

/// A medium that takes requests. Several may be under way at a time and end in any order: a device that needs an order waits.
/// Calls come with the device's lock held.
pub trait DiskBackend: Send {
    /// Length of the medium in bytes.
    fn len(&self) -> u64;

    /// Whether there is nothing on it, not even room.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether everything that would change it fails.
    fn is_read_only(&self) -> bool;

    /// Takes a request, of which a completion will tell.
    fn submit(&mut self, request: Request);

    /// Takes the next completion, if there is one now.
    fn completed(&mut self) -> Option<Completion>;

    /// Waits until every request that was submitted has a completion.
    fn drain(&mut self);

    /// Gives up all requests: when it returns none of them touches the medium or guest RAM any more, and none will have a
    /// completion. Those that had begun have been carried out, others may have been.
    fn cancel(&mut self);
}

/// A device with disks, as the loops of the host see it.
pub trait DiskClient: Send {
    /// There are completions.
    fn requests_completed(&mut self);

    /// The machine goes on after it was stopped: requests that were kept because of an error are submitted again.
    fn resume_requests(&mut self);

    /// A medium has become longer or shorter.
    fn medium_resized(&mut self) {}

    /// Waits until no request is under way, and sees to their completions. Completions may lead to new requests, which are
    /// waited for too.
    fn drain_requests(&mut self);
}
