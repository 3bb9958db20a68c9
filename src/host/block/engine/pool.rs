//! Worker threads that carry out requests through a node, as many as there are requests at a time.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use devices::backend::disk::{Completion, Request};
use devices::base::lock;

use super::perform::perform;
use super::stats::Stats;
use super::{Bell, Node};

/// Workers that a drive has at most, as QEMU's event loops.
const MOST_WORKERS: usize = 64;
/// A worker that has nothing to do ends after this time.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Work {
    waiting: VecDeque<Request>,
    /// Requests that workers are at.
    running: usize,
    completions: VecDeque<Completion>,
    workers: usize,
    /// Those that may not have ended.
    threads: Vec<JoinHandle<()>>,
    /// Those of them that wait for requests.
    idle: usize,
    /// There will be no more requests.
    ended: bool,
}

struct Shared {
    node: Arc<dyn Node>,
    write_through: bool,
    bell: Bell,
    stats: Arc<Stats>,
    work: Mutex<Work>,
    /// There are requests, or there will be none.
    wanted: Condvar,
    /// Nothing waits and nothing runs.
    quiet: Condvar,
}

/// The workers of one engine.
pub(super) struct Pool(Arc<Shared>);

impl Pool {
    pub fn new(node: Arc<dyn Node>, write_through: bool, bell: Bell, stats: Arc<Stats>) -> Self {
        let (work, wanted, quiet) = Default::default();
        Self(Arc::new(Shared { node, write_through, bell, stats, work, wanted, quiet }))
    }

    /// Takes requests and lets them begin.
    pub fn begin(&self, requests: &mut Vec<Request>) {
        let mut work = lock(&self.0.work);
        work.waiting.extend(requests.drain(..));
        let missing = work.waiting.len().saturating_sub(work.idle);
        if missing > 0 {
            work.threads.retain(|thread| !thread.is_finished());
        }
        for _ in 0..missing.min(MOST_WORKERS - work.workers) {
            let shared = Arc::clone(&self.0);
            let worker = thread::Builder::new().name("disk worker".into()).spawn(move || shared.serve());
            match worker {
                Ok(thread) => {
                    work.workers += 1;
                    work.threads.push(thread);
                }
                // Those that there are do it, or the thread that asks.
                Err(error) => {
                    log::warn!("a thread for a disk can't be started: {error}");
                    break;
                }
            }
        }
        if work.workers == 0 {
            while let Some(request) = work.waiting.pop_front() {
                work = self.0.carry_out(work, &request);
            }
            return;
        }
        let woken = work.waiting.len().min(work.idle);
        drop(work);
        (0..woken).for_each(|_| self.0.wanted.notify_one());
    }

    /// The next completion, if there is one.
    pub fn completed(&self) -> Option<Completion> {
        lock(&self.0.work).completions.pop_front()
    }

    /// Adds a completion of what needs nothing to be done.
    pub fn complete(&self, completion: Completion) {
        lock(&self.0.work).completions.push_back(completion);
    }

    /// Waits until no request waits or runs, or for so long. Tells whether that is so.
    pub fn drain(&self, limit: Option<Duration>) -> bool {
        let busy = |work: &mut Work| work.running > 0 || !work.waiting.is_empty();
        let work = lock(&self.0.work);
        match limit {
            None => drop(self.0.quiet.wait_while(work, busy).unwrap_or_else(PoisonError::into_inner)),
            Some(limit) => {
                let waited = self.0.quiet.wait_timeout_while(work, limit, busy);
                return !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out();
            }
        }
        true
    }

    /// Gives up requests that no worker is at.
    pub fn forget_waiting(&self) {
        lock(&self.0.work).waiting.clear();
    }

    pub fn forget_completed(&self) {
        lock(&self.0.work).completions.clear();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut work = lock(&self.0.work);
        work.ended = true;
        let threads = std::mem::take(&mut work.threads);
        drop(work);
        self.0.wanted.notify_all();
        // With them they give up the node.
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }
}

impl Shared {
    /// The life of a worker.
    fn serve(&self) {
        let mut work = lock(&self.work);
        loop {
            if let Some(request) = work.waiting.pop_front() {
                work = self.carry_out(work, &request);
                continue;
            }
            if work.ended {
                break;
            }
            work.idle += 1;
            let (again, waited) = self.wanted.wait_timeout(work, PATIENCE).unwrap_or_else(PoisonError::into_inner);
            work = again;
            work.idle -= 1;
            if waited.timed_out() && work.waiting.is_empty() {
                break;
            }
        }
        work.workers -= 1;
    }

    /// Carries out a request, without the lock.
    fn carry_out<'a>(&'a self, mut work: MutexGuard<'a, Work>, request: &Request) -> MutexGuard<'a, Work> {
        work.running += 1;
        drop(work);
        let start = Instant::now();
        let result = perform(&*self.node, request, self.write_through);
        self.stats.count(request, start.elapsed(), result.is_ok());
        let mut work = lock(&self.work);
        work.running -= 1;
        let first = work.completions.is_empty();
        work.completions.push_back(Completion { id: request.id, result });
        if first {
            self.bell.ring();
        }
        if work.running == 0 && work.waiting.is_empty() {
            self.quiet.notify_all();
        }
        work
    }
}
