//! Both engines, on files and on nodes that fail or wait.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Condvar, Mutex};

use devices::backend::block::BlockError;
use devices::backend::disk::Payload;
use devices::base::{BusMaster, Dma, lock};
use vm_memory::{GuestAddress, GuestMemoryMmap, VolatileSlice};

use super::*;
use crate::host::block::testing::{Image, open_node};

const RAM: usize = 0x10000;
const PAGE: u64 = 0x1000;

fn options(aio: Aio) -> EngineOptions {
    EngineOptions { aio, write_through: false, discard: true }
}

fn dma() -> Dma {
    let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)]).unwrap();
    Dma::new(Arc::new(ram), BusMaster::always())
}

fn node(path: &Path) -> Arc<dyn Node> {
    open_node(&Image { format: Some("raw"), ..Image::new(path) }).unwrap()
}

fn request(id: u64, operation: Operation, offset: u64, len: u64, payload: Payload) -> Request {
    Request { id, operation, offset, len, payload }
}

/// All completions of what is under way, by the bell as a loop hears it.
fn all(engine: &mut Engine, count: usize) -> Vec<Completion> {
    let mut found = Vec::new();
    loop {
        while let Some(completion) = engine.completed() {
            found.push(completion);
        }
        if found.len() >= count {
            found.sort_by_key(|completion| completion.id);
            return found;
        }
        let mut bell = [nix::poll::PollFd::new(
            // SAFETY: the engine keeps the descriptor open.
            unsafe { std::os::fd::BorrowedFd::borrow_raw(engine.bell.as_raw_fd()) },
            nix::poll::PollFlags::POLLIN,
        )];
        nix::poll::poll(&mut bell, nix::poll::PollTimeout::NONE).unwrap();
        let _ = engine.bell.0.read();
    }
}

/// Data goes between pieces of guest RAM and the file, in requests of all kinds at a time.
#[test]
fn both_engines_move_data_between_pieces_of_ram_and_the_file() {
    for aio in [Aio::Auto, Aio::Threads] {
        let file = tempfile::NamedTempFile::new().unwrap();
        let contents: Vec<u8> = (0..0x8000_u32).map(|n| ((n * 7) >> 3) as u8).collect();
        file.as_file().write_all_at(&contents, 0).unwrap();
        let stats = Arc::new(Stats::default());
        let mut engine =
            Engine::new(node(file.path()), options(aio), Arc::clone(&stats), Bell::new().unwrap()).unwrap();
        let dma = dma();
        let pieces = dma.buffer(vec![(0x10, 0x200), (0x8000, 0x400), (0x4001, 0x200)]).unwrap();
        engine.submit(request(1, Operation::Read, 0x600, 0x800, Payload::Guest(pieces.clone())));
        engine.submit(request(2, Operation::Read, 0x200, 0x200, Payload::None));
        dma.write(0x2000, &[0xa5; 0x600]).unwrap();
        let source = dma.buffer(vec![(0x2000, 0x600)]).unwrap();
        engine.submit(request(3, Operation::Write { durable: true }, 0x4000, 0x600, Payload::Guest(source)));
        let bytes: Arc<[u8]> = Arc::from(&[0x5a; 0x200][..]);
        engine.submit(request(4, Operation::Write { durable: false }, 0x5000, 0x200, Payload::Bytes(bytes)));
        engine.submit(request(5, Operation::WriteZeroes { may_unmap: false }, 0x6000, 0x400, Payload::None));
        engine.submit(request(6, Operation::Discard, 0x7000, PAGE, Payload::None));
        // Past the end, and at the edge of what numbers can say.
        engine.submit(request(7, Operation::Read, 0x7f00, 0x200, Payload::None));
        engine.submit(request(8, Operation::Read, u64::MAX, u64::MAX, Payload::None));
        let done = all(&mut engine, 8);
        let read = |at: usize| done[at].result.as_ref().unwrap_or_else(|error| panic!("{at}: {error}"));
        let mut found = vec![0; 0x800];
        pieces.copy_to(0, &mut found);
        assert_eq!(found, contents[0x600..0xe00], "{aio:?}");
        assert_eq!(*read(1), contents[0x200..0x400]);
        (2..6).for_each(|at| assert!(read(at).is_empty(), "{at}"));
        assert!(matches!(done[6].result, Err(BlockError::OutOfRange { .. })), "{:?}", done[6]);
        assert!(matches!(done[7].result, Err(BlockError::OutOfRange { .. })), "{:?}", done[7]);
        engine.submit(request(9, Operation::Flush, 0, 0, Payload::None));
        all(&mut engine, 1)[0].result.as_ref().unwrap();
        let mut expected = contents.clone();
        expected[0x4000..0x4600].fill(0xa5);
        expected[0x5000..0x5200].fill(0x5a);
        expected[0x6000..0x6400].fill(0);
        let now = std::fs::read(file.path()).unwrap();
        assert_eq!(now[..0x7000], expected[..0x7000], "{aio:?}");
        let tally = |kind| (stats.tally(kind).operations, stats.tally(kind).bytes, stats.tally(kind).failed);
        assert_eq!(tally(Kind::Read), (2, 0xa00, 2));
        assert_eq!((tally(Kind::Write), tally(Kind::Flush)), ((3, 0xc00, 0), (1, 0, 0)));
        assert_eq!(tally(Kind::Unmap), (1, PAGE, 0));
    }
}

/// More requests than a ring has entries, made together.
#[test]
fn a_thousand_requests_at_a_time_all_end() {
    for aio in [Aio::Auto, Aio::Threads] {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1000 * 512).unwrap();
        let mut engine = Engine::new(node(file.path()), options(aio), Arc::default(), Bell::new().unwrap()).unwrap();
        for id in 0..1000 {
            let data: Arc<[u8]> = vec![id as u8; 512].into();
            engine.submit(request(id, Operation::Write { durable: false }, id * 512, 512, Payload::Bytes(data)));
        }
        let done = all(&mut engine, 1000);
        assert!(done.iter().all(|completion| completion.result.is_ok()));
        let now = std::fs::read(file.path()).unwrap();
        assert!(now.chunks(512).enumerate().all(|(at, sector)| sector == [at as u8; 512]), "{aio:?}");
    }
}

/// The file is shorter than the medium by now: an error, as what is missing is not made up.
#[test]
fn a_file_that_was_cut_off_gives_errors() {
    for aio in [Aio::Auto, Aio::Threads] {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(0x4000).unwrap();
        let mut engine = Engine::new(node(file.path()), options(aio), Arc::default(), Bell::new().unwrap()).unwrap();
        file.as_file().set_len(0x1100).unwrap();
        engine.submit(request(0, Operation::Read, 0x1000, 0x1000, Payload::None));
        engine.submit(request(1, Operation::Read, 0, 0x1000, Payload::None));
        let done = all(&mut engine, 2);
        assert!(matches!(&done[0].result, Err(BlockError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof));
        assert_eq!(done[1].result.as_ref().unwrap().len(), 0x1000);
    }
}

/// The host's storage is full, as the file may not grow: it is sparse on a device without room.
#[test]
fn a_full_host_is_told_from_other_errors() {
    for aio in [Aio::Auto, Aio::Threads] {
        let full = File::options().read(true).write(true).open("/dev/full").unwrap();
        let mut engine =
            Engine::new(Arc::new(Fixed(full)), options(aio), Arc::default(), Bell::new().unwrap()).unwrap();
        let data: Arc<[u8]> = Arc::from(&[1; 512][..]);
        engine.submit(request(0, Operation::Write { durable: false }, 0, 512, Payload::Bytes(data)));
        assert!(matches!(all(&mut engine, 1)[0].result, Err(BlockError::NoSpace)), "{aio:?}");
    }
}

/// The kernel tells of such a loss once; the guest must hear of it whenever it asks.
#[test]
fn what_the_host_could_not_sync_every_flush_tells_of() {
    for aio in [Aio::Auto, Aio::Threads] {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(0x4000).unwrap();
        let node = node(file.path());
        let mut engine = Engine::new(Arc::clone(&node), options(aio), Arc::default(), Bell::new().unwrap()).unwrap();
        let mut flush = || {
            engine.submit(request(0, Operation::Flush, 0, 0, Payload::None));
            all(&mut engine, 1).remove(0).result
        };
        flush().unwrap();
        let failed = || io::Error::from_raw_os_error(libc::EIO);
        assert!(matches!(node.synced(Err(failed())), Err(BlockError::Lost(_))));
        for _ in 0..2 {
            assert!(matches!(flush(), Err(BlockError::Lost(_))), "{aio:?}");
        }
    }
}

/// A device of the host as a raw node.
struct Fixed(File);

impl Node for Fixed {
    fn len(&self) -> u64 {
        PAGE
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read(&self, _offset: u64, _to: &[VolatileSlice<'_>]) -> Result<(), BlockError> {
        Ok(())
    }

    fn write(&self, offset: u64, from: &[VolatileSlice<'_>], durable: bool) -> Result<(), BlockError> {
        let written = crate::host::block::vectored::write_all(&self.0, offset, from, durable);
        written.map_err(crate::host::block::raw::host_error)
    }

    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }

    fn raw(&self) -> Option<crate::host::block::node::RawAccess<'_>> {
        use std::os::fd::AsFd;
        let file = self.0.as_fd();
        Some(crate::host::block::node::RawAccess { file, alignment: 1, memory_alignment: 1, watched: 0, flushes: true })
    }
}

/// A node whose requests wait until they are let go, or somebody is in a hurry.
#[derive(Default)]
struct Gate {
    /// Open, and how many requests have come and gone.
    state: Mutex<(bool, u64, u64)>,
    changed: Condvar,
}

impl Gate {
    fn wait_for(&self, arrived: u64) {
        drop(self.changed.wait_while(lock(&self.state), |state| state.1 < arrived).unwrap());
    }

    fn gone(&self) -> u64 {
        lock(&self.state).2
    }
}

impl Node for Gate {
    fn len(&self) -> u64 {
        PAGE
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read(&self, _offset: u64, _to: &[VolatileSlice<'_>]) -> Result<(), BlockError> {
        let mut state = lock(&self.state);
        state.1 += 1;
        self.changed.notify_all();
        let mut state = self.changed.wait_while(state, |state| !state.0).unwrap();
        state.2 += 1;
        Ok(())
    }

    fn write(&self, _offset: u64, _from: &[VolatileSlice<'_>], _durable: bool) -> Result<(), BlockError> {
        Err(BlockError::ReadOnly)
    }

    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }

    fn hurry(&self, hurried: bool) {
        lock(&self.state).0 = hurried;
        self.changed.notify_all();
    }
}

#[test]
fn draining_hurries_what_waits_and_cancelling_leaves_no_completion() {
    let gate = Arc::new(Gate::default());
    let mut engine =
        Engine::new(Arc::clone(&gate) as _, options(Aio::Threads), Arc::default(), Bell::new().unwrap()).unwrap();
    for id in 0..3 {
        engine.submit(request(id, Operation::Read, 0, 512, Payload::None));
    }
    assert!(engine.completed().is_none(), "they wait");
    gate.wait_for(3);
    engine.drain();
    assert_eq!((gate.gone(), all(&mut engine, 3).len()), (3, 3));

    // As many as there are workers wait at the gate, the others for workers.
    for id in 0..100 {
        engine.submit(request(id, Operation::Read, 0, 512, Payload::None));
    }
    assert!(engine.completed().is_none());
    gate.wait_for(3 + 64);
    engine.cancel();
    assert_eq!(gate.gone(), 3 + 64, "those that had begun were carried out");
    assert!(engine.completed().is_none());
    engine.submit(request(200, Operation::Flush, 0, 0, Payload::None));
    assert_eq!(all(&mut engine, 1)[0].id, 200);
    drop(engine);
    assert_eq!(Arc::strong_count(&gate), 1, "no worker keeps the node");
}

#[test]
fn who_waits_for_a_host_that_does_not_answer_gives_up_what_can_be_then_tells_and_then_waits_on() {
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    let mut wait = Wait::begin(start);
    assert_eq!((wait.left(after(2)), wait.remedy(after(4))), (Some(Duration::from_secs(3)), None));
    assert_eq!((wait.left(after(6)), wait.remedy(after(6))), (Some(Duration::ZERO), Some(Remedy::GiveUp)));
    assert_eq!((wait.left(after(7)), wait.remedy(after(7))), (Some(Duration::from_secs(4)), None));
    assert_eq!(wait.remedy(after(11)), Some(Remedy::Tell));
    assert_eq!((wait.left(after(12)), wait.remedy(after(3600))), (None, None));
}
