//! Requests to a raw file by io_uring: one system call for all that a device makes together, data straight between the file
//! and guest RAM.
//!
//! A request keeps a slot until the kernel is done with it, with everything that the kernel reads or writes meanwhile: its payload,
//! and the list of addresses. All `unsafe` of it is here.
//!
//! A kernel that takes no more requests for a reason of its own (a filter of system calls, say) is not asked again: the ring
//! *retires*. What the kernel has taken it still completes; everything else goes another way.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use devices::backend::block::{BlockError, check_range};
use devices::backend::disk::{Completion, Operation, Payload, Request};
use io_uring::squeue::Entry;
use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, types};
use nix::libc;
use vmm_sys_util::eventfd::EventFd;

use super::stats::Stats;
use crate::host::block::node::{Node, RawAccess};
use crate::host::block::raw::host_error;
use crate::host::block::vectored::advance;

/// Requests that go to the kernel at once.
const ENTRIES: u32 = 128;
/// Completions that it can leave before it has to remember them elsewhere.
const COMPLETIONS: u32 = 1024;
/// Pieces of memory that one request may have (`UIO_MAXIOV`).
const MOST_PIECES: usize = 1024;
/// How often a kernel that is short of memory is asked before it is not asked any more.
const MOST_TRIES: u32 = 10_000;
/// Time between two looks for completions where the kernel can't be asked to wait for them.
const NAP: Duration = Duration::from_millis(1);

/// A request that the kernel is at, or the room for one.
#[derive(Default)]
struct Slot {
    request: Option<Request>,
    file: RawFd,
    /// Where data goes that has no place in guest RAM.
    data: Vec<u8>,
    /// Addresses for the kernel. Not changed while it is at the request.
    pieces: Vec<libc::iovec>,
    /// The first of them that is not done.
    next: usize,
    /// Bytes done.
    done: u64,
    start: Option<Instant>,
}

// SAFETY: the addresses in `pieces` are those of guest RAM and of allocations that belong to the slot's request, which may all
// be used from any thread.
unsafe impl Send for Slot {}

/// The ring of one engine.
pub(super) struct Ring {
    ring: IoUring,
    node: Arc<dyn Node>,
    stats: Arc<Stats>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Slots whose request, or what is left of it, is to begin.
    staged: VecDeque<usize>,
    /// Those that the kernel was offered and has not taken, the last ones in its queue.
    offered: VecDeque<usize>,
    /// Requests in the kernel, or offered to it.
    running: usize,
    /// The kernel is not asked any more.
    retired: bool,
    completions: VecDeque<Completion>,
    /// Requests that the kernel can't do this way.
    refused: Vec<Request>,
}

impl Ring {
    /// A ring for the file of `node`. Completions ring the `bell`.
    ///
    /// # Errors
    /// The kernel has none to give.
    pub fn new(node: Arc<dyn Node>, bell: &EventFd, stats: Arc<Stats>) -> io::Result<Self> {
        let ring = IoUring::builder().dontfork().setup_cqsize(COMPLETIONS).build(ENTRIES)?;
        // Without it completions can get lost. It came with Linux 5.5.
        if !ring.params().is_feature_nodrop() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        ring.submitter().register_eventfd(bell.as_raw_fd())?;
        Ok(Self {
            ring,
            node,
            stats,
            slots: Vec::new(),
            free: Vec::new(),
            staged: VecDeque::new(),
            offered: VecDeque::new(),
            running: 0,
            retired: false,
            completions: VecDeque::new(),
            refused: Vec::new(),
        })
    }

    /// Whether there are requests that the kernel is at or will be.
    pub fn is_busy(&self) -> bool {
        self.running > 0 || !self.staged.is_empty()
    }

    /// Whether [`Self::begin`] has something to do.
    pub fn has_work(&self) -> bool {
        !self.staged.is_empty() || !self.refused.is_empty()
    }

    /// Takes a request, or gives it back if it is none for a ring.
    pub fn submit(&mut self, request: Request) -> Result<(), Request> {
        let node = &*self.node;
        let Some(raw) = node.raw().filter(|_| !self.retired) else { return Err(request) };
        let Request { operation, offset, len, .. } = request;
        let suits = match operation {
            Operation::Read => true,
            Operation::Write { durable } => offset >= raw.watched && !node.is_read_only() && (raw.flushes || !durable),
            Operation::Flush => raw.flushes && !node.is_read_only(),
            Operation::Discard | Operation::WriteZeroes { .. } => false,
        };
        // What is wrong with a request the node tells.
        let on_medium = usize::try_from(len).is_ok_and(|len| check_range(node.len(), offset, len).is_ok());
        if !suits || !on_medium {
            return Err(request);
        }
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        match self.slots[at].fill(request, &raw) {
            Ok(()) => {
                self.staged.push_back(at);
                Ok(())
            }
            Err(request) => {
                self.free.push(at);
                Err(request)
            }
        }
    }

    /// Hands the kernel what has been submitted.
    pub fn begin(&mut self) {
        if self.staged.is_empty() {
            return;
        }
        // What is done at once the caller sees without being told.
        self.ring.completion().disable_eventfd();
        while !self.staged.is_empty() {
            self.queue();
            self.enter(0, None);
        }
        self.ring.completion().enable_eventfd();
    }

    /// Waits for the end of a request, or for so long where the kernel knows limits (since Linux 5.11).
    pub fn wait(&mut self, limit: Option<Duration>) {
        self.queue();
        if self.running > 0 {
            self.enter(1, limit);
        }
        self.reap();
    }

    /// The next completion, if there is one.
    pub fn completed(&mut self) -> Option<Completion> {
        if self.completions.is_empty() && self.running > 0 {
            self.reap();
        }
        self.completions.pop_front()
    }

    pub fn forget_completed(&mut self) {
        self.completions.clear();
        self.refused.clear();
    }

    pub fn take_refused(&mut self, to: &mut Vec<Request>) {
        to.append(&mut self.refused);
    }

    /// Puts requests into the queue, as many as there is room for.
    fn queue(&mut self) {
        if self.retired {
            let Self { staged, slots, free, refused, .. } = self;
            for at in staged.drain(..) {
                refused.extend(slots[at].request.take());
                free.push(at);
            }
            return;
        }
        let mut queue = self.ring.submission();
        // Of all that begin together.
        let start = Instant::now();
        while let Some(&at) = self.staged.front() {
            let slot = &mut self.slots[at];
            slot.start.get_or_insert(start);
            let Some(entry) = slot.entry() else {
                self.staged.pop_front();
                continue;
            };
            // SAFETY: what the entry points to belongs to the slot, which is neither changed nor freed before the kernel's
            // completion has been seen: `Engine::drop` waits for it.
            if unsafe { queue.push(&entry.user_data(at as u64)) }.is_err() {
                break;
            }
            self.staged.pop_front();
            self.offered.push_back(at);
            self.running += 1;
        }
    }

    /// Lets the kernel take the queue, and waits for `wanted` completions.
    fn enter(&mut self, wanted: usize, limit: Option<Duration>) {
        let limit = limit.filter(|_| self.ring.params().is_feature_ext_arg()).map(Timespec::from);
        let mut tries = 0;
        while !self.retired {
            let entered = match &limit {
                Some(limit) => self.ring.submitter().submit_with_args(wanted, &SubmitArgs::new().timespec(limit)),
                None => self.ring.submit_and_wait(wanted),
            };
            let left = self.ring.submission().len();
            self.offered.drain(..self.offered.len().saturating_sub(left));
            match entered {
                Ok(_) => return,
                Err(error) if error.raw_os_error() == Some(libc::ETIME) => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It is short of memory, or there are more completions than it likes.
                Err(error)
                    if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY)) && tries < MOST_TRIES =>
                {
                    tries += 1;
                    self.reap();
                    if wanted > 0 && !self.completions.is_empty() {
                        return;
                    }
                    thread::yield_now();
                }
                Err(error) => self.retire(&error),
            }
        }
        if wanted > 0 && self.running > 0 {
            thread::sleep(NAP);
        }
    }

    /// Asks the kernel for nothing any more. What it has not taken goes another way.
    fn retire(&mut self, error: &io::Error) {
        log::error!("io_uring: the kernel takes no more requests ({error}): worker threads serve the disk from now on");
        self.retired = true;
        let Self { offered, slots, free, refused, running, .. } = self;
        *running -= offered.len();
        for at in offered.drain(..) {
            refused.extend(slots[at].request.take());
            free.push(at);
        }
    }

    /// Takes the kernel's completions.
    fn reap(&mut self) {
        let Self { ring, node, stats, slots, free, staged, running, completions, refused, .. } = self;
        let mut now = None;
        for entry in ring.completion() {
            let at = entry.user_data() as usize;
            let slot = &mut slots[at];
            *running -= 1;
            let result = match slot.progress(entry.result(), &**node) {
                Progress::Again => {
                    staged.push_back(at);
                    continue;
                }
                Progress::OtherWay => {
                    refused.extend(slot.request.take());
                    free.push(at);
                    continue;
                }
                Progress::Done(result) => result,
            };
            let Some(request) = slot.request.take() else { continue };
            if let Some(start) = slot.start {
                let took = now.get_or_insert_with(Instant::now).saturating_duration_since(start);
                stats.count(&request, took, result.is_ok());
            }
            let data = std::mem::take(&mut slot.data);
            completions.push_back(Completion { id: request.id, result: result.map(|()| data) });
            free.push(at);
        }
    }
}

/// What has become of a request.
enum Progress {
    Done(Result<(), BlockError>),
    /// It goes on, or has to be made again.
    Again,
    /// The kernel does not do it.
    OtherWay,
}

impl Slot {
    /// Makes the slot one for `request`, or gives that back if it has too many pieces or not the file's alignment.
    fn fill(&mut self, request: Request, raw: &RawAccess<'_>) -> Result<(), Request> {
        self.pieces.clear();
        self.data = Vec::new();
        match (&request.payload, request.operation) {
            (_, Operation::Flush) => {}
            (Payload::Guest(buffer), _) => {
                let mut left = request.len as usize;
                for slice in buffer.slices() {
                    let len = slice.len().min(left);
                    left -= len;
                    if len > 0 {
                        let address = slice.ptr_guard_mut().as_ptr();
                        self.pieces.push(libc::iovec { iov_base: address.cast(), iov_len: len });
                    }
                }
            }
            (Payload::None, Operation::Read) => {
                self.data = vec![0; request.len as usize];
                let address = self.data.as_mut_ptr();
                self.pieces.push(libc::iovec { iov_base: address.cast(), iov_len: self.data.len() });
            }
            (Payload::Bytes(bytes), Operation::Write { .. }) => {
                let address = bytes.as_ptr().cast_mut();
                self.pieces.push(libc::iovec { iov_base: address.cast(), iov_len: bytes.len() });
            }
            _ => return Err(request),
        }
        let RawAccess { alignment, memory_alignment, .. } = *raw;
        let fits = |piece: &libc::iovec| {
            (piece.iov_base as usize).is_multiple_of(memory_alignment) && piece.iov_len.is_multiple_of(alignment)
        };
        let bytes: usize = self.pieces.iter().map(|piece| piece.iov_len).sum();
        if self.pieces.len() > MOST_PIECES
            || bytes as u64 != request.len
            || (alignment > 1 && !(request.offset.is_multiple_of(alignment as u64) && self.pieces.iter().all(fits)))
        {
            return Err(request);
        }
        (self.file, self.next, self.done) = (raw.file.as_raw_fd(), 0, 0);
        self.start = None;
        self.request = Some(request);
        Ok(())
    }

    /// What the kernel is to do.
    fn entry(&self) -> Option<Entry> {
        let request = self.request.as_ref()?;
        let file = types::Fd(self.file);
        let pieces = &self.pieces[self.next..];
        let (address, count) = (pieces.as_ptr(), pieces.len() as u32);
        // Most requests are of one piece, for which the kernel has a shorter way.
        let single = match pieces {
            [piece] => u32::try_from(piece.iov_len).ok().map(|len| (piece.iov_base.cast::<u8>(), len)),
            _ => None,
        };
        let offset = request.offset + self.done;
        Some(match (request.operation, single) {
            (Operation::Read, Some((address, len))) => opcode::Read::new(file, address, len).offset(offset).build(),
            (Operation::Read, None) => opcode::Readv::new(file, address, count).offset(offset).build(),
            (Operation::Write { durable }, single) => {
                let flags = if durable { libc::RWF_DSYNC } else { 0 };
                match single {
                    Some((address, len)) => {
                        opcode::Write::new(file, address, len).offset(offset).rw_flags(flags).build()
                    }
                    None => opcode::Writev::new(file, address, count).offset(offset).rw_flags(flags).build(),
                }
            }
            _ => opcode::Fsync::new(file).flags(types::FsyncFlags::DATASYNC).build(),
        })
    }

    /// Takes note of what the kernel says of a request to the file of `node`.
    fn progress(&mut self, result: i32, node: &dyn Node) -> Progress {
        let Some(request) = &self.request else { return Progress::OtherWay };
        match result {
            // It was interrupted, or the thread that made it has ended.
            _ if [libc::EAGAIN, libc::EINTR, libc::ECANCELED].contains(&-result) => Progress::Again,
            // A file without vectors or flags: the node does it in simpler ways, or tells what is wrong.
            _ if [libc::EOPNOTSUPP, libc::EINVAL].contains(&-result) => Progress::OtherWay,
            _ if request.operation == Operation::Flush => {
                let error = (result < 0).then(|| io::Error::from_raw_os_error(-result));
                Progress::Done(node.synced(error.map_or(Ok(()), Err)))
            }
            _ if result < 0 => {
                let error = host_error(io::Error::from_raw_os_error(-result));
                if matches!((&error, request.operation), (BlockError::Io(_), Operation::Write { durable: true })) {
                    // What else the sync was about is no business of this request.
                    let _ = node.synced(Err(io::Error::from_raw_os_error(-result)));
                }
                Progress::Done(Err(error))
            }
            _ if request.len == 0 => Progress::Done(Ok(())),
            0 => {
                let kind = match request.operation {
                    Operation::Read => io::ErrorKind::UnexpectedEof,
                    _ => io::ErrorKind::WriteZero,
                };
                Progress::Done(Err(BlockError::Io(kind.into())))
            }
            moved => {
                self.done += moved as u64;
                if self.done >= request.len {
                    return Progress::Done(Ok(()));
                }
                let left = advance(&mut self.pieces[self.next..], moved as usize).len();
                self.next = self.pieces.len() - left;
                Progress::Again
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use devices::backend::disk::DiskBackend;

    use super::super::{Engine, EngineOptions, Way};
    use super::*;
    use crate::config::Aio;
    use crate::host::block::engine::Bell;
    use crate::host::block::testing::{Image, open_node};

    fn request(id: u64, operation: Operation, len: u64, payload: Payload) -> Request {
        Request { id, operation, offset: 512, len, payload }
    }

    #[test]
    fn a_kernel_that_takes_no_more_requests_is_not_asked_again() {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(4096).unwrap();
        let node = open_node(&Image { format: Some("raw"), ..Image::new(image.path()) }).unwrap();
        let options = EngineOptions { aio: Aio::IoUring, write_through: false, discard: false };
        let Ok(mut engine) = Engine::new(node, options, Arc::default(), Bell::new().unwrap()) else {
            println!("SKIPPED: the kernel offers no io_uring");
            return;
        };
        engine.submit(request(0, Operation::Read, 512, Payload::None));
        engine.drain();
        assert_eq!(engine.completed().unwrap().result.unwrap(), [0; 512]);
        let Way::Ring(ring) = &engine.way else { panic!("there is no ring") };
        // What has the descriptor of the ring now is none.
        let other = File::open("/dev/null").unwrap();
        // SAFETY: both are open files, and the ring's memory stays mapped.
        assert!(unsafe { libc::dup2(other.as_raw_fd(), ring.ring.as_raw_fd()) } >= 0);
        let data: Arc<[u8]> = Arc::from(&[7; 512][..]);
        engine.submit(request(1, Operation::Write { durable: true }, 512, Payload::Bytes(data)));
        engine.drain();
        let Completion { id, result } = engine.completed().unwrap();
        assert_eq!((id, result.unwrap()), (1, Vec::new()));
        engine.submit(request(2, Operation::Read, 512, Payload::None));
        engine.drain();
        assert_eq!(engine.completed().unwrap().result.unwrap(), [7; 512]);
        let Way::Ring(ring) = &engine.way else { panic!("there is no ring") };
        assert!(ring.retired && !ring.is_busy());
    }
}
