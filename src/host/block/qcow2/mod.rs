//! qcow2 images: clusters that exist when they are written, over a backing file if there is one.
//!
//! The format is imago's to read and write. What is natoma's own: the header is checked before imago sees it ([`header`]), and
//! the order in which an image gets to its file ([`order`]). Read: versions 2 and 3, all cluster sizes and widths of reference
//! counts, zlib-compressed clusters, images with internal snapshots (of which the current state is what the guest sees),
//! backing files of any kind. Not read: encryption, zstd, subclusters, data files; the message says what to do.
//!
//! Reference counts are always up to date after a flush, so that the dirty bit is never set (`lazy-refcounts`). Those of an image that
//! QEMU has left with it are brought up to date ([`recount`](mod@recount)) before it is written.

pub mod header;
pub(super) mod order;
mod recount;
mod resize;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use anyhow::{Context, Result, bail};
use devices::backend::block::{BlockError, check_range};
use imago::io_buffers::{IoVector, IoVectorMut};
use imago::qcow2::Qcow2 as Imago;
use imago::raw::Raw;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder, ShallowMapping};
use vm_memory::VolatileSlice;

use self::header::{FEATURES_AGAINST_WRITING, FEATURES_BYTE, Header};
use self::order::Order;
use super::node::{Node, check_transfer, fill_with_zeroes, total_len};
use super::raw::host_error;
use super::storage::NodeStorage;

/// A qcow2 image.
pub struct Qcow2 {
    /// Shared by requests that leave the clusters where they are; held alone by those that allocate or free some, and by
    /// flushes.
    image: RwLock<FormatAccess<NodeStorage>>,
    file: Arc<dyn Node>,
    backing: Option<Arc<dyn Node>>,
    /// `None`: it is not written.
    order: Option<Arc<Order>>,
    len: AtomicU64,
    /// Bytes of a cluster.
    cluster: u64,
    /// Version of the format.
    version: u32,
    has_snapshots: bool,
}

impl Qcow2 {
    /// The image in `file`, over `backing`. What its header names as its backing file is not opened: see
    /// [`Header::backing`].
    ///
    /// # Errors
    /// The image can't be used: says why and what to do.
    pub fn open(file: Arc<dyn Node>, header: &Header, backing: Option<Arc<dyn Node>>, read_only: bool) -> Result<Self> {
        let read_only = read_only || file.is_read_only();
        if let (Some(reason), false) = (header.only_readable, read_only) {
            bail!(reason);
        }
        if header.dirty && !read_only {
            recount::recount(&*file, header).context(
                "it was not closed (lazy_refcounts), and its reference counts can't be brought up to date: repair it with \
                 'qemu-img check -r all', after a copy; it can be read with readonly=on",
            )?;
        }
        let (order, metadata, data) = if read_only {
            let file: Arc<dyn Node> = Arc::new(WithoutMarks(Arc::clone(&file)));
            (None, NodeStorage::of_image(file, header.cluster()), None)
        } else {
            let order = Arc::new(Order::new(&*file, header).context("its tables can't be read")?);
            order.check_counted(&*file, header)?;
            let (metadata, data) = NodeStorage::ordered(&file, header.cluster(), &order);
            (Some(order), metadata, Some(data))
        };
        let base = backing.clone().map(|backing| Raw::open_image(NodeStorage::new(backing), false)).transpose();
        let base = base.context("its backing file can't be read")?.map(FormatAccess::new);
        let image = Imago::<NodeStorage>::builder(metadata).write(!read_only).backing(base).data_file(data);
        let image = image.open(DenyImplicitOpenGate::default()).context("it can't be read as qcow2")?;
        // Media have whole sectors.
        let len = header.len & !511;
        Ok(Self {
            image: RwLock::new(FormatAccess::new(image)),
            file,
            backing,
            order,
            len: len.into(),
            cluster: header.cluster(),
            version: header.version,
            has_snapshots: header.snapshots > 0,
        })
    }

    fn shared(&self) -> RwLockReadGuard<'_, FormatAccess<NodeStorage>> {
        self.image.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn alone(&self) -> RwLockWriteGuard<'_, FormatAccess<NodeStorage>> {
        self.image.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_change(&self, offset: u64, len: u64) -> Result<(), BlockError> {
        if self.order.is_none() {
            return Err(BlockError::ReadOnly);
        }
        check_range(self.len(), offset, usize::try_from(len).unwrap_or(usize::MAX))
    }

    /// What a change has failed of. imago tells of some errors in its own words.
    fn change_failed(&self, error: io::Error) -> BlockError {
        match failed(error) {
            BlockError::Io(error) if self.order.as_ref().is_some_and(|order| order.has_lost()) => {
                BlockError::Lost(error)
            }
            error => error,
        }
    }

    /// The nodes that it is made of.
    fn below(&self) -> impl Iterator<Item = &Arc<dyn Node>> {
        std::iter::once(&self.file).chain(&self.backing)
    }
}

/// Whether all of a range has clusters of its own, in which it can be overwritten.
fn in_place(image: &FormatAccess<NodeStorage>, mut offset: u64, mut len: u64) -> io::Result<bool> {
    while len > 0 {
        match image.get_shallow_mapping(offset, len)? {
            (ShallowMapping::Raw { writable: true, .. }, mapped) if mapped > 0 => {
                offset += mapped;
                len = len.saturating_sub(mapped);
            }
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// imago takes no empty pieces.
fn filled<'a, 'b>(slices: &'a [VolatileSlice<'b>]) -> Vec<&'a VolatileSlice<'b>> {
    slices.iter().filter(|slice| !slice.is_empty()).collect()
}

fn failed(error: io::Error) -> BlockError {
    log::debug!("qcow2: {error}");
    host_error(error)
}

impl Node for Qcow2 {
    fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    fn is_read_only(&self) -> bool {
        self.order.is_none()
    }

    fn read(&self, offset: u64, to: &[VolatileSlice<'_>]) -> Result<(), BlockError> {
        check_transfer(self.len(), offset, to)?;
        let (to, _mapped) = IoVectorMut::from_volatile_slice(filled(to));
        self.shared().readv(to, offset).map_err(failed)
    }

    fn write(&self, offset: u64, from: &[VolatileSlice<'_>], durable: bool) -> Result<(), BlockError> {
        self.check_change(offset, total_len(from) as u64)?;
        let (from, _mapped) = IoVector::from_volatile_slice(filled(from));
        let image = self.shared();
        if in_place(&image, offset, from.len()).map_err(failed)? {
            image.writev(from, offset).map_err(|error| self.change_failed(error))?;
            drop(image);
        } else {
            drop(image);
            let done = self.alone().writev(from, offset);
            done.map_err(|error| self.change_failed(error))?;
        }
        if durable { self.flush() } else { Ok(()) }
    }

    fn flush(&self) -> Result<(), BlockError> {
        let Some(order) = &self.order else { return Ok(()) };
        let flushed = self.alone().flush();
        flushed.and_then(|()| order.confirm(&*self.file)).map_err(|error| self.change_failed(error))
    }

    fn discard(&self, offset: u64, len: u64) -> Result<(), BlockError> {
        self.check_change(offset, len)?;
        match self.alone().discard_to_any(offset, len) {
            // Version 2 has no clusters of zeroes to put in their place.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
            done => done.map_err(|error| self.change_failed(error)),
        }
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> Result<(), BlockError> {
        self.check_change(offset, len)?;
        let mut image = self.alone();
        let done = if may_unmap { image.discard_to_zero(offset, len) } else { image.write_zeroes(offset, len) };
        drop(image);
        match done {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => fill_with_zeroes(self, offset, len),
            done => done.map_err(|error| self.change_failed(error)),
        }
    }

    fn resize(&self, len: u64) -> Result<(), BlockError> {
        self.set_len(len)
    }

    fn hurry(&self, hurried: bool) {
        self.below().for_each(|node| node.hurry(hurried));
    }

    fn give_up(&self) {
        self.below().for_each(|node| node.give_up());
    }
}

impl Drop for Qcow2 {
    /// What is in imago's caches goes to the file, which is all that is left to be done for an image without the dirty bit.
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            log::error!("the end of a qcow2 image can't be written: {error}");
        }
    }
}

/// The file of an image without the marks that speak against writing it: imago would not read it either.
struct WithoutMarks(Arc<dyn Node>);

impl Node for WithoutMarks {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn read(&self, offset: u64, to: &[VolatileSlice<'_>]) -> Result<(), BlockError> {
        self.0.read(offset, to)?;
        let Some(at) = FEATURES_BYTE.checked_sub(offset) else { return Ok(()) };
        for slice in super::node::part(to, usize::try_from(at).unwrap_or(usize::MAX), 1) {
            let mut byte = [0];
            slice.copy_to(&mut byte);
            slice.copy_from(&[byte[0] & !FEATURES_AGAINST_WRITING]);
        }
        Ok(())
    }

    fn write(&self, _: u64, _: &[VolatileSlice<'_>], _: bool) -> Result<(), BlockError> {
        Err(BlockError::ReadOnly)
    }

    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
