//! What a drive has done, as `query-blockstats` tells it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use devices::backend::disk::{Operation, Request};
use devices::base::lock;

/// Kinds of requests that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reads.
    Read,
    /// Writes, of zeroes too.
    Write,
    /// Flushes.
    Flush,
    /// Discards.
    Unmap,
}

/// What requests of one kind came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that were carried out.
    pub operations: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Nanoseconds that they took, one beside the other.
    pub nanoseconds: u64,
    /// Requests that failed.
    pub failed: u64,
}

#[derive(Default)]
struct Counters {
    operations: AtomicU64,
    bytes: AtomicU64,
    nanoseconds: AtomicU64,
    failed: AtomicU64,
}

/// What has stopped the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The host's storage was full.
    NoSpace,
    /// Anything else.
    Other,
}

/// The counters of a drive.
#[derive(Default)]
pub struct Stats {
    counters: [Counters; 4],
    /// The end of what was written, as far as it goes.
    highest: AtomicU64,
    /// What has stopped the machine, until it goes on.
    failure: Mutex<Option<Failure>>,
}

impl Stats {
    /// Counts a request that has ended and took so long.
    pub(super) fn count(&self, request: &Request, took: Duration, well: bool) {
        let Request { operation, offset, len, .. } = *request;
        let kind = match operation {
            Operation::Read => Kind::Read,
            Operation::Write { .. } | Operation::WriteZeroes { .. } => Kind::Write,
            Operation::Flush => Kind::Flush,
            Operation::Discard => Kind::Unmap,
        };
        let counters = &self.counters[kind as usize];
        if !well {
            counters.failed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if kind == Kind::Write {
            self.highest.fetch_max(offset.saturating_add(len), Ordering::Relaxed);
        }
        counters.operations.fetch_add(1, Ordering::Relaxed);
        counters.bytes.fetch_add(len, Ordering::Relaxed);
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        counters.nanoseconds.fetch_add(took, Ordering::Relaxed);
    }

    /// The end of what was written, as far as it goes.
    #[must_use]
    pub fn highest_written(&self) -> u64 {
        self.highest.load(Ordering::Relaxed)
    }

    /// Takes note of what has stopped the machine, unless something else has before.
    pub fn set_failure(&self, failure: Failure) {
        lock(&self.failure).get_or_insert(failure);
    }

    /// The machine goes on, or the drive has another medium.
    pub fn forget_failure(&self) {
        *lock(&self.failure) = None;
    }

    /// What has stopped the machine.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        *lock(&self.failure)
    }

    /// What requests of a kind came to so far.
    #[must_use]
    pub fn tally(&self, kind: Kind) -> Tally {
        let Counters { operations, bytes, nanoseconds, failed } = &self.counters[kind as usize];
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Tally { operations: read(operations), bytes: read(bytes), nanoseconds: read(nanoseconds), failed: read(failed) }
    }
}
