//! Engines: requests of devices carried out beside the thread that makes them.
//!
//! There are two ways. What is plain reading, writing and flushing of a raw file goes to the kernel by a ring of its own
//! ([`ring`]); all else, and everything where there are no rings, is carried out by worker threads ([`pool`]) through the node.
//! Both are made at the first request that needs them: a drive that nobody uses costs an event descriptor.
//!
//! Requests that a device makes together begin together, when it looks for completions.

mod perform;
mod pool;
mod ring;
mod stats;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use devices::backend::disk::{Completion, DiskBackend, Operation, Request};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use self::pool::Pool;
use self::ring::Ring;
pub use self::stats::{Failure, Kind, Stats, Tally};
use super::node::Node;
use crate::config::Aio;

/// Somebody who waits for all requests to end waits so long before the node has to give up those that wait for others; and as long
/// again before people are told that this was in vain.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the requests of a drive are carried out.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// By what.
    pub aio: Aio,
    /// Every write is durable.
    pub write_through: bool,
    /// What the guest does not need any more is given back to the host.
    pub discard: bool,
}

/// Rings when there are completions, for a loop to hear: an event descriptor, of which each signal is an edge and which nobody has
/// to read. It rings at least once for those that came since the device had taken all.
#[derive(Clone)]
pub struct Bell(Arc<EventFd>);

impl Bell {
    /// A bell that has not rung.
    ///
    /// # Errors
    /// The host has no descriptor left.
    pub fn new() -> Result<Self> {
        let event = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).context("can't make an event descriptor")?;
        Ok(Self(Arc::new(event)))
    }

    fn ring(&self) {
        // The counter overflows after 2^64 - 2 completions that nobody sees.
        let _ = self.0.write(1);
    }
}

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// What is to be done about requests that do not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remedy {
    /// The node gives up those that wait for others.
    GiveUp,
    /// People are told that nothing helps.
    Tell,
}

/// Somebody waits for all requests to end.
struct Wait {
    /// When something is to be done about it.
    next: Option<(Instant, Remedy)>,
}

impl Wait {
    fn begin(now: Instant) -> Self {
        Self { next: Some((now + PATIENCE, Remedy::GiveUp)) }
    }

    /// How long nothing is to be done; `None`: for ever.
    fn left(&self, now: Instant) -> Option<Duration> {
        self.next.map(|(at, _)| at.saturating_duration_since(now))
    }

    /// What is to be done now, if anything.
    fn remedy(&mut self, now: Instant) -> Option<Remedy> {
        let (_, remedy) = self.next.filter(|(at, _)| *at <= now)?;
        self.next = (remedy == Remedy::GiveUp).then(|| (now + PATIENCE, Remedy::Tell));
        Some(remedy)
    }
}

enum Way {
    /// Nobody has asked yet.
    Unknown,
    /// By the ring, if a request is of that kind.
    Ring(Box<Ring>),
    /// By workers only.
    Workers,
}

/// The end of a drive that a device has.
pub struct Engine {
    node: Arc<dyn Node>,
    options: EngineOptions,
    bell: Bell,
    stats: Arc<Stats>,
    way: Way,
    pool: Option<Pool>,
    /// Requests for the workers that have not begun.
    staged: Vec<Request>,
    /// What messages call the medium.
    name: String,
}

impl Engine {
    /// An engine for the drive of `node`, whose requests are counted in `stats`, and whose completions ring `bell`.
    ///
    /// # Errors
    /// The host has no rings although they are asked for.
    pub fn new(node: Arc<dyn Node>, options: EngineOptions, stats: Arc<Stats>, bell: Bell) -> Result<Self> {
        let mut engine = Self {
            node,
            options,
            bell,
            stats,
            way: Way::Unknown,
            pool: None,
            staged: Vec::new(),
            name: "a disk".into(),
        };
        if matches!(options.aio, Aio::IoUring | Aio::Native) && engine.node.raw().is_some() {
            let ring = engine.ring().context(
                "the kernel offers no io_uring (it is old, or sysctl kernel.io_uring_disabled or a container forbids it): \
                 aio=threads does without",
            )?;
            engine.way = Way::Ring(Box::new(ring));
        }
        Ok(engine)
    }

    /// Called `name` in messages.
    #[must_use]
    pub fn named(mut self, name: String) -> Self {
        self.name = name;
        self
    }

    fn ring(&self) -> io::Result<Ring> {
        Ring::new(Arc::clone(&self.node), &self.bell.0, Arc::clone(&self.stats))
    }

    /// The request as the options have it; `None` if nothing is to be done.
    fn adapt(&self, mut request: Request) -> Option<Request> {
        match &mut request.operation {
            Operation::Write { durable } => *durable |= self.options.write_through,
            Operation::WriteZeroes { may_unmap } => *may_unmap &= self.options.discard,
            Operation::Discard if !self.options.discard => return None,
            Operation::Read | Operation::Flush | Operation::Discard => {}
        }
        Some(request)
    }

    fn pool(&mut self) -> &Pool {
        self.pool.get_or_insert_with(|| {
            let through = self.options.write_through;
            Pool::new(Arc::clone(&self.node), through, self.bell.clone(), Arc::clone(&self.stats))
        })
    }

    /// Lets begin what has been submitted.
    fn begin(&mut self) {
        if let Way::Ring(ring) = &mut self.way {
            ring.begin();
            // What the kernel could not do that way.
            ring.take_refused(&mut self.staged);
        }
        if !self.staged.is_empty() {
            let mut staged = std::mem::take(&mut self.staged);
            self.pool().begin(&mut staged);
            self.staged = staged;
        }
    }
}

impl DiskBackend for Engine {
    fn len(&self) -> u64 {
        self.node.len()
    }

    fn is_read_only(&self) -> bool {
        self.node.is_read_only()
    }

    fn submit(&mut self, request: Request) {
        if matches!(self.way, Way::Unknown) {
            let wanted = self.options.aio != Aio::Threads && self.node.raw().is_some();
            let ring = wanted.then(|| self.ring());
            self.way = match ring {
                Some(Ok(ring)) => Way::Ring(Box::new(ring)),
                Some(Err(error)) => {
                    log::warn!(
                        "io_uring can't be used ({error}): disks are served by worker threads, which takes longer"
                    );
                    Way::Workers
                }
                None => Way::Workers,
            };
        }
        let id = request.id;
        let Some(request) = self.adapt(request) else {
            self.pool().complete(Completion { id, result: Ok(Vec::new()) });
            return;
        };
        let left = match &mut self.way {
            Way::Ring(ring) => ring.submit(request).err(),
            Way::Workers | Way::Unknown => Some(request),
        };
        self.staged.extend(left);
    }

    fn completed(&mut self) -> Option<Completion> {
        loop {
            self.begin();
            if let Way::Ring(ring) = &mut self.way {
                if let Some(completion) = ring.completed() {
                    return Some(completion);
                }
                if ring.has_work() {
                    // What is left of requests that were done in part, and what has to go another way.
                    continue;
                }
            }
            return self.pool.as_ref()?.completed();
        }
    }

    fn drain(&mut self) {
        self.node.hurry(true);
        let mut wait = Wait::begin(Instant::now());
        loop {
            self.begin();
            let left = wait.left(Instant::now());
            let quiet = self.pool.as_ref().is_none_or(|pool| pool.drain(left));
            match &mut self.way {
                _ if !quiet => {}
                Way::Ring(ring) if ring.is_busy() => ring.wait(left),
                _ if self.staged.is_empty() => break,
                _ => {}
            }
            let name = &self.name;
            match wait.remedy(Instant::now()) {
                None => {}
                Some(Remedy::GiveUp) => {
                    log::warn!("{name}: requests have not ended after {PATIENCE:?}: the host does not answer");
                    self.node.give_up();
                }
                Some(Remedy::Tell) => log::warn!(
                    "{name}: still no answer: natoma does nothing else until there is one, as no write may be lost; SIGTERM ends it \
                     without, after ten seconds"
                ),
            }
        }
        self.node.hurry(false);
    }

    fn cancel(&mut self) {
        self.staged.clear();
        if let Some(pool) = &self.pool {
            pool.forget_waiting();
        }
        self.drain();
        if let Way::Ring(ring) = &mut self.way {
            ring.forget_completed();
        }
        if let Some(pool) = &self.pool {
            pool.forget_completed();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.cancel();
    }
}
