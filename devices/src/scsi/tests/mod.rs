//! Tests of SCSI units against the standards.

mod cd;
mod disk;
mod flaws;
mod state;
mod targets;

use std::sync::Arc;

use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::{Address, Command, DiskOptions, End, Identity, LogicalUnit, Reply, Sense, Targets, UnitPlace};
use crate::backend::block::MemoryBlock;
use crate::backend::disk::{DiskPort, ErrorPolicy, ErrorReport, ErrorReporter, OnError, ScriptedDisk};
use crate::base::{BusMaster, Dma, GuestBuffer};

/// Blocks of the disk, and of the CD.
const BLOCKS: u32 = 4096;
const CD_BLOCKS: u32 = 200;
/// Where data lies in RAM.
const OUT: u64 = 0x4_0000;
const INTO: u64 = 0x1_0000;
const RAM: usize = 1 << 20;

const DISK: Address = Address::Unit(UnitPlace { target: 0, lun: 0 });
const CD: Address = Address::Unit(UnitPlace { target: 1, lun: 0 });

struct Quiet;

impl ErrorReporter for Quiet {
    fn disk_error(&self, _report: &ErrorReport<'_>) {}
}

/// Targets with a disk and a CD drive.
struct Initiator {
    targets: Targets,
    disk: ScriptedDisk,
    medium: MemoryBlock,
    cd: ScriptedDisk,
    dma: Dma,
    next: u64,
}

fn identity(product: &str) -> Identity {
    Identity {
        vendor: "QEMU".into(),
        product: product.into(),
        revision: "2.5+".into(),
        serial: None,
        device_id: "drive0".into(),
        wwn: None,
        port_wwn: None,
        port_index: 0,
    }
}

impl Initiator {
    fn new() -> Self {
        Self::with(DiskOptions::default(), OnError::Report)
    }

    fn with(options: DiskOptions, on_error: OnError) -> Self {
        let dma =
            Dma::new(Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)]).unwrap()), BusMaster::always());
        let medium = MemoryBlock::new(blocks(0..BLOCKS));
        let disk = ScriptedDisk::new(medium.clone());
        let cd = ScriptedDisk::new(MemoryBlock::new(blocks(0..4 * CD_BLOCKS)));
        let policy = ErrorPolicy { read: on_error, write: on_error };
        let port = |disk: &ScriptedDisk| DiskPort::new(Some(Box::new(disk.clone())), policy, Arc::new(Quiet));
        let mut targets = Targets::default();
        let unit = LogicalUnit::disk(
            port(&disk),
            options,
            Identity { serial: Some("SER123".into()), ..identity("QEMU HARDDISK") },
        );
        assert!(targets.add(UnitPlace { target: 0, lun: 0 }, unit).is_ok());
        let unit = LogicalUnit::cd(port(&cd), identity("QEMU CD-ROM"));
        assert!(targets.add(UnitPlace { target: 1, lun: 0 }, unit).is_ok());
        let mut this = Self { targets, disk, medium, cd, dma, next: 0 };
        // What power-on leaves behind.
        for address in [DISK, CD] {
            assert_eq!(this.sense(address, &[0x00]), [6, 0x29, 0]);
        }
        this
    }

    fn buffer(&self, address: u64, len: usize) -> GuestBuffer {
        self.dma.buffer(vec![(address, len as u32)]).unwrap()
    }

    /// Starts a command with this data and so much room.
    fn start(&mut self, address: Address, cdb: &[u8], out: &[u8], room: usize) -> Option<Reply> {
        self.dma.write(OUT, out).unwrap();
        self.next += 1;
        let (out, into) = (self.buffer(OUT, out.len()), self.buffer(INTO, room));
        self.targets.start(address, Command { name: self.next, cdb, out, into })
    }

    fn end(&mut self, address: Address, cdb: &[u8], out: &[u8], room: usize) -> End {
        match self.start(address, cdb, out, room).expect("there is the target") {
            Reply::Ended(end) => end,
            Reply::Pending => self.targets.poll().expect("the command ends"),
            Reply::Overrun => panic!("{cdb:02x?} has too little data or room"),
        }
    }

    fn received(&self, len: u64) -> Vec<u8> {
        let mut data = vec![0; len as usize];
        self.dma.read(INTO, &mut data).unwrap();
        data
    }

    /// A command that succeeds; its answer.
    fn answer(&mut self, address: Address, cdb: &[u8]) -> Vec<u8> {
        let end = self.end(address, cdb, &[], 0x3_0000);
        assert_eq!(end.sense, None, "{cdb:02x?}");
        self.received(end.moved)
    }

    /// A command with data that succeeds.
    fn give(&mut self, cdb: &[u8], out: &[u8]) -> u64 {
        let end = self.end(DISK, cdb, out, 0);
        assert_eq!(end.sense, None, "{cdb:02x?}");
        end.moved
    }

    /// A command that fails: key, code and qualifier.
    fn sense(&mut self, address: Address, cdb: &[u8]) -> [u8; 3] {
        self.sense_with(address, cdb, &[0; 4096])
    }

    fn sense_with(&mut self, address: Address, cdb: &[u8], out: &[u8]) -> [u8; 3] {
        let end = self.end(address, cdb, out, 0x3_0000);
        triple(end.sense.unwrap_or_else(|| panic!("{cdb:02x?} succeeds")))
    }
}

fn triple(sense: Sense) -> [u8; 3] {
    let data = sense.data();
    [data[2], data[12], data[13]]
}

/// 512 bytes that hold a number, in each word.
fn block(number: u32) -> Vec<u8> {
    number.to_le_bytes().repeat(128)
}

fn blocks(range: std::ops::Range<u32>) -> Vec<u8> {
    range.flat_map(block).collect()
}
