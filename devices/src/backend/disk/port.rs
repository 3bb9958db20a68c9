//! The device's end of a disk: what is not done yet, and what errors lead to.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Completion, DiskBackend, InFlight, Operation, Payload, Request};
use crate::backend::block::BlockError;
pub use crate::base::ErrorAction;
use crate::base::{Dma, StateError};

/// No device gives its requests so many names, which are counted up.
pub(crate) const NAMES: u64 = 1 << 63;
/// Most bytes that a device reads at a time without a place for them in RAM.
const MOST_UNPLACED: u64 = 2 << 20;

/// What an error of the host leads to, as `rerror=` and `werror=` spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// The guest is told.
    Report,
    /// The machine stops, and the request is submitted again when it goes on.
    Stop,
    /// The guest is told that all is well.
    Ignore,
    /// The machine stops if the host's storage is full; the guest is told of all other errors.
    Enospc,
}

/// What errors lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorPolicy {
    /// Errors of reads.
    pub read: OnError,
    /// Errors of writes and flushes.
    pub write: OnError,
}

impl Default for ErrorPolicy {
    fn default() -> Self {
        Self { read: OnError::Report, write: OnError::Enospc }
    }
}

impl ErrorPolicy {
    /// What `error` of `operation` leads to. What is the guest's own mistake it is always told of. A request that was given up,
    /// as the machine was to be stopped say, is made again when the machine goes on; one that tells of lost writes is not, as it
    /// would end well.
    #[must_use]
    pub fn action(&self, operation: Operation, error: &BlockError) -> ErrorAction {
        match error {
            BlockError::ReadOnly | BlockError::OutOfRange { .. } => return ErrorAction::Report,
            BlockError::GivenUp(_) => return ErrorAction::Stop,
            BlockError::Lost(_) if self.write != OnError::Ignore => return ErrorAction::Report,
            BlockError::Lost(_) | BlockError::NoSpace | BlockError::Io(_) => {}
        }
        let policy = if operation == Operation::Read { self.read } else { self.write };
        match policy {
            OnError::Report => ErrorAction::Report,
            OnError::Ignore => ErrorAction::Ignore,
            OnError::Stop => ErrorAction::Stop,
            OnError::Enospc if matches!(error, BlockError::NoSpace) => ErrorAction::Stop,
            OnError::Enospc => ErrorAction::Report,
        }
    }
}

/// An error and what it has led to.
#[derive(Debug)]
pub struct ErrorReport<'a> {
    /// What was to be done.
    pub operation: Operation,
    /// First byte on the medium.
    pub offset: u64,
    /// Why it failed.
    pub error: &'a BlockError,
    /// What happens now. The machine has to be stopped if it is [`ErrorAction::Stop`].
    pub action: ErrorAction,
}

/// Who is told of errors. Called with the device's lock held: it must not call the device.
pub trait ErrorReporter: Send + Sync {
    /// The host has failed.
    fn disk_error(&self, report: &ErrorReport<'_>);

    /// The machine goes on: what has stopped it is to be tried again.
    fn resumed(&self) {}
}

/// A request that has ended for the device.
#[derive(Debug)]
pub struct Done {
    /// Its name.
    pub id: u64,
    /// What was to be done.
    pub operation: Operation,
    /// The bytes of a read without a place for them (zeroes where an error is ignored), or why the guest is to be told of a failure.
    pub result: Result<Vec<u8>, BlockError>,
}

struct Pending {
    request: Request,
    /// It has failed, and is submitted again when the machine goes on.
    held: bool,
}

/// A connector for a disk, which may be empty.
pub struct DiskPort {
    backend: Option<Box<dyn DiskBackend>>,
    policy: ErrorPolicy,
    reporter: Arc<dyn ErrorReporter>,
    next_id: u64,
    pending: InFlight<Pending>,
}

impl DiskPort {
    /// A connector with this disk.
    pub fn new(backend: Option<Box<dyn DiskBackend>>, policy: ErrorPolicy, reporter: Arc<dyn ErrorReporter>) -> Self {
        Self { backend, policy, reporter, next_id: 0, pending: InFlight::default() }
    }

    /// Length of the medium in bytes; `None` if there is none.
    #[must_use]
    pub fn len(&self) -> Option<u64> {
        self.backend.as_ref().map(|backend| backend.len())
    }

    /// Whether there is no medium.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.backend.is_none()
    }

    /// Whether the medium can't be changed; so if there is none.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.backend.as_ref().is_none_or(|backend| backend.is_read_only())
    }

    /// Puts in another medium, or none, and gives back the one that was there. What was under way is given up.
    pub fn replace(&mut self, backend: Option<Box<dyn DiskBackend>>) -> Option<Box<dyn DiskBackend>> {
        self.cancel();
        std::mem::replace(&mut self.backend, backend)
    }

    /// Submits a request and gives its name. Without a medium nothing will ever be heard of it: ask first.
    pub fn submit(&mut self, operation: Operation, offset: u64, len: u64, payload: Payload) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let request = Request { id, operation, offset, len, payload };
        if let Some(backend) = &mut self.backend {
            backend.submit(request.clone());
        }
        self.pending.insert(id, Pending { request, held: false });
        id
    }

    /// Takes the next request that has ended and of which the device is to know.
    pub fn completed(&mut self) -> Option<Done> {
        loop {
            let Completion { id, result } = self.backend.as_mut()?.completed()?;
            let Some(pending) = self.pending.get_mut(id) else { continue };
            let Request { operation, offset, len, .. } = pending.request;
            let result = match result {
                Ok(data) => Ok(data),
                Err(error) => {
                    let action = self.policy.action(operation, &error);
                    self.reporter.disk_error(&ErrorReport { operation, offset, error: &error, action });
                    match action {
                        ErrorAction::Report => Err(error),
                        ErrorAction::Ignore => Ok(match (operation, &pending.request.payload) {
                            (Operation::Read, Payload::None) => vec![0; usize::try_from(len).unwrap_or(0)],
                            _ => Vec::new(),
                        }),
                        ErrorAction::Stop => {
                            pending.held = true;
                            continue;
                        }
                    }
                }
            };
            self.pending.remove(id);
            return Some(Done { id, operation, result });
        }
    }

    /// Whether requests are under way at the back end.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.pending.values().any(|pending| !pending.held)
    }

    /// The requests that are not done, in the order in which they were submitted.
    pub fn pending(&self) -> impl Iterator<Item = &Request> {
        self.pending.iter().map(|(_, pending)| &pending.request)
    }

    /// Submits again what was kept because of an error.
    pub fn resume(&mut self) {
        self.reporter.resumed();
        let Some(backend) = &mut self.backend else { return };
        for (_, pending) in self.pending.iter_mut().filter(|(_, pending)| pending.held) {
            pending.held = false;
            backend.submit(pending.request.clone());
        }
    }

    /// Gives up a request that was kept because of an error. One that is under way stays: drain first.
    pub fn forget(&mut self, id: u64) {
        if self.pending.get(id).is_some_and(|pending| pending.held) {
            self.pending.remove(id);
        }
    }

    /// Waits for the requests that are under way; their completions can be taken then.
    pub fn drain(&mut self) {
        if let Some(backend) = &mut self.backend {
            backend.drain();
        }
    }

    /// Gives up one request, after those that are under way have been carried out: nothing is heard of it any more.
    pub fn abandon(&mut self, id: u64) {
        if self.pending.get(id).is_some_and(|pending| !pending.held) {
            self.drain();
        }
        self.pending.remove(id);
    }

    /// Gives up all requests, also those that were kept because of an error.
    pub fn cancel(&mut self) {
        if let Some(backend) = &mut self.backend
            && !self.pending.is_empty()
        {
            backend.cancel();
        }
        self.pending.clear();
    }

    /// What is not done: it will be submitted after the state has been loaded.
    #[must_use]
    pub fn save(&self) -> DiskPortState {
        DiskPortState { next_id: self.next_id, pending: self.pending().map(SavedRequest::of).collect() }
    }

    /// Checks a saved state without taking it over, and gives the requests in it. `most` is how many of them a device of
    /// this kind can have; `dma` leads to the guest's RAM.
    ///
    /// # Errors
    /// There are too many, a name occurs twice or was not given yet, a payload is not RAM or not as long as its request, or more
    /// is read without a payload than any device does.
    pub fn check(&self, state: &DiskPortState, most: usize, dma: &Dma) -> Result<Vec<Request>, StateError> {
        let refuse = |why: &str| StateError::invalid("requests", why);
        if state.pending.len() > most {
            return Err(refuse("there are more of them than the device can have"));
        }
        if self.is_empty() && !state.pending.is_empty() {
            return Err(refuse("there is no medium for them"));
        }
        if !state.pending.is_sorted_by(|a, b| a.id < b.id)
            || state.pending.last().is_some_and(|last| last.id >= state.next_id)
        {
            return Err(refuse("they are not numbered in their order"));
        }
        if state.next_id >= NAMES {
            return Err(refuse("there can't have been so many before"));
        }
        state.pending.iter().map(|saved| saved.restore(dma)).collect()
    }

    /// Takes over the requests of a saved state, which [`Self::check`] has made of it. They wait for [`Self::resume`].
    pub fn load(&mut self, state: &DiskPortState, requests: Vec<Request>) {
        self.cancel();
        self.next_id = state.next_id;
        self.pending = requests.into_iter().map(|request| (request.id, Pending { request, held: true })).collect();
    }
}

/// Saved form of a [`DiskPort`], part of the device's own state type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskPortState {
    next_id: u64,
    pending: Vec<SavedRequest>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedRequest {
    id: u64,
    operation: Operation,
    offset: u64,
    len: u64,
    payload: SavedPayload,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum SavedPayload {
    None,
    Bytes(Vec<u8>),
    /// Addresses and lengths.
    Guest(Vec<(u64, u32)>),
}

impl SavedRequest {
    fn of(request: &Request) -> Self {
        let Request { id, operation, offset, len, payload } = request;
        let payload = match payload {
            Payload::None => SavedPayload::None,
            Payload::Bytes(bytes) => SavedPayload::Bytes(bytes.to_vec()),
            Payload::Guest(buffer) => SavedPayload::Guest(buffer.ranges().to_vec()),
        };
        Self { id: *id, operation: *operation, offset: *offset, len: *len, payload }
    }

    fn restore(&self, dma: &Dma) -> Result<Request, StateError> {
        let Self { id, operation, offset, len, payload } = self;
        let refuse = |why: String| StateError::invalid("requests", why);
        let (payload, has) = match payload {
            SavedPayload::None => (Payload::None, None),
            SavedPayload::Bytes(bytes) => (Payload::Bytes(bytes.as_slice().into()), Some(bytes.len() as u64)),
            SavedPayload::Guest(ranges) => {
                // The gate may be closed by now: it was open when the request was made.
                let buffer = dma.buffer_in_ram(ranges.clone()).map_err(|error| refuse(error.to_string()))?;
                let len = buffer.len() as u64;
                (Payload::Guest(buffer), Some(len))
            }
        };
        if has.is_some_and(|has| has != *len) || (has.is_none() && matches!(operation, Operation::Write { .. })) {
            return Err(refuse("the data is not as long as the request".into()));
        }
        if *operation == Operation::Read && has.is_none() && *len > MOST_UNPLACED {
            return Err(refuse(format!("{len} bytes are more than a device reads at a time")));
        }
        Ok(Request { id: *id, operation: *operation, offset: *offset, len: *len, payload })
    }
}
