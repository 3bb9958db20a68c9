//! `snapshot=on`: a temporary file takes what the guest writes, and the image stays as it is. What the guest clears or discards takes
//! no room there.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::{env, ops};

use anyhow::{Context, Result};
use devices::backend::block::{BlockError, check_range};
use nix::libc;
use vm_memory::VolatileSlice;

use super::direct::Alignment;
use super::file::Opened;
use super::node::{Node, check_transfer, part, read_bytes, total_len, write_bytes};
use super::raw::RawImage;

/// Bytes that move to the temporary file together.
const CLUSTER: u64 = 64 * 1024;

/// An image under a temporary file that has no name.
pub(super) struct Overlay {
    base: Arc<dyn Node>,
    changes: RawImage,
    len: u64,
    read_only: bool,
    /// Which clusters are in `changes`. Locked for reading while they are accessed there or in the base.
    changed: RwLock<Vec<bool>>,
}

impl Overlay {
    /// `read_only` concerns the guest; the image is never written.
    pub fn new(base: Arc<dyn Node>, read_only: bool) -> Result<Self> {
        // Not /tmp, which is often in memory.
        let directory = env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
        let changes =
            OpenOptions::new().read(true).write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(&directory);
        let changes = changes.with_context(|| {
            format!(
                "snapshot=on: can't make a temporary file in {}: TMPDIR names another directory",
                directory.display()
            )
        })?;
        let len = base.len();
        let clusters = usize::try_from(len.div_ceil(CLUSTER)).context("snapshot=on: the image is too large")?;
        // It takes no room until it is written.
        let sized = changes.set_len(len);
        sized.with_context(|| {
            format!("snapshot=on: a temporary file in {} can't have the {len} bytes of the image", directory.display())
        })?;
        let file = changes.into();
        let changes = Opened { file, len, read_only: false, is_device: false, alignment: Alignment::NONE };
        let changes = RawImage::new(changes, false);
        Ok(Self { base, changes, len, read_only, changed: RwLock::new(vec![false; clusters]) })
    }

    fn changed(&self) -> RwLockReadGuard<'_, Vec<bool>> {
        self.changed.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed_alone(&self) -> RwLockWriteGuard<'_, Vec<bool>> {
        self.changed.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The parts of a range that lie in one cluster each: cluster, offset of the part, its range in the data.
    fn parts(offset: u64, len: usize) -> impl Iterator<Item = (usize, u64, ops::Range<usize>)> {
        let mut done = 0;
        std::iter::from_fn(move || {
            let at = offset + done as u64;
            let room = usize::try_from(CLUSTER - at % CLUSTER).unwrap_or(usize::MAX);
            let part = done..len.min(done + room);
            done = part.end;
            (!part.is_empty()).then_some(((at / CLUSTER) as usize, at, part))
        })
    }

    /// Moves the clusters of a range to the temporary file.
    fn copy(&self, offset: u64, len: usize) -> Result<(), BlockError> {
        if Self::parts(offset, len).all(|(cluster, ..)| self.changed()[cluster]) {
            return Ok(());
        }
        let mut changed = self.changed_alone();
        for (cluster, ..) in Self::parts(offset, len) {
            if !changed[cluster] {
                let start = cluster as u64 * CLUSTER;
                let mut data = vec![0; (self.len - start).min(CLUSTER) as usize];
                read_bytes(&*self.base, start, &mut data)?;
                write_bytes(&self.changes, start, &mut data, false)?;
                changed[cluster] = true;
            }
        }
        Ok(())
    }

    fn check_change(&self, offset: u64, len: u64) -> Result<(), BlockError> {
        if self.read_only {
            return Err(BlockError::ReadOnly);
        }
        check_range(self.len, offset, usize::try_from(len).unwrap_or(usize::MAX))
    }

    /// Makes the whole clusters of a range zeroes. Gives the part of the range that they are.
    fn clear(&self, offset: u64, len: u64) -> Result<ops::Range<u64>, BlockError> {
        let end = offset + len;
        // The last cluster may be shorter than the others.
        let last = if end == self.len { end.div_ceil(CLUSTER) } else { end / CLUSTER };
        let first = offset.div_ceil(CLUSTER);
        if first >= last {
            return Ok(offset..offset);
        }
        let cleared = first * CLUSTER..(last * CLUSTER).min(self.len);
        let mut changed = self.changed_alone();
        self.changes.write_zeroes(cleared.start, cleared.end - cleared.start, true)?;
        changed[first as usize..last as usize].fill(true);
        Ok(cleared)
    }
}

impl Node for Overlay {
    fn len(&self) -> u64 {
        self.len
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn read(&self, offset: u64, to: &[VolatileSlice<'_>]) -> Result<(), BlockError> {
        check_transfer(self.len, offset, to)?;
        let changed = self.changed();
        for (cluster, at, range) in Self::parts(offset, total_len(to)) {
            let to = part(to, range.start, range.len());
            if changed[cluster] {
                self.changes.read(at, &to)?;
            } else {
                self.base.read(at, &to)?;
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, from: &[VolatileSlice<'_>], _durable: bool) -> Result<(), BlockError> {
        let len = total_len(from);
        self.check_change(offset, len as u64)?;
        self.copy(offset, len)?;
        self.changes.write(offset, from, false)
    }

    /// There is nothing to keep.
    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> Result<(), BlockError> {
        self.check_change(offset, len)?;
        self.clear(offset, len).map(drop)
    }

    fn write_zeroes(&self, offset: u64, len: u64, _may_unmap: bool) -> Result<(), BlockError> {
        self.check_change(offset, len)?;
        let cleared = self.clear(offset, len)?;
        for part in [offset..cleared.start, cleared.end..offset + len] {
            let len = part.end - part.start;
            self.copy(part.start, len as usize)?;
            self.changes.write_zeroes(part.start, len, true)?;
        }
        Ok(())
    }

    fn hurry(&self, hurried: bool) {
        self.base.hurry(hurried);
    }

    fn give_up(&self) {
        self.base.give_up();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::MetadataExt;

    use super::super::detect_zeroes::ZeroDetector;
    use super::super::memory::Memory;
    use super::*;

    const LEN: usize = 3 * CLUSTER as usize + 0x600;

    fn overlay() -> (Arc<Memory>, Arc<Overlay>) {
        let base = Arc::new(Memory::new(vec![0xa5; LEN]).read_only());
        let overlay = Overlay::new(Arc::clone(&base) as _, false).unwrap();
        (base, Arc::new(overlay))
    }

    /// What the temporary file takes of the host's storage.
    fn room(overlay: &Overlay) -> u64 {
        let file = overlay.changes.raw().unwrap().file.try_clone_to_owned().unwrap();
        File::from(file).metadata().unwrap().blocks()
    }

    fn contents(node: &dyn Node) -> Vec<u8> {
        let mut bytes = vec![0; LEN];
        read_bytes(node, 0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn zeroes_are_where_they_are_wanted_and_whole_clusters_of_them_take_no_room() {
        let cluster = CLUSTER as usize;
        for (start, end, takes_room) in [
            (0, LEN, false),
            (cluster, 3 * cluster, false),
            (3 * cluster, LEN, false),
            (3 * cluster, LEN - 0x200, true),
            (0x200, cluster, true),
            (0x200, 2 * cluster + 0x200, true),
            (cluster - 0x200, cluster + 0x200, true),
            (cluster, cluster, false),
        ] {
            for detected in [false, true] {
                let (base, overlay) = overlay();
                let detector = ZeroDetector::new(Arc::clone(&overlay) as _, false);
                match detected {
                    true => write_bytes(&detector, start as u64, &mut vec![0; end - start], false).unwrap(),
                    false => overlay.write_zeroes(start as u64, (end - start) as u64, false).unwrap(),
                }
                let mut expected = vec![0xa5; LEN];
                expected[start..end].fill(0);
                assert!(contents(&detector) == expected, "{start:#x} to {end:#x}");
                assert_eq!(room(&overlay) > 0, takes_room, "{start:#x} to {end:#x}");
                assert!(base.contents() == vec![0xa5; LEN]);
                // What comes later is written as anywhere.
                write_bytes(&detector, start as u64, &mut [7], false).unwrap();
                expected[start] = 7;
                assert!(contents(&detector) == expected, "{start:#x} to {end:#x}");
            }
        }
    }

    #[test]
    fn what_is_discarded_gives_its_room_back() {
        let (_, overlay) = overlay();
        write_bytes(&*overlay, 0, &mut vec![7; LEN], false).unwrap();
        let before = room(&overlay);
        overlay.discard(0x200, 2 * CLUSTER).unwrap();
        assert!(room(&overlay) < before);
        let found = contents(&*overlay);
        assert!(found[..0x200].iter().chain(&found[2 * CLUSTER as usize + 0x200..]).all(|byte| *byte == 7));
        assert!(matches!(overlay.discard(0, LEN as u64 + 1), Err(BlockError::OutOfRange { .. })));
        assert!(matches!(overlay.write_zeroes(u64::MAX, 2, true), Err(BlockError::OutOfRange { .. })));
    }
}
