//! Which devices firmware boots from, in order: `bootindex=` of the devices.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Two devices want the same place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("bootindex={index} is taken by {holder}: each device needs an index of its own")]
pub struct IndexTaken {
    index: i32,
    holder: String,
}

/// The devices with an index, under the names that firmware has for them: Open Firmware device paths.
#[derive(Debug, Default)]
pub struct BootOrder {
    devices: BTreeMap<i32, String>,
}

impl BootOrder {
    /// Adds a device, if it has an index. `path` is as QEMU writes it: `/pci@i0cf8/isa@1/fdc@03f0/floppy@0`.
    ///
    /// # Errors
    /// Another device has the index.
    pub fn add(&mut self, bootindex: Option<i32>, path: impl Into<String>) -> Result<(), IndexTaken> {
        let Some(index) = bootindex else { return Ok(()) };
        match self.devices.entry(index) {
            Entry::Vacant(place) => {
                place.insert(path.into());
                Ok(())
            }
            Entry::Occupied(holder) => Err(IndexTaken { index, holder: holder.get().clone() }),
        }
    }

    /// The file `bootorder`: a line for each device, lowest index first, the last one ended by a zero. `strict` forbids the
    /// firmware to look further. Empty if no device has an index.
    #[must_use]
    pub fn file(&self, strict: bool) -> Vec<u8> {
        let mut lines: Vec<&str> = self.devices.values().map(String::as_str).collect();
        if lines.is_empty() {
            return Vec::new();
        }
        if strict {
            lines.push("HALT");
        }
        let mut file = lines.join("\n").into_bytes();
        file.push(0);
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file as QEMU 7.2 makes it for a floppy, a disk and strict=on.
    #[test]
    fn lowest_index_first_whatever_was_added_first() {
        let mut order = BootOrder::default();
        assert_eq!(order.file(true), b"");
        order.add(Some(7), "/pci@i0cf8/ide@1,1/drive@0/disk@0").unwrap();
        order.add(None, "/never").unwrap();
        order.add(Some(-1), "/rom@genroms/x").unwrap();
        order.add(Some(2), "/pci@i0cf8/isa@1/fdc@03f0/floppy@0").unwrap();
        let lines = "/rom@genroms/x\n/pci@i0cf8/isa@1/fdc@03f0/floppy@0\n/pci@i0cf8/ide@1,1/drive@0/disk@0";
        assert_eq!(order.file(false), [lines, "\0"].concat().into_bytes());
        assert_eq!(order.file(true), [lines, "\nHALT\0"].concat().into_bytes());
        let taken = order.add(Some(2), "/other").unwrap_err().to_string();
        assert!(taken.contains("bootindex=2") && taken.contains("floppy@0"), "{taken}");
    }
}
