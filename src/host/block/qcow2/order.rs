//! In what order the parts of a qcow2 image get to its file.
//!
//! A cluster is found through links (the L1 table, L2 tables, the refcount table) and counted in refcount blocks. Whenever
//! writing ends, by a kill or a loss of power, this has to hold in the file, or the next writer destroys data:
//!
//! 1. what a link leads to is there, and counted, before the link;
//! 2. a count goes down, and a cluster is used for something else, only after the link to it is gone.
//!
//! Clusters that are counted without a link are merely lost until `qemu-img check -r leaks`.
//!
//! imago writes L2 tables and refcount blocks from its caches in this order, but it does not wait for the disk in between, and it
//! links new L2 tables and refcount blocks while their own counts are still in its cache. So natoma stands between imago and
//! the file: it knows which clusters are links and which are counts, waits for the disk where one has to be there before the
//! other, and counts a new table in the file before it lets the link to it through (imago writes the same count later).
//!
//! imago also takes a link for written when writing it has failed, and does not try again: everything behind it would be lost with
//! the next flush that ends well. Such a link is *owed*: natoma writes it before it does anything else with the metadata.
//!
//! As it knows where the metadata is, it also refuses to write data there, which only the links of a damaged image ask for, and
//! images whose metadata is not counted: imago would take those clusters for something else, the header among them.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use anyhow::{Context, Result, ensure};
use devices::backend::block::BlockError;
use devices::base::lock;
use vm_memory::VolatileSlice;

use super::super::node::{Node, read_bytes, total_len, write_bytes};
use super::super::storage::io_error;
use super::header::Header;

/// Where the offset is in an entry of the L1, L2 and refcount tables.
pub(super) const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Where the header says where the tables are: the L1 table's number of entries (4 bytes) and offset (8), then the refcount table's
/// offset (8) and number of clusters (4).
const TABLE_FIELDS: std::ops::Range<u64> = 36..60;

/// Who writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// imago, its tables.
    Metadata,
    /// The guest.
    Data,
}

/// What has been written since the disk last confirmed everything.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Unconfirmed {
    /// Something that links can lead to: data, counts, tables that nothing links to yet.
    targets: bool,
    /// Links in place of others, whose targets may become something else.
    links: bool,
}

/// Where the metadata is.
#[derive(Debug)]
struct Layout {
    l1: u64,
    reftable: u64,
    /// Offsets of refcount blocks by index; 0: there is none.
    blocks: Vec<u64>,
    /// The same for those that look a cluster up.
    block_set: HashSet<u64>,
    /// Offsets of L2 tables by index; 0: there is none.
    tables: Vec<u64>,
    table_set: HashSet<u64>,
}

/// Keeps the order for one image.
#[derive(Debug)]
pub struct Order {
    cluster_bits: u32,
    refcount_order: u32,
    layout: RwLock<Layout>,
    unconfirmed: Mutex<Unconfirmed>,
    /// The file has lost writes: nobody knows which, and imago does not make them again.
    lost: AtomicBool,
    /// Held while metadata is written: it keeps what waits for the disk and what was waited for together. What is in it is owed to
    /// the file, in this order.
    metadata: Mutex<Vec<Owed>>,
}

/// Entries of a table that could not be written: where they go, and their bytes.
type Owed = (u64, Vec<u8>);

/// What a write of metadata is.
enum Kind {
    /// The header, which may move the L1 table or the refcount table.
    Moves,
    /// Entries of a table, from this index on, that link to L2 tables or to refcount blocks.
    L1(usize),
    Reftable(usize),
    /// The links of an L2 table.
    Links,
    Counts,
    /// Nothing leads there yet.
    Target,
}

impl Order {
    /// For the image in `file`.
    ///
    /// # Errors
    /// Its tables can't be read.
    pub fn new(file: &dyn Node, header: &Header) -> io::Result<Self> {
        let places = Places {
            l1: (header.l1_offset, header.l1_entries),
            reftable: (header.reftable_offset, header.reftable_len / 8),
        };
        let layout = Layout::read(file, places)?;
        Ok(Self {
            cluster_bits: header.cluster_bits,
            refcount_order: header.refcount_order,
            layout: RwLock::new(layout),
            unconfirmed: Mutex::default(),
            lost: AtomicBool::new(false),
            metadata: Mutex::default(),
        })
    }

    /// Makes sure that no part of the metadata is where the next new cluster may be.
    ///
    /// # Errors
    /// It is: says what to do. Or the tables can't be read.
    pub fn check_counted(&self, file: &dyn Node, header: &Header) -> Result<()> {
        let cluster = self.cluster();
        let layout = self.layout();
        let clusters_of = |start: u64, len: u64| (start..start + len).step_by(1 << self.cluster_bits);
        let mut metadata: Vec<u64> = clusters_of(0, 1)
            .chain(clusters_of(header.reftable_offset, header.reftable_len))
            .chain(clusters_of(header.l1_offset, header.l1_entries * 8))
            .chain(layout.block_set.iter().chain(&layout.table_set).copied())
            .collect();
        // Each block is read once.
        metadata.sort_unstable();
        let mut block = (0, Vec::new());
        for offset in metadata {
            let at = usize::try_from(self.block_index(offset)).ok().and_then(|index| layout.blocks.get(index));
            let at = at.copied().unwrap_or(0);
            if at != 0 && at != block.0 {
                let counts = read_padded(file, at, cluster).context("its reference counts can't be read")?;
                block = (at, counts);
            }
            ensure!(
                at != 0 && offset.is_multiple_of(cluster) && self.place_of_count(offset).counted(&block.1),
                "it is damaged: what is at byte {offset:#x} of its file is in use, and is marked as free; repair it with \
                 'qemu-img check -r all', after a copy; it can be read with readonly=on"
            );
        }
        Ok(())
    }

    /// Writes `from` at `offset` of `file` after what has to be there before, having called `make_room`.
    ///
    /// # Errors
    /// The host fails, or data would destroy metadata.
    pub fn write(
        &self,
        role: Role,
        file: &dyn Node,
        offset: u64,
        from: &[VolatileSlice<'_>],
        make_room: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let len = total_len(from) as u64;
        if role == Role::Data {
            self.check_data(offset, len)?;
            // The cluster may have been another's: that link has to be gone.
            if lock(&self.unconfirmed).links {
                self.confirm(file)?;
            }
            make_room()?;
            let done = file.write(offset, from, false).map_err(io_error);
            lock(&self.unconfirmed).targets = true;
            return done;
        }
        let mut owed = lock(&self.metadata);
        let paid = self.pay(&mut owed, file);
        let done = paid.and_then(|()| make_room()).and_then(|()| self.write_metadata(file, offset, from));
        if done.is_err() && matches!(self.kind(offset, len), Kind::L1(_) | Kind::Reftable(_)) {
            owed.push((offset, gather(from)));
        }
        done
    }

    /// Writes what is owed.
    fn pay(&self, owed: &mut Vec<Owed>, file: &dyn Node) -> io::Result<()> {
        while let Some((offset, bytes)) = owed.first_mut() {
            self.write_metadata(file, *offset, &[VolatileSlice::from(&mut bytes[..])])?;
            owed.remove(0);
        }
        Ok(())
    }

    fn write_metadata(&self, file: &dyn Node, offset: u64, from: &[VolatileSlice<'_>]) -> io::Result<()> {
        match self.kind(offset, total_len(from) as u64) {
            Kind::Target => self.write_unlinked(file, offset, from),
            Kind::Counts => {
                if lock(&self.unconfirmed).links {
                    self.confirm_locked(file)?;
                }
                self.write_unlinked(file, offset, from)
            }
            Kind::Links => {
                let done = self.write_links(file, offset, from);
                lock(&self.unconfirmed).links = true;
                done
            }
            Kind::L1(first) => {
                let entries = table_entries(from);
                for (index, target) in changed(&self.layout().tables, first, &entries) {
                    self.count(file, target)?;
                    log::trace!("L2 table {index} is now at {target:#x}");
                }
                self.write_links(file, offset, from)?;
                let mut layout = self.layout.write().unwrap_or_else(PoisonError::into_inner);
                let Layout { tables, table_set, .. } = &mut *layout;
                lock(&self.unconfirmed).links |= replace(tables, table_set, first, &entries);
                Ok(())
            }
            Kind::Reftable(first) => {
                let entries = table_entries(from);
                for (index, target) in changed(&self.layout().blocks, first, &entries) {
                    // A block that counts itself is in the file already, with that count.
                    if self.block_index(target) != index as u64 {
                        self.count(file, target)?;
                    }
                }
                self.write_links(file, offset, from)?;
                let mut layout = self.layout.write().unwrap_or_else(PoisonError::into_inner);
                let Layout { blocks, block_set, .. } = &mut *layout;
                lock(&self.unconfirmed).links |= replace(blocks, block_set, first, &entries);
                Ok(())
            }
            Kind::Moves => self.write_header(file, offset, from),
        }
    }

    fn layout(&self) -> std::sync::RwLockReadGuard<'_, Layout> {
        self.layout.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Number of bits of a cluster number that say where its count is in a block.
    fn block_bits(&self) -> u32 {
        self.cluster_bits + 3 - self.refcount_order
    }

    /// Index of the refcount block that counts the cluster at `offset`.
    fn block_index(&self, offset: u64) -> u64 {
        offset >> (self.cluster_bits + self.block_bits())
    }

    /// What is written at `offset` by imago.
    fn kind(&self, offset: u64, len: u64) -> Kind {
        let layout = self.layout();
        let within = |start: u64, entries: usize| {
            (start..start + entries as u64 * 8).contains(&offset).then(|| ((offset - start) / 8) as usize)
        };
        if offset < TABLE_FIELDS.end && offset + len > TABLE_FIELDS.start {
            Kind::Moves
        } else if let Some(first) = within(layout.l1, layout.tables.len()) {
            Kind::L1(first)
        } else if let Some(first) = within(layout.reftable, layout.blocks.len()) {
            Kind::Reftable(first)
        } else if layout.block_set.contains(&offset) {
            Kind::Counts
        } else if layout.table_set.contains(&offset) {
            Kind::Links
        } else {
            Kind::Target
        }
    }

    /// Refuses data that would destroy metadata.
    fn check_data(&self, offset: u64, len: u64) -> io::Result<()> {
        let layout = self.layout();
        let end = offset.saturating_add(len);
        let touches = |start: u64, entries: usize| {
            let len = (entries as u64 * 8).next_multiple_of(self.cluster());
            offset < start.saturating_add(len) && start < end
        };
        let first = offset & !(self.cluster() - 1);
        let hit = touches(layout.l1, layout.tables.len())
            || touches(layout.reftable, layout.blocks.len())
            || (first..end)
                .step_by(1 << self.cluster_bits)
                .any(|cluster| layout.block_set.contains(&cluster) || layout.table_set.contains(&cluster));
        if hit {
            let reason = format!(
                "the image is damaged: data of the guest is said to be where the image's own tables are (byte {offset:#x} \
                 of the file); stop the machine and repair it with 'qemu-img check -r all'"
            );
            log::error!("{reason}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(())
    }

    /// Has the disk confirm everything written so far.
    ///
    /// # Errors
    /// The host fails.
    pub fn confirm(&self, file: &dyn Node) -> io::Result<()> {
        let mut owed = lock(&self.metadata);
        self.pay(&mut owed, file)?;
        self.confirm_locked(file)
    }

    fn confirm_locked(&self, file: &dyn Node) -> io::Result<()> {
        let before = std::mem::take(&mut *lock(&self.unconfirmed));
        self.sync(file).map_err(|error| {
            let mut unconfirmed = lock(&self.unconfirmed);
            unconfirmed.targets |= before.targets;
            unconfirmed.links |= before.links;
            io_error(error)
        })
    }

    /// Flushes the file, which never succeeds again once it has lost something.
    ///
    /// # Errors
    /// The host fails.
    pub fn sync(&self, file: &dyn Node) -> Result<(), BlockError> {
        let done = file.flush();
        if matches!(done, Err(BlockError::Lost(_))) {
            self.lost.store(true, Ordering::Release);
        }
        if done.is_ok() && self.has_lost() {
            return Err(BlockError::Lost(io::Error::other("its file has lost some: the image has to be opened anew")));
        }
        done
    }

    /// Whether the file has lost writes.
    pub fn has_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    fn write_unlinked(&self, file: &dyn Node, offset: u64, from: &[VolatileSlice<'_>]) -> io::Result<()> {
        let done = file.write(offset, from, false).map_err(io_error);
        lock(&self.unconfirmed).targets = true;
        done
    }

    fn write_links(&self, file: &dyn Node, offset: u64, from: &[VolatileSlice<'_>]) -> io::Result<()> {
        if lock(&self.unconfirmed).targets {
            self.confirm_locked(file)?;
        }
        file.write(offset, from, false).map_err(io_error)
    }

    /// Sees to it that the cluster at `offset`, which is about to be linked, has a count in the file.
    fn count(&self, file: &dyn Node, offset: u64) -> io::Result<()> {
        let block = usize::try_from(self.block_index(offset)).ok();
        let block = block.and_then(|index| self.layout().blocks.get(index).copied()).filter(|block| *block != 0);
        let Some(block) = block else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a new table of the image is not counted anywhere"));
        };
        let place = self.place_of_count(offset);
        let mut bytes = [0; 8];
        let count = &mut bytes[..place.bytes.len()];
        let at = block + place.bytes.start as u64;
        read_bytes(file, at, count).map_err(io_error)?;
        if place.is_counted(count) {
            return Ok(());
        }
        // Numbers have their last byte last; of several in a byte the first one is in the lowest bits.
        count[place.bytes.len() - 1] |= 1 << place.shift;
        lock(&self.unconfirmed).targets = true;
        write_bytes(file, at, count, false).map_err(io_error)
    }

    /// Where the count of the cluster at `offset` is in its block.
    fn place_of_count(&self, offset: u64) -> Place {
        // Less than the bits of a cluster.
        let index = ((offset >> self.cluster_bits) & ((1 << self.block_bits()) - 1)) as usize;
        let bits = 1_usize << self.refcount_order;
        let start = index * bits / 8;
        let (shift, mask) = if bits < 8 { (index * bits % 8, (1 << bits) - 1) } else { (0, 0xff) };
        Place { bytes: start..start + (bits / 8).max(1), shift, mask }
    }

    /// Writes the header, and reads again what is where if it moves a table. imago counts a new refcount table before it writes the
    /// header, but not a new L1 table.
    fn write_header(&self, file: &dyn Node, offset: u64, from: &[VolatileSlice<'_>]) -> io::Result<()> {
        let mut header = vec![0; TABLE_FIELDS.end as usize];
        read_bytes(file, 0, &mut header).map_err(io_error)?;
        let written = gather(from);
        for (at, byte) in (offset..).zip(written) {
            if let Some(place) = usize::try_from(at).ok().and_then(|at| header.get_mut(at)) {
                *place = byte;
            }
        }
        let places = Places::of_header(&header, self.cluster());
        let (l1, entries) = places.l1;
        if l1 != self.layout().l1 {
            for cluster in (l1..l1 + entries * 8).step_by(1 << self.cluster_bits) {
                self.count(file, cluster)?;
            }
        }
        self.write_links(file, offset, from)?;
        self.confirm_locked(file)?;
        let layout = Layout::read(file, places)?;
        *self.layout.write().unwrap_or_else(PoisonError::into_inner) = layout;
        Ok(())
    }
}

/// Where the tables are that everything begins with: offsets and numbers of entries.
struct Places {
    l1: (u64, u64),
    reftable: (u64, u64),
}

impl Places {
    /// Those that the first bytes of a header say.
    fn of_header(header: &[u8], cluster: u64) -> Self {
        let number = |range: std::ops::Range<usize>| header[range].iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
        Self { l1: (number(40..48), number(36..40)), reftable: (number(48..56), number(56..60) * cluster / 8) }
    }
}

impl Layout {
    fn read(file: &dyn Node, places: Places) -> io::Result<Self> {
        let Places { l1: (l1, l1_entries), reftable: (reftable, reftable_entries) } = places;
        let blocks = read_table(file, reftable, reftable_entries)?;
        let tables = read_table(file, l1, l1_entries)?;
        let set = |table: &[u64]| table.iter().copied().filter(|offset| *offset != 0).collect();
        Ok(Self { l1, reftable, block_set: set(&blocks), blocks, table_set: set(&tables), tables })
    }
}

/// A count in a refcount block: its bytes, and of each those bits.
struct Place {
    bytes: std::ops::Range<usize>,
    shift: usize,
    mask: u8,
}

impl Place {
    /// Whether the count, read from its place, is not 0.
    fn is_counted(&self, count: &[u8]) -> bool {
        count.iter().any(|byte| (byte >> self.shift) & self.mask != 0)
    }

    /// The same for the whole block.
    fn counted(&self, block: &[u8]) -> bool {
        self.is_counted(&block[self.bytes.clone()])
    }
}

/// The offsets in a table of the image.
fn read_table(file: &dyn Node, offset: u64, entries: u64) -> io::Result<Vec<u64>> {
    Ok(offsets(&read_padded(file, offset, entries * 8)?))
}

/// Part of the file. What is past its end is zero; the header has been checked to begin with.
pub(super) fn read_padded(file: &dyn Node, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    let there = file.len().saturating_sub(offset).min(len);
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    read_bytes(file, offset, &mut bytes[..usize::try_from(there).map_err(io::Error::other)?]).map_err(io_error)?;
    Ok(bytes)
}

/// The offsets in the entries of a table that are written.
fn table_entries(from: &[VolatileSlice<'_>]) -> Vec<u64> {
    offsets(&gather(from))
}

fn gather(from: &[VolatileSlice<'_>]) -> Vec<u8> {
    let mut bytes = vec![0; total_len(from)];
    let mut at = 0;
    for slice in from {
        at += slice.copy_to(&mut bytes[at..]);
    }
    bytes
}

fn offsets(table: &[u8]) -> Vec<u64> {
    let entries = table.as_chunks().0;
    entries.iter().map(|entry| u64::from_be_bytes(*entry) & OFFSET).collect()
}

/// Those of the entries that link to another place than before, with their indices.
fn changed(old: &[u64], first: usize, new: &[u64]) -> Vec<(usize, u64)> {
    let old = old.get(first..).unwrap_or_default().iter().chain(std::iter::repeat(&0));
    let pairs = new.iter().zip(old).enumerate();
    pairs.filter(|(_, (new, old))| **new != 0 && new != old).map(|(at, (new, _))| (first + at, *new)).collect()
}

/// Takes over entries that have been written. Tells whether one was in use for something else.
fn replace(table: &mut [u64], set: &mut HashSet<u64>, first: usize, new: &[u64]) -> bool {
    let mut replaced = false;
    for (entry, new) in table.iter_mut().skip(first).zip(new) {
        if entry != new {
            replaced |= set.remove(entry);
            *entry = *new;
            if *new != 0 {
                set.insert(*new);
            }
        }
    }
    replaced
}
