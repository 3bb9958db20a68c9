//! The saved state of a controller, and what of it can be true.

use serde::{Deserialize, Serialize};

use super::bus_master::BusMasterChannel;
use super::channel::UNITS;
use super::drive::{self, Phase, Unit};
use super::registers::status;
use super::task_file::TaskFile;
use super::{atapi, disk};
use crate::backend::disk::{DiskPortState, Operation, Request};
use crate::base::{Dma, StateError};
use crate::pci::PciConfigState;
use crate::scsi::cd::CdMemory;

pub const VERSION: u32 = 1;

/// The requests of the drives of a channel.
pub(super) type Requests = [Vec<Request>; UNITS];

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct V1 {
    pub config: PciConfigState,
    pub channels: [Channel; 2],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Channel {
    pub drives: [Drive; UNITS],
    pub control: u8,
    pub master: BusMasterChannel,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Drive {
    pub file: TaskFile,
    interrupt: bool,
    pub phase: Phase,
    unit: SavedUnit,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum SavedUnit {
    Absent,
    Disk { memory: disk::Memory, requests: DiskPortState },
    Cd { memory: atapi::Memory, drive: CdMemory, requests: DiskPortState },
}

impl Drive {
    pub fn of(drive: &drive::Drive) -> Self {
        let drive::Drive { file, interrupt, phase, unit } = drive;
        let unit = match unit {
            Unit::Absent => SavedUnit::Absent,
            Unit::Disk(disk) => SavedUnit::Disk { memory: disk.memory.clone(), requests: disk.port.save() },
            Unit::Cd(cd) => SavedUnit::Cd {
                memory: cd.memory.clone(),
                drive: cd.drive.memory.clone(),
                requests: cd.drive.port.save(),
            },
        };
        Self { file: *file, interrupt: *interrupt, phase: phase.clone(), unit }
    }

    /// Checks the state of a drive without taking it over, and gives its requests.
    pub fn check(&self, own: &drive::Drive, dma: &Dma) -> Result<Vec<Request>, StateError> {
        let Self { file, interrupt: _, phase, unit } = self;
        let refuse = |field, why: &str| Err(StateError::invalid(field, why));
        if !drive::Drive::is_possible(phase) {
            return refuse("phase", "the block of data that passes is impossible");
        }
        let (possible, expected, wants_dma, requests) = match (unit, &own.unit) {
            (SavedUnit::Absent, Unit::Absent) => (*phase == Phase::Idle, None, false, Vec::new()),
            (SavedUnit::Disk { memory, requests }, Unit::Disk(disk)) => (
                memory.is_possible(disk.native_sectors()) && memory.suits(phase),
                memory.expected_request(),
                memory.wants_dma(),
                disk.port.check(requests, 1, dma)?,
            ),
            (SavedUnit::Cd { memory, drive: _, requests }, Unit::Cd(cd)) => (
                memory.is_possible(),
                memory.expected_request(),
                memory.wants_dma(),
                cd.drive.port.check(requests, 1, dma)?,
            ),
            _ => return refuse("drives", "these are not the drives of this machine"),
        };
        if !possible {
            return refuse("unit", "the drive can't be like that");
        }
        if (*phase == Phase::Dma) && !wants_dma {
            return refuse("phase", "nothing is to be transferred by DMA");
        }
        if (*phase == Phase::Waiting) != (requests.len() == 1) {
            return refuse("requests", "a drive that waits has a request, and no other has");
        }
        let fits = |request: &Request| {
            let reads = request.operation == Operation::Read;
            let (operation, offset, len) = (request.operation, request.offset, request.len);
            // A cache may have been switched since.
            expected.is_some_and(|(other, at, size)| {
                let kind = matches!((operation, other), (Operation::Write { .. }, Operation::Write { .. }));
                (kind || operation == other)
                    && (offset, len) == (at, size)
                    && (reads || operation.modifies() || len == 0)
            })
        };
        if !requests.iter().all(fits) {
            return refuse("requests", "the request is not that of the command");
        }
        let busy = match phase {
            Phase::Idle => 0,
            Phase::Pio { .. } | Phase::Dma => status::DRQ,
            Phase::Waiting | Phase::Reset => status::BSY,
        };
        if file.status & (status::BSY | status::DRQ) != busy {
            return refuse("status", "BSY and DRQ are not those of the phase");
        }
        Ok(requests)
    }

    /// Takes over a state that has been checked.
    pub fn apply(&self, own: &mut drive::Drive, requests: Vec<Request>) {
        own.file = self.file;
        own.interrupt = self.interrupt;
        own.phase = self.phase.clone();
        match (&self.unit, &mut own.unit) {
            (SavedUnit::Disk { memory, requests: saved }, Unit::Disk(disk)) => {
                disk.memory = memory.clone();
                disk.port.load(saved, requests);
            }
            (SavedUnit::Cd { memory, drive, requests: saved }, Unit::Cd(cd)) => {
                cd.memory = memory.clone();
                cd.drive.memory = drive.clone();
                cd.drive.port.load(saved, requests);
            }
            _ => {}
        }
    }
}
