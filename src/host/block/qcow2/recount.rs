//! Bringing the reference counts of an image up to date that was not closed.
//!
//! QEMU lets the counts of an image with `lazy_refcounts` fall behind while it writes, and marks the image as dirty meanwhile. When
//! that ends by a kill or a loss of power, the links are right and the counts are not. So what the links lead to is counted here,
//! the counts in the file become that, and so do the flags of links that say "nobody else has this". The mark goes last: what is
//! interrupted begins again.
//!
//! Nothing is written unless all links make sense: into the file, to the beginning of a cluster, and to a part of the metadata only as
//! what it is. Anything else takes `qemu-img check -r all`, and somebody who looks at what it says.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};

use super::super::node::{Node, read_bytes, write_bytes};
use super::header::{DIRTY, FEATURES_BYTE, Header, MOST_L1};
use super::order::{OFFSET, read_padded};

/// The most clusters of a file of which the counts are kept at once.
const MOST_CLUSTERS: u64 = 1 << 26;
/// Flag of a link in the L1 table or an L2 table: what it leads to has a count of exactly one.
const COPIED: u64 = 1 << 63;
/// Flag of a link in an L2 table: it leads to compressed data.
const COMPRESSED: u64 = 1 << 62;
/// Flag of a link in an L2 table: the cluster reads as zeroes.
const ZERO: u64 = 1;
/// Compressed data is counted in sectors.
const SECTOR: u64 = 512;
/// Where the header has the features that who does not know them takes away, and the one of them that means bitmaps.
const AUTOCLEAR: u64 = 88;
const BITMAPS: u64 = 1;
/// Bytes of a snapshot's entry before those whose number it says.
const SNAPSHOT_LEN: u64 = 40;

/// Makes the counts what they should be, and takes the mark away.
///
/// # Errors
/// The links make no sense, in which case nothing has changed, or the host fails.
pub(super) fn recount(file: &dyn Node, header: &Header) -> Result<()> {
    let image = Image { file, header };
    let blocks = image.entries(header.reftable_offset, header.reftable_len / 8)?;
    let l1 = image.entries(header.l1_offset, header.l1_entries)?;
    let mut counts = Counts::of(file, header)?;
    count(&image, &mut counts, &blocks, &l1)?;
    counts.check(&blocks)?;
    image.set_counts(&counts, &blocks)?;
    image.set_flags(&counts, &l1)?;
    file.flush()?;
    let mut features = [0];
    read_bytes(file, FEATURES_BYTE, &mut features)?;
    features[0] &= !(DIRTY as u8);
    write_bytes(file, FEATURES_BYTE, &mut features, false)?;
    file.flush()?;
    Ok(())
}

/// Counts everything that is in use.
fn count(image: &Image<'_>, counts: &mut Counts, blocks: &[u64], l1: &[u64]) -> Result<()> {
    let Image { file, header } = *image;
    let cluster = header.cluster();
    let mut autoclear = [0; 8];
    read_bytes(file, AUTOCLEAR, &mut autoclear)?;
    ensure!(u64::from_be_bytes(autoclear) & BITMAPS == 0, "it has bitmaps, which natoma does not know");
    counts.add_table(0, cluster, 1)?;
    counts.add_table(header.reftable_offset, header.reftable_len, 1)?;
    for block in blocks.iter().filter(|block| **block != 0) {
        counts.add_table(*block, cluster, 1)?;
    }
    // Each table is read once, however many snapshots share it.
    let mut tables = BTreeMap::new();
    counts.add_table(header.l1_offset, header.l1_entries * 8, 1)?;
    find_tables(&mut tables, l1)?;
    for (offset, entries) in image.snapshots(counts)? {
        counts.add_table(offset, entries * 8, 1)?;
        find_tables(&mut tables, &image.entries(offset, entries)?)?;
    }
    for (table, times) in tables {
        counts.add_table(table, cluster, times)?;
        for entry in image.entries(table, cluster / 8)? {
            match Link::of(entry, header.cluster_bits)? {
                Link::Nothing => {}
                Link::Cluster(offset) => {
                    ensure!(offset.is_multiple_of(cluster), "a link leads into a cluster, to byte {offset:#x}");
                    counts.add(offset..offset + cluster, times)?;
                }
                Link::Compressed(range) => {
                    counts.add(range, times)?;
                }
            }
        }
    }
    Ok(())
}

/// Notes how many links there are to each L2 table.
fn find_tables(tables: &mut BTreeMap<u64, u32>, l1: &[u64]) -> Result<()> {
    for entry in l1.iter().filter(|entry| **entry != 0) {
        ensure!(entry & !(OFFSET | COPIED) == 0, "an entry of an L1 table is {entry:#x}");
        *tables.entry(entry & OFFSET).or_default() += 1;
    }
    Ok(())
}

/// What an entry of an L2 table leads to.
enum Link {
    Nothing,
    Cluster(u64),
    Compressed(Range<u64>),
}

impl Link {
    fn of(entry: u64, cluster_bits: u32) -> Result<Self> {
        if entry & COMPRESSED != 0 {
            ensure!(entry & COPIED == 0, "a link to compressed data is {entry:#x}");
            let sectors_at = 62 - (cluster_bits - 8);
            let start = entry & ((1 << sectors_at) - 1) & !(SECTOR - 1);
            let sectors = ((entry & !COMPRESSED) >> sectors_at) + 1;
            return Ok(Self::Compressed(start..start + sectors * SECTOR));
        }
        ensure!(entry & !(OFFSET | COPIED | ZERO) == 0, "an entry of an L2 table is {entry:#x}");
        Ok(if entry & OFFSET == 0 { Self::Nothing } else { Self::Cluster(entry & OFFSET) })
    }
}

/// How many links there are to each cluster of a file.
struct Counts {
    by_cluster: Vec<u32>,
    cluster_bits: u32,
    /// Bits of the number of a count in its block.
    block_bits: u32,
    /// The highest count that there is room for.
    most: u64,
    /// Clusters of metadata, and how many links there may be to each.
    metadata: Vec<(usize, u32)>,
}

impl Counts {
    fn of(file: &dyn Node, header: &Header) -> Result<Self> {
        let clusters = file.len().div_ceil(header.cluster());
        ensure!(clusters <= MOST_CLUSTERS, "it has {clusters} clusters, which are too many to be counted here");
        Ok(Self {
            by_cluster: vec![0; clusters as usize],
            cluster_bits: header.cluster_bits,
            block_bits: header.cluster_bits + 3 - header.refcount_order,
            most: u64::MAX >> (64 - header.refcount_bits()),
            metadata: Vec::new(),
        })
    }

    /// Counts `times` links to the clusters that have a range of bytes in them. Gives their numbers.
    fn add(&mut self, bytes: Range<u64>, times: u32) -> Result<Range<usize>> {
        let clusters = bytes.start >> self.cluster_bits..bytes.end.div_ceil(1 << self.cluster_bits);
        let clusters = clusters.start as usize..clusters.end as usize;
        let Some(counts) = self.by_cluster.get_mut(clusters.clone()) else {
            bail!("a link leads past the end of the file, to byte {:#x}", bytes.start);
        };
        for count in counts {
            *count = count.checked_add(times).context("there are too many links to a cluster")?;
        }
        Ok(clusters)
    }

    /// The same for a table of the image, to which there are no other links.
    fn add_table(&mut self, offset: u64, len: u64, times: u32) -> Result<()> {
        ensure!(offset.is_multiple_of(1 << self.cluster_bits), "a table begins within a cluster, at byte {offset:#x}");
        let clusters = self.add(offset..offset.saturating_add(len), times)?;
        self.metadata.extend(clusters.map(|cluster| (cluster, times)));
        Ok(())
    }

    /// How many links there are to the cluster at a place that has been counted.
    fn at(&self, offset: u64) -> u32 {
        self.by_cluster[(offset >> self.cluster_bits) as usize]
    }

    /// Those of the clusters that the block with this number counts.
    fn of_block(&self, number: usize) -> &[u32] {
        let of_blocks = |blocks: usize| (blocks << self.block_bits).min(self.by_cluster.len());
        &self.by_cluster[of_blocks(number)..of_blocks(number + 1)]
    }

    /// Makes sure that metadata is nothing else as well, and that there is room for all counts.
    fn check(&self, blocks: &[u64]) -> Result<()> {
        for (cluster, times) in &self.metadata {
            ensure!(
                self.by_cluster[*cluster] == *times,
                "a link leads to a table of the image, at byte {:#x}",
                (*cluster as u64) << self.cluster_bits
            );
        }
        let highest = self.by_cluster.iter().max().copied().unwrap_or(0);
        ensure!(
            u64::from(highest) <= self.most,
            "there are {highest} links to a cluster, and {} can be counted",
            self.most
        );
        let all = self.by_cluster.len().div_ceil(1 << self.block_bits);
        for number in (0..all).filter(|number| blocks.get(*number).is_none_or(|block| *block == 0)) {
            ensure!(self.of_block(number).iter().all(|count| *count == 0), "a cluster in use is not counted anywhere");
        }
        Ok(())
    }
}

/// An image in its file.
#[derive(Clone, Copy)]
struct Image<'a> {
    file: &'a dyn Node,
    header: &'a Header,
}

impl Image<'_> {
    /// The entries of a table.
    fn entries(&self, offset: u64, entries: u64) -> Result<Vec<u64>> {
        let table = read_padded(self.file, offset, entries * 8).context("its tables can't be read")?;
        Ok(table.as_chunks().0.iter().map(|entry| u64::from_be_bytes(*entry)).collect())
    }

    /// The L1 tables of the snapshots: their offsets and numbers of entries. Counts the table of snapshots.
    fn snapshots(&self, counts: &mut Counts) -> Result<Vec<(u64, u64)>> {
        let Header { snapshots, snapshots_offset, .. } = *self.header;
        let mut found = Vec::new();
        let (mut at, mut total) = (snapshots_offset, 0);
        for _ in 0..snapshots {
            let mut entry = [0; SNAPSHOT_LEN as usize];
            read_bytes(self.file, at, &mut entry).context("its table of snapshots can't be read")?;
            let number = |range: Range<usize>| entry[range].iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
            let (offset, entries) = (number(0..8), number(8..12));
            total += entries * 8;
            // A table of each one's own.
            ensure!(
                entries * 8 <= MOST_L1 && total <= self.file.len(),
                "the L1 tables of its snapshots have {total} bytes and more"
            );
            found.push((offset, entries));
            at = (at + SNAPSHOT_LEN + number(12..14) + number(14..16) + number(36..40)).next_multiple_of(8);
        }
        counts.add_table(snapshots_offset, at - snapshots_offset, 1)?;
        Ok(found)
    }

    fn set_counts(&self, counts: &Counts, blocks: &[u64]) -> Result<()> {
        for (number, block) in blocks.iter().enumerate().filter(|(_, block)| **block != 0) {
            let found = read_padded(self.file, *block, self.header.cluster())?;
            let mut bytes = vec![0; found.len()];
            for (place, count) in counts.of_block(number).iter().enumerate() {
                put_count(&mut bytes, place, u64::from(*count), self.header.refcount_order);
            }
            if bytes != found {
                self.write(*block, &mut bytes)?;
            }
        }
        Ok(())
    }

    /// Makes the flags of the links that the guest's writes go by agree with the counts.
    fn set_flags(&self, counts: &Counts, l1: &[u64]) -> Result<()> {
        let cluster = self.header.cluster();
        let flagged = |entry: u64| match counts.at(entry & OFFSET) {
            1 => entry | COPIED,
            _ => entry & !COPIED,
        };
        let mut wanted = l1.to_vec();
        for entry in wanted.iter_mut().filter(|entry| **entry != 0) {
            let offset = *entry & OFFSET;
            let found = self.entries(offset, cluster / 8)?;
            let is_cluster = |entry: u64| entry & COMPRESSED == 0 && entry & OFFSET != 0;
            let flags = found.iter().map(|entry| if is_cluster(*entry) { flagged(*entry) } else { *entry });
            self.replace(offset, &found, &flags.collect::<Vec<_>>())?;
            *entry = flagged(*entry);
        }
        self.replace(self.header.l1_offset, l1, &wanted)
    }

    /// Writes a table that is not as it should be.
    fn replace(&self, offset: u64, found: &[u64], wanted: &[u64]) -> Result<()> {
        if found != wanted {
            let mut bytes: Vec<u8> = wanted.iter().flat_map(|entry| entry.to_be_bytes()).collect();
            self.write(offset, &mut bytes)?;
        }
        Ok(())
    }

    /// Writes a table, of which the end of the file may have been missing.
    fn write(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let end = offset + bytes.len() as u64;
        if end > self.file.len() {
            self.file.resize(end)?;
        }
        Ok(write_bytes(self.file, offset, bytes, false)?)
    }
}

/// Puts a count of two to the power of `order` bits in its place in a block of zeroes.
fn put_count(block: &mut [u8], place: usize, count: u64, order: u32) {
    if order < 3 {
        // The first of several in a byte is in the lowest bits.
        let bits = 1_usize << order;
        block[place * bits / 8] |= (count as u8) << (place * bits % 8);
    } else {
        let len = 1_usize << (order - 3);
        block[place * len..][..len].copy_from_slice(&count.to_be_bytes()[8 - len..]);
    }
}
