//! A raw image whose last sector is not whole in its file: a boot program as an assembler has made it, say.
//!
//! As with QEMU the rest of the sector reads as zeroes, and is in the file as soon as somebody writes there.

use std::sync::Arc;

use devices::backend::block::{BlockError, check_range};
use vm_memory::VolatileSlice;

use super::file::SECTOR;
use super::node::{FileTally, Node, check_transfer, part, total_len};

/// A medium of whole sectors over a node that ends within one.
struct Padded(Arc<dyn Node>);

/// The node itself, or what makes whole sectors of it.
pub(super) fn to_sectors(node: Arc<dyn Node>) -> Arc<dyn Node> {
    if node.len().is_multiple_of(SECTOR) { node } else { Arc::new(Padded(node)) }
}

impl Padded {
    /// Sees to it that the file goes as far as what is to be written.
    fn make_room(&self, offset: u64, len: u64) -> Result<(), BlockError> {
        check_range(self.len(), offset, usize::try_from(len).unwrap_or(usize::MAX))?;
        if offset + len > self.0.len() && !self.is_read_only() {
            return self.0.resize(self.len());
        }
        Ok(())
    }
}

impl Node for Padded {
    fn len(&self) -> u64 {
        self.0.len().next_multiple_of(SECTOR)
    }

    fn is_read_only(&self) -> bool {
        self.0.is_read_only()
    }

    fn read(&self, offset: u64, to: &[VolatileSlice<'_>]) -> Result<(), BlockError> {
        check_transfer(self.len(), offset, to)?;
        // Less than a sector is missing, of what fits into memory.
        let there = self.0.len().saturating_sub(offset).min(total_len(to) as u64) as usize;
        self.0.read(offset, &part(to, 0, there))?;
        for slice in part(to, there, usize::MAX) {
            slice.copy_from(&vec![0; slice.len()]);
        }
        Ok(())
    }

    fn write(&self, offset: u64, from: &[VolatileSlice<'_>], durable: bool) -> Result<(), BlockError> {
        self.make_room(offset, total_len(from) as u64)?;
        self.0.write(offset, from, durable)
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.0.flush()
    }

    fn discard(&self, offset: u64, len: u64) -> Result<(), BlockError> {
        self.make_room(offset, len)?;
        self.0.discard(offset, len)
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> Result<(), BlockError> {
        self.make_room(offset, len)?;
        self.0.write_zeroes(offset, len, may_unmap)
    }

    fn resize(&self, len: u64) -> Result<(), BlockError> {
        self.0.resize(len)
    }

    fn hurry(&self, hurried: bool) {
        self.0.hurry(hurried);
    }

    fn give_up(&self) {
        self.0.give_up();
    }

    fn file_tally(&self) -> Option<FileTally> {
        self.0.file_tally()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::super::memory::Memory;
    use super::super::node::{read_bytes, write_bytes};
    use super::super::testing::{Image, open_node};
    use super::*;
    use crate::config::{Access, CacheMode};

    #[test]
    fn the_rest_of_the_last_sector_is_zero_until_it_is_written() {
        let memory = Arc::new(Memory::new(vec![7; 700]));
        let padded = to_sectors(Arc::clone(&memory) as _);
        assert_eq!(padded.len(), 1024);
        let mut found = [9; 512];
        for (offset, sevens) in [(0, 512), (512, 188), (300, 400), (512 + 188, 0)] {
            let len = 512.min(1024 - offset as usize);
            read_bytes(&*padded, offset, &mut found[..len]).unwrap();
            assert!(found[..sevens.min(len)].iter().all(|byte| *byte == 7), "{offset}");
            assert!(found[sevens.min(len)..len].iter().all(|byte| *byte == 0), "{offset}");
        }
        assert!(read_bytes(&*padded, 1024, &mut found[..1]).is_err());
        assert!(write_bytes(&*padded, 1000, &mut [1; 25], false).is_err());
        write_bytes(&*padded, 512, &mut [1; 100], false).unwrap();
        assert_eq!(memory.contents().len(), 700, "nothing was written there");
        write_bytes(&*padded, 1000, &mut [2; 24], false).unwrap();
        let contents = memory.contents();
        assert_eq!((contents.len(), contents[699], contents[700], contents[1000]), (1024, 7, 0, 2));
        assert_eq!(padded.len(), 1024);
    }

    #[test]
    fn images_of_any_length_are_used_as_qemu_uses_them() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("image");
        for format in [None, Some("raw")] {
            for cache in [CacheMode::WRITEBACK, CacheMode::NONE] {
                for access in [Access::ReadWrite, Access::ReadOnly] {
                    fs::write(&path, [5; 5000]).unwrap();
                    let image = Image { format, cache, access, ..Image::new(&path) };
                    let Ok(node) = open_node(&image) else {
                        // Some file systems have no direct access.
                        assert!(cache.direct);
                        continue;
                    };
                    let mut found = [9; 512];
                    read_bytes(&*node, 4608, &mut found).unwrap();
                    assert_eq!((found[391], found[392], found[511], node.len()), (5, 0, 0, 5120), "{image:?}");
                    let written = write_bytes(&*node, 4608, &mut [6; 512], true);
                    assert_eq!(written.is_ok(), access == Access::ReadWrite);
                    drop(node);
                    let expected = if access == Access::ReadWrite { (5120, 6) } else { (5000, 5) };
                    let contents = fs::read(&path).unwrap();
                    assert_eq!((contents.len(), contents[contents.len() - 1]), expected, "{image:?}");
                }
            }
        }
    }
}
