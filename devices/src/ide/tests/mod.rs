//! Tests of the IDE function against the data sheet and the standards.

mod contract;
mod disk;
mod dma;
mod flaws;
mod held_writes;
mod packet;
mod requests;

use std::sync::{Arc, Mutex};

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::{Cd, Connection, Disk, Geometry, Identity, PiixIde, Place, WriteBuffer};
use crate::backend::block::MemoryBlock;
use crate::backend::disk::{DiskPort, ErrorAction, ErrorPolicy, ErrorReport, ErrorReporter, OnError, ScriptedDisk};
use crate::base::{
    BusMaster, Device, GuestRam, IoDevice, IrqLine, IrqProbe, ManualClock, ResetKind, Shared, lock, shared,
};
use crate::pci::PciFunction;

/// Sectors of the disk.
const SECTORS: u32 = 4096;
/// Blocks of the CD.
const BLOCKS: u32 = 200;
/// Where tests put tables and data in RAM.
const TABLE: u64 = 0x1000;
const DATA: u64 = 0x2_0000;
const RAM: usize = 1 << 20;

const PRIMARY: u16 = 0;
const SECONDARY: u16 = 1;

#[derive(Default)]
struct Errors(Mutex<Vec<ErrorAction>>);

impl ErrorReporter for Errors {
    fn disk_error(&self, report: &ErrorReport<'_>) {
        lock(&self.0).push(report.action);
    }
}

/// A controller with a disk as primary master and a CD drive as secondary master.
struct Driver {
    ide: Shared<PiixIde>,
    irqs: [IrqProbe; 2],
    ram: GuestRam,
    clock: Arc<ManualClock>,
    disk: ScriptedDisk,
    medium: MemoryBlock,
    cd: ScriptedDisk,
    errors: Arc<Errors>,
}

impl Driver {
    fn new() -> Self {
        Self::with_policy(ErrorPolicy { read: OnError::Report, write: OnError::Report })
    }

    /// The same with somebody who can hold back writes.
    fn with_buffer(buffer: Arc<dyn WriteBuffer>) -> Self {
        let Self { ide, irqs, ram, clock, disk, medium, cd, errors } = Self::new();
        let ide = Arc::into_inner(ide).unwrap().into_inner().unwrap();
        Self { ide: shared(ide.buffered_by(buffer)), irqs, ram, clock, disk, medium, cd, errors }
    }

    fn with_policy(policy: ErrorPolicy) -> Self {
        Self::with(policy, |usual| usual)
    }

    /// One whose disk is another one than usual.
    fn with(policy: ErrorPolicy, disk_identity: impl FnOnce(Identity) -> Identity) -> Self {
        let (manual, clock) = ManualClock::new();
        let ram: GuestRam = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)]).unwrap());
        let errors = Arc::new(Errors::default());
        let medium = MemoryBlock::new(sectors(0..SECTORS));
        let disk = ScriptedDisk::new(medium.clone());
        let cd = ScriptedDisk::new(MemoryBlock::new(sectors(0..4 * BLOCKS)));
        let port = |disk: &ScriptedDisk| DiskPort::new(Some(Box::new(disk.clone())), policy, errors.clone());
        let geometry = Geometry::for_size(SECTORS.into());
        let identity = Identity { geometry, wwn: Some(0x5000_c500_1234_5678), ..Identity::default() };
        let cd_identity = Identity { serial: "QM00003".into(), model: "QEMU DVD-ROM".into(), ..Identity::default() };
        let drives = [
            [Some(Connection::Disk(Disk::new(clock, port(&disk), disk_identity(identity)))), None],
            [Some(Connection::Cd(Cd::new(port(&cd), cd_identity))), None],
        ];
        let [(first, primary), (second, secondary)] = [IrqLine::probed(), IrqLine::probed()];
        let ide = shared(PiixIde::new(ram.clone(), BusMaster::closed(), [first, second], drives));
        lock(&ide).config_mut().write(4, 2, 0x0005);
        Self { ide, irqs: [primary, secondary], ram, clock: manual, disk, medium, cd, errors }
    }

    fn outb(&self, channel: u16, register: u64, value: u8) {
        lock(&self.ide).write(2 * channel, register, 1, value.into());
    }

    fn inb(&self, channel: u16, register: u64) -> u8 {
        lock(&self.ide).read(2 * channel, register, 1) as u8
    }

    fn control(&self, channel: u16, value: u8) {
        lock(&self.ide).write(2 * channel + 1, 0, 1, value.into());
    }

    /// Alternate status.
    fn status(&self, channel: u16) -> u8 {
        lock(&self.ide).read(2 * channel + 1, 0, 1) as u8
    }

    fn inw(&self, channel: u16) -> u16 {
        lock(&self.ide).read(2 * channel, 0, 2) as u16
    }

    fn outl(&self, channel: u16, value: u32) {
        lock(&self.ide).write(2 * channel, 0, 4, value.into());
    }

    /// Reads `len` bytes from the data register.
    fn read_data(&self, channel: u16, len: usize) -> Vec<u8> {
        let words = (0..len.div_ceil(2)).flat_map(|_| self.inw(channel).to_le_bytes());
        words.take(len).collect()
    }

    fn write_data(&self, channel: u16, data: &[u8]) {
        for part in data.chunks_exact(4) {
            self.outl(channel, u32::from_le_bytes([part[0], part[1], part[2], part[3]]));
        }
    }

    /// A command to the disk: features, sector count, LBA bits 27:0 or the registers as CHS has them.
    fn command(&self, opcode: u8, feature: u8, count: u8, lba: u32) {
        let [low, mid, high, top] = lba.to_le_bytes();
        for (register, value) in (1..).zip([feature, count, low, mid, high, 0xe0 | top & 0x0f]) {
            self.outb(PRIMARY, register, value);
        }
        self.outb(PRIMARY, 7, opcode);
    }

    /// A 48-bit command.
    fn command_ext(&self, opcode: u8, count: u16, lba: u64) {
        let [count_low, count_high] = count.to_le_bytes();
        let lba = lba.to_le_bytes();
        self.outb(PRIMARY, 6, 0xe0);
        for (register, high, low) in
            [(2, count_high, count_low), (3, lba[3], lba[0]), (4, lba[4], lba[1]), (5, lba[5], lba[2])]
        {
            self.outb(PRIMARY, register, high);
            self.outb(PRIMARY, register, low);
        }
        self.outb(PRIMARY, 7, opcode);
    }

    /// LBA bits 27:0 as the registers have them.
    fn lba(&self) -> u32 {
        let [low, mid, high, top] = [3, 4, 5, 6].map(|register| self.inb(PRIMARY, register));
        u32::from_le_bytes([low, mid, high, top & 0x0f])
    }

    fn error(&self) -> u8 {
        assert_eq!(self.status(PRIMARY) & 0x89, 0x01, "the command has failed");
        self.inb(PRIMARY, 1)
    }

    /// Reads the status register, which takes the interrupt away, and tells whether there was one.
    fn interrupt(&self, channel: u16) -> bool {
        let level = self.irqs[usize::from(channel)].level();
        self.inb(channel, 7);
        assert!(!self.irqs[usize::from(channel)].level());
        level
    }

    fn identify(&self) -> Vec<u16> {
        self.command(0xec, 0, 0, 0);
        self.read_data(PRIMARY, 512).chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
    }

    fn master_read(&self, channel: u16, offset: u64) -> u8 {
        lock(&self.ide).read(4, u64::from(channel) * 8 + offset, 1) as u8
    }

    fn master_write(&self, channel: u16, offset: u64, value: u8) {
        lock(&self.ide).write(4, u64::from(channel) * 8 + offset, 1, value.into());
    }

    /// Writes a table of regions (address, size, flags in the upper half) and starts the bus master.
    fn start_master(&self, channel: u16, regions: &[(u32, u32)], to_memory: bool) {
        for (at, (address, size)) in (TABLE..).step_by(8).zip(regions) {
            self.ram.write_obj([*address, *size], GuestAddress(at)).unwrap();
        }
        lock(&self.ide).write(4, u64::from(channel) * 8 + 4, 4, TABLE);
        self.master_write(channel, 0, 0);
        self.master_write(channel, 2, 0x06);
        self.master_write(channel, 0, 0x01 | u8::from(to_memory) << 3);
    }

    fn ram(&self, address: u64, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        self.ram.read_slice(&mut data, GuestAddress(address)).unwrap();
        data
    }

    /// Sends a packet to the CD drive.
    fn packet(&self, limit: u16, dma: bool, packet: &[u8]) {
        let [low, high] = limit.to_le_bytes();
        for (register, value) in [(6, 0xa0), (1, u8::from(dma)), (4, low), (5, high), (7, 0xa0)] {
            self.outb(SECONDARY, register, value);
        }
        assert_eq!((self.status(SECONDARY), self.inb(SECONDARY, 2)), (0x58, 0x01), "the packet is awaited");
        let mut bytes = [0; 12];
        bytes[..packet.len()].copy_from_slice(packet);
        self.write_data(SECONDARY, &bytes);
    }

    /// A packet command whose answer the processor reads, in the blocks that it comes in.
    fn answer_in_blocks(&self, limit: u16, packet: &[u8]) -> Vec<Vec<u8>> {
        self.packet(limit, false, packet);
        let mut blocks = Vec::new();
        while self.status(SECONDARY) & 0x08 != 0 {
            assert!(self.interrupt(SECONDARY), "each block is told of");
            assert_eq!(self.inb(SECONDARY, 2), 0x02, "data to the host");
            let len = u16::from_le_bytes([self.inb(SECONDARY, 4), self.inb(SECONDARY, 5)]);
            assert!(len <= limit.max(2), "{len} bytes with a limit of {limit}");
            blocks.push(self.read_data(SECONDARY, len.into()));
        }
        assert_eq!((self.interrupt(SECONDARY), self.inb(SECONDARY, 2)), (true, 0x03), "the command ends");
        blocks
    }

    fn answer(&self, packet: &[u8]) -> Vec<u8> {
        let answer = self.answer_in_blocks(0xfffe, packet).concat();
        assert_eq!(self.status(SECONDARY), 0x50, "{packet:02x?}: {:02x?}", self.sense());
        answer
    }

    /// Key, code and qualifier.
    fn sense(&self) -> [u8; 3] {
        let data = self.answer_in_blocks(0xfffe, &[0x03, 0, 0, 0, 18]).concat();
        [data[2] & 0x0f, data[12], data[13]]
    }

    /// A packet command that fails.
    fn refusal(&self, packet: &[u8]) -> [u8; 3] {
        assert!(self.answer_in_blocks(0xfffe, packet).is_empty());
        assert_eq!(self.status(SECONDARY), 0x41, "{packet:02x?}");
        let error = self.inb(SECONDARY, 1);
        let sense = self.sense();
        assert_eq!(error, sense[0] << 4);
        sense
    }

    fn completed(&self) {
        use crate::backend::disk::DiskClient;
        lock(&self.ide).requests_completed();
    }
}

/// A sector that holds its number, in each word.
fn sector(number: u32) -> Vec<u8> {
    number.to_le_bytes().repeat(128)
}

fn sectors(range: std::ops::Range<u32>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(range.len() * 512);
    range.for_each(|number| bytes.extend_from_slice(&sector(number)));
    bytes
}
