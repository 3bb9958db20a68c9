//! A disk in memory that fails and waits as a test tells it to.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use super::{AtOnce, Completion, DiskBackend, Operation, Request};
use crate::backend::block::{BlockBackend, BlockError, MemoryBlock};
use crate::base::lock;

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The host can't read or write.
    Io,
    /// The host has no room.
    NoSpace,
}

impl Fault {
    fn error(self) -> BlockError {
        match self {
            Self::Io => io::Error::from_raw_os_error(5).into(),
            Self::NoSpace => BlockError::NoSpace,
        }
    }
}

#[derive(Default)]
struct Script {
    /// Requests wait until the test lets them go.
    holds: bool,
    waiting: VecDeque<Request>,
    completions: VecDeque<Completion>,
    /// Byte ranges that can't be used, and by which operation.
    bad: Vec<(std::ops::Range<u64>, Fault)>,
    flush_fault: Option<Fault>,
    /// What was carried out, in order.
    log: Vec<(Operation, u64, u64)>,
}

/// The disk; clones share it.
#[derive(Clone)]
pub struct ScriptedDisk {
    medium: MemoryBlock,
    script: Arc<Mutex<Script>>,
}

impl ScriptedDisk {
    /// A disk that does as it is asked at once.
    #[must_use]
    pub fn new(medium: MemoryBlock) -> Self {
        Self { medium, script: Arc::default() }
    }

    /// Requests wait for [`Self::release`] from now on, or do not.
    pub fn hold(&self, holds: bool) {
        lock(&self.script).holds = holds;
    }

    /// Lets everything that waits be done. The device has to be told.
    pub fn release(&self) {
        let waiting = std::mem::take(&mut lock(&self.script).waiting);
        waiting.into_iter().for_each(|request| self.perform(&request));
    }

    /// How many requests wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        lock(&self.script).waiting.len()
    }

    /// Requests that touch these bytes fail.
    pub fn spoil(&self, bytes: std::ops::Range<u64>, fault: Fault) {
        lock(&self.script).bad.push((bytes, fault));
    }

    /// Flushes fail, or do not.
    pub fn spoil_flushes(&self, fault: Option<Fault>) {
        lock(&self.script).flush_fault = fault;
    }

    /// All bytes are well again.
    pub fn mend(&self) {
        let mut script = lock(&self.script);
        script.bad.clear();
        script.flush_fault = None;
    }

    /// Takes the list of what was carried out: operation, first byte, length.
    #[must_use]
    pub fn take_log(&self) -> Vec<(Operation, u64, u64)> {
        std::mem::take(&mut lock(&self.script).log)
    }

    fn perform(&self, request: &Request) {
        let mut script = lock(&self.script);
        let touched = request.offset..request.offset.saturating_add(request.len);
        let bad = script.bad.iter().find(|(bytes, _)| bytes.start < touched.end && touched.start < bytes.end);
        let fault = match request.operation {
            Operation::Flush => script.flush_fault,
            _ => bad.map(|(_, fault)| *fault),
        };
        script.log.push((request.operation, request.offset, request.len));
        let result = match fault {
            Some(fault) => Err(fault.error()),
            None => AtOnce::perform(&mut self.medium.clone(), request),
        };
        script.completions.push_back(Completion { id: request.id, result });
    }
}

impl DiskBackend for ScriptedDisk {
    fn len(&self) -> u64 {
        BlockBackend::len(&self.medium)
    }

    fn is_read_only(&self) -> bool {
        BlockBackend::is_read_only(&self.medium)
    }

    fn submit(&mut self, request: Request) {
        if lock(&self.script).holds {
            lock(&self.script).waiting.push_back(request);
        } else {
            self.perform(&request);
        }
    }

    fn completed(&mut self) -> Option<Completion> {
        lock(&self.script).completions.pop_front()
    }

    fn drain(&mut self) {
        self.release();
    }

    fn cancel(&mut self) {
        let mut script = lock(&self.script);
        script.waiting.clear();
        script.completions.clear();
    }
}
