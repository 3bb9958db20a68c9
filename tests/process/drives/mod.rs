//! Disks of the whole program, on a host that fails: what the guest is told, when the machine stops, and that nothing is lost.
//!
//! The machine has no processors: a client of the qtest protocol drives the disks as a guest's drivers do.

mod disk;
mod faults;
mod images;
mod kill;
mod limits;
mod machine;
mod servers;
mod virtio;

pub use disk::{Disk, Ide, Outcome};
pub use machine::Machine;
pub use virtio::{Scsi, Virtio};

/// Bytes of a sector.
pub const SECTOR: u64 = 512;

/// Something to do on a disk.
#[derive(Clone, Copy, Debug)]
pub enum Request {
    Read {
        sector: u32,
        count: u8,
    },
    /// Each byte gets this value.
    Write {
        sector: u32,
        count: u8,
        value: u8,
    },
    Flush,
}
