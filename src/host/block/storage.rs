//! A node as imago, the crate that reads and writes image formats, uses it.
//!
//! imago is built in its synchronous form: it starts no threads and no runtime. It opens nothing by itself either: what an
//! image refers to is opened by natoma, by its own rules (locks, cache modes, the chain's length), and handed to it.

use std::fmt::{self, Debug, Display, Formatter};
use std::io::{self, IoSlice, IoSliceMut};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use devices::backend::block::BlockError;
use devices::base::lock;
use imago::Storage;
use imago::io_buffers::{IoVector, IoVectorMut};
use imago::storage::PreallocateMode;
use imago::storage::drivers::CommonStorageHelper;
use vm_memory::VolatileSlice;

use super::node::{Node, part, total_len};
use super::qcow2::order::{Order, Role};

/// A file under an image grows by at least so much: growing it for each cluster would cost a call each.
const GROWTH: u64 = 1 << 20;

/// A node that imago reads, and writes if it is the file of a qcow2 image.
pub(super) struct NodeStorage {
    node: Arc<dyn Node>,
    /// In what order the parts of an image get to the file; `None`: nothing is written.
    order: Option<(Arc<Order>, Role)>,
    /// Reads that begin past the last such unit of the file fail: an image says that something is there.
    unit: Option<u64>,
    /// What relative names are relative to.
    directory: Option<PathBuf>,
    growing: Arc<Mutex<()>>,
    helper: CommonStorageHelper,
}

impl NodeStorage {
    /// A node that is only read. Zeroes follow its end, as an image may be longer than its backing file.
    pub fn new(node: Arc<dyn Node>) -> Self {
        Self { node, order: None, unit: None, directory: None, growing: Arc::default(), helper: Default::default() }
    }

    /// The file of an image in units of `unit` bytes (a power of two), which is cut off if a whole unit is missing.
    pub fn of_image(node: Arc<dyn Node>, unit: u64) -> Self {
        Self { unit: Some(unit), ..Self::new(node) }
    }

    /// With names that are relative to `directory`.
    pub fn in_directory(mut self, directory: Option<PathBuf>) -> Self {
        self.directory = directory;
        self
    }

    /// The two ways to the file of an image that is written: that of its metadata and that of the guest's data.
    pub fn ordered(node: &Arc<dyn Node>, unit: u64, order: &Arc<Order>) -> (Self, Self) {
        let growing = Arc::new(Mutex::new(()));
        let storage = |role| Self {
            order: Some((Arc::clone(order), role)),
            growing: Arc::clone(&growing),
            ..Self::of_image(Arc::clone(node), unit)
        };
        (storage(Role::Metadata), storage(Role::Data))
    }

    fn read(&self, offset: u64, to: &[VolatileSlice<'_>]) -> io::Result<()> {
        let len = self.node.len();
        if self.unit.is_some_and(|unit| offset >= len.next_multiple_of(unit)) {
            let reason =
                format!("the image refers to byte {offset:#x} of its file, which has only {len:#x}: it is cut off");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
        }
        let there = usize::try_from(len.saturating_sub(offset)).unwrap_or(usize::MAX);
        if total_len(to) <= there {
            return self.node.read(offset, to).map_err(io_error);
        }
        if there > 0 {
            self.node.read(offset, &part(to, 0, there)).map_err(io_error)?;
        }
        for slice in part(to, there, usize::MAX) {
            fill_with_zeroes(&slice);
        }
        Ok(())
    }

    /// Makes the file long enough for a write that ends there.
    fn make_room(&self, end: u64) -> io::Result<()> {
        if end <= self.node.len() {
            return Ok(());
        }
        let _growing = lock(&self.growing);
        if end <= self.node.len() {
            return Ok(());
        }
        match self.node.resize(end.next_multiple_of(GROWTH)) {
            // A block device is as long as it is.
            Err(BlockError::Io(error)) if error.kind() == io::ErrorKind::Unsupported => {
                Err(io::Error::new(io::ErrorKind::StorageFull, "the image needs more room than its device has"))
            }
            done => done.map_err(io_error),
        }
    }

    fn write(&self, offset: u64, from: &[IoSlice<'_>]) -> io::Result<()> {
        let Some((order, role)) = &self.order else { return Err(io::ErrorKind::ReadOnlyFilesystem.into()) };
        let len: usize = from.iter().map(|piece| piece.len()).sum();
        let end = offset.checked_add(len as u64).ok_or(io::ErrorKind::InvalidInput)?;
        let slices: Vec<_> = from.iter().map(as_source).collect();
        order.write(*role, &*self.node, offset, &slices, || self.make_room(end))
    }
}

/// Memory that is written from. Nodes take [`VolatileSlice`]s, as it may be guest RAM; imago passes it on as plain slices.
fn as_source<'a>(piece: &'a IoSlice<'_>) -> VolatileSlice<'a> {
    // SAFETY: the memory is borrowed for as long as the slice lives, and a node only reads what it writes to its medium.
    unsafe { VolatileSlice::new(piece.as_ptr().cast_mut(), piece.len()) }
}

/// Fills memory with zeroes.
pub(super) fn fill_with_zeroes(slice: &VolatileSlice<'_>) {
    static ZEROES: [u8; 4096] = [0; 4096];
    let mut left = *slice;
    while !left.is_empty() {
        let done = left.len().min(ZEROES.len());
        left.copy_from(&ZEROES[..done]);
        // It has at least as many bytes.
        let Ok(rest) = left.offset(done) else { break };
        left = rest;
    }
}

/// What a node says, as an error of the standard library.
pub(super) fn io_error(error: BlockError) -> io::Error {
    match error {
        BlockError::NoSpace => io::ErrorKind::StorageFull.into(),
        BlockError::Io(error) => error,
        error => io::Error::other(error),
    }
}

impl Storage for NodeStorage {
    fn size(&self) -> io::Result<u64> {
        Ok(self.node.len())
    }

    fn resolve_relative_path<P: AsRef<Path>>(&self, relative: P) -> io::Result<PathBuf> {
        let directory = self.directory.as_deref().ok_or(io::ErrorKind::Unsupported)?;
        Ok(directory.join(relative))
    }

    // These are unsafe to call in imago, as the caller has to see to alignment. Here everything is aligned.
    unsafe fn pure_readv(&self, to: IoVectorMut<'_>, offset: u64) -> io::Result<()> {
        let mut pieces: Vec<IoSliceMut<'_>> = to.into_inner();
        let slices: Vec<_> = pieces.iter_mut().map(|piece| VolatileSlice::from(&mut piece[..])).collect();
        self.read(offset, &slices)
    }

    unsafe fn pure_writev(&self, from: IoVector<'_>, offset: u64) -> io::Result<()> {
        self.write(offset, &from.into_inner())
    }

    /// The order of writes is kept by those who flush: see [`Order`].
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let synced = match &self.order {
            Some((order, _)) => order.sync(&*self.node),
            None => self.node.flush(),
        };
        synced.map_err(io_error)
    }

    /// What imago takes for a file of data beside the image, which would be as long as the medium, is the image's own.
    fn resize(&self, _len: u64, _mode: PreallocateMode) -> io::Result<()> {
        Ok(())
    }

    /// There is no cache here.
    unsafe fn invalidate_cache(&self) -> io::Result<()> {
        Ok(())
    }

    fn get_storage_helper(&self) -> &CommonStorageHelper {
        &self.helper
    }
}

impl Debug for NodeStorage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeStorage").field("len", &self.node.len()).finish_non_exhaustive()
    }
}

impl Display for NodeStorage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("its file")
    }
}
