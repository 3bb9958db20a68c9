//! SCSI: targets with disks and CD drives, and the commands of both, whatever carries them.
//!
//! Follows SPC-4 (T10/1731-D), SBC-3 (T10/BSR INCITS 514), MMC-3 and SAM-5. A controller hands commands to [`Targets`] and is told of
//! their ends; an ATAPI drive takes the commands of a CD drive from here.
//!
//! Emulated, disks: INQUIRY with the pages 00h, 80h, 83h, B0h, B1h, B2h; READ, WRITE, WRITE AND VERIFY, VERIFY in all lengths, forced
//! unit access; WRITE SAME, UNMAP, SYNCHRONIZE CACHE; READ CAPACITY; the mode pages error recovery, geometry (both) and
//! caching, whose write cache can be switched; removable disks. CD drives: what [`cd`] has. All units: unit attentions,
//! REQUEST SENSE in both formats, REPORT LUNS and its well-known unit.
//!
//! Not emulated: protection information (commands that ask for it are refused), persistent reservations, and reservations
//! beyond their acceptance, as there is one initiator; the order that task attributes ask for (an initiator waits for
//! what it builds upon, as drivers do); formats other than the one that the disk has; power conditions.

pub(crate) mod cd;
mod cdb;
mod disk;
mod identity;
pub(crate) mod mode;
mod outcome;
mod sense;
mod targets;
mod task;
#[cfg(test)]
mod tests;
mod unit;

pub use cd::{CdDrive, MediumError, Tray, TrayWatcher};
pub(crate) use cdb::{Cdb, opcode};
pub use disk::DiskOptions;
pub use identity::Identity;
pub(crate) use outcome::Outcome;
pub use sense::Sense;
pub use targets::{Address, LAST_LUN, LoadedTargets, PlaceTaken, Targets, TargetsState, UnitPlace};
pub use unit::{Command, End, LogicalUnit, Reply, UnitReset};

/// The characters of a text as a device has them, filled up with spaces or cut off to `len` of them.
pub(crate) fn padded(text: &str, len: usize) -> Vec<u8> {
    let ascii = text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c as u8 } else { b'?' });
    ascii.chain(std::iter::repeat(b' ')).take(len).collect()
}
