//! Tests of the SCSI host by a driver that knows nothing of its code: numbers and layouts are those of the specification.

mod contract;
mod control;
mod events;
mod flaws;
mod requests;

use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::{ScsiOptions, VirtioScsi};
use crate::backend::block::MemoryBlock;
use crate::backend::disk::{DiskClient, DiskPort, ErrorPolicy, ErrorReport, ErrorReporter, OnError, ScriptedDisk};
use crate::base::msi::{Msi, MsiSink};
use crate::base::{BusMaster, Delivery, GuestRam, IoDevice, IrqLine, IrqProbe};
use crate::pci::{MessagePort, PciFunction};
use crate::scsi::{DiskOptions, Identity, LogicalUnit, Targets, UnitPlace};
use crate::virtio::{PciOptions, RingOptions, VirtioPci, Wiring};

const RAM: usize = 0x20_0000;
/// Where a request lies: header, response, data.
const HEADER: u64 = 0x10_0000;
const RESPONSE: u64 = 0x11_0000;
const DATA: u64 = 0x12_0000;
const MODERN: u16 = 4;
const SIZE: u16 = 16;
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const F_HOTPLUG: u64 = 1 << 1;
const F_CHANGE: u64 = 1 << 2;
const F_VERSION_1: u64 = 1 << 32;
const F_RING_RESET: u64 = 1 << 40;

const CONTROL: u16 = 0;
const EVENT: u16 = 1;
const REQUEST: u16 = 2;

/// The disk at target 0, unit 0, and a place for another one.
const DISK: [u8; 8] = [1, 0, 0x40, 0, 0, 0, 0, 0];
const PLACE: UnitPlace = UnitPlace { target: 0, lun: 0 };
const OTHER: UnitPlace = UnitPlace { target: 7, lun: 0x123 };

struct Quiet;

impl ErrorReporter for Quiet {
    fn disk_error(&self, _report: &ErrorReport<'_>) {}
}

impl MsiSink for Quiet {
    fn send(&self, _message: Msi) -> Delivery {
        Delivery::Delivered
    }
}

/// What came back of a command.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    response: u8,
    status: u8,
    residual: u32,
    sense: Vec<u8>,
    /// Bytes that were written, with the response.
    written: u32,
}

struct Driver {
    function: VirtioPci<VirtioScsi>,
    disk: ScriptedDisk,
    medium: MemoryBlock,
    ram: GuestRam,
    pin: IrqProbe,
    /// Index of the available ring, and used entries seen, of each queue.
    next: [u16; 4],
    seen: [u16; 4],
    cdb_size: usize,
    sense_size: usize,
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

fn unit(disk: &ScriptedDisk, on_error: OnError) -> LogicalUnit {
    let policy = ErrorPolicy { read: on_error, write: on_error };
    let port = DiskPort::new(Some(Box::new(disk.clone())), policy, Arc::new(Quiet));
    LogicalUnit::disk(port, DiskOptions::default(), identity("QEMU HARDDISK"))
}

impl Driver {
    fn new() -> Self {
        Self::with(OnError::Report)
    }

    fn with(on_error: OnError) -> Self {
        let medium = MemoryBlock::new((0..256_u32).flat_map(|block| block.to_le_bytes().repeat(128)).collect());
        let disk = ScriptedDisk::new(medium.clone());
        let mut targets = Targets::default();
        targets.add(PLACE, unit(&disk, on_error)).unwrap();
        let ram: GuestRam = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)]).unwrap());
        let (gate, (intx, pin)) = (BusMaster::closed(), IrqLine::probed());
        let messages = MessagePort::new(Arc::new(Quiet), Arc::clone(&ram), gate.clone());
        let wiring = Wiring { ram: Arc::clone(&ram), gate, intx, messages, watch: None };
        let options =
            PciOptions { legacy: true, modern: true, vectors: 4, page_per_vq: false, rings: RingOptions::default() };
        let scsi = ScsiOptions { queues: 2, queue_size: SIZE, ..ScsiOptions::default() };
        let function = VirtioPci::new(VirtioScsi::new(targets, scsi), options, wiring);
        let mut driver =
            Self { function, disk, medium, ram, pin, next: [0; 4], seen: [0; 4], cdb_size: 32, sense_size: 96 };
        driver.function.config_mut().write(4, 2, 0x0007);
        driver.function.config_written(4, 2);
        driver
    }

    /// A driver that is ready.
    fn started() -> Self {
        let mut driver = Self::new();
        driver.start();
        driver
    }

    fn start(&mut self) {
        for status in [0, 1, 3] {
            self.set_common(0x14, 1, status);
        }
        let features = F_HOTPLUG | F_CHANGE | F_VERSION_1 | F_RING_RESET;
        for half in 0..2 {
            self.set_common(0x08, 4, half);
            self.set_common(0x0c, 4, (features >> (32 * half)) as u32);
        }
        self.set_common(0x14, 1, 0xb);
        for queue in 0..4 {
            let base = 0x1_0000 * (u64::from(queue) + 1);
            self.ram.write_slice(&[0; 0x6000], GuestAddress(base)).unwrap();
            self.set_common(0x16, 2, queue);
            for (at, address) in [(0x20, base), (0x28, base + 0x4000), (0x30, base + 0x5000)] {
                self.set_common(at, 4, address as u32);
            }
            self.set_common(0x1c, 2, 1);
        }
        self.set_common(0x14, 1, 0xf);
        (self.next, self.seen) = ([0; 4], [0; 4]);
    }

    fn set_common(&mut self, offset: u64, size: u8, value: u32) {
        self.function.write(MODERN, offset, size, value.into());
    }

    fn needs_reset(&mut self) -> bool {
        self.function.read(MODERN, 0x14, 1) & 0x40 != 0
    }

    fn config(&mut self, offset: u64, size: u8) -> u32 {
        self.function.read(MODERN, 0x2000 + offset, size) as u32
    }

    fn set_config(&mut self, offset: u64, value: u32) {
        self.function.write(MODERN, 0x2000 + offset, 4, value.into());
    }

    fn poke(&self, address: u64, bytes: &[u8]) {
        self.ram.write_slice(bytes, GuestAddress(address)).unwrap();
    }

    fn peek(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.ram.read_slice(&mut bytes, GuestAddress(address)).unwrap();
        bytes
    }

    fn word(&self, address: u64) -> u16 {
        self.ram.read_obj(GuestAddress(address)).unwrap()
    }

    /// Makes a chain of these stretches available, and rings.
    fn offer(&mut self, queue: u16, head: u16, parts: &[(u64, u32, u16)]) {
        let base = 0x1_0000 * (u64::from(queue) + 1);
        let last = parts.len() as u16 - 1;
        for (index, (address, len, flags)) in (0..).zip(parts) {
            let at = base + 16 * u64::from(head + index);
            let more = if index == last { 0 } else { NEXT };
            self.poke(at, &address.to_le_bytes());
            self.poke(at + 8, &len.to_le_bytes());
            self.poke(at + 12, &(flags | more).to_le_bytes());
            self.poke(at + 14, &(head + index + 1).to_le_bytes());
        }
        let next = &mut self.next[usize::from(queue)];
        let entry = base + 0x4004 + 2 * u64::from(*next % SIZE);
        *next += 1;
        let next = *next;
        self.poke(entry, &head.to_le_bytes());
        self.poke(base + 0x4002, &next.to_le_bytes());
        self.function.write(MODERN, 0x3000 + 4 * u64::from(queue), 2, queue.into());
    }

    /// Takes a used chain: its head, and the bytes written.
    fn used(&mut self, queue: u16) -> Option<(u16, u32)> {
        let used = 0x1_0000 * (u64::from(queue) + 1) + 0x5000;
        let seen = &mut self.seen[usize::from(queue)];
        let at = used + 4 + 8 * u64::from(*seen % SIZE);
        if *seen == self.ram.read_obj::<u16>(GuestAddress(used + 2)).unwrap() {
            return None;
        }
        *seen += 1;
        Some((self.word(at), u32::from(self.word(at + 4)) | u32::from(self.word(at + 6)) << 16))
    }

    /// Makes a command available, its header at `slot` times 100h, its response in the same way.
    fn submit(&mut self, slot: u16, lun: [u8; 8], tag: u64, cdb: &[u8], data: u32, flags: u16) {
        let (header, response) = (HEADER + 0x100 * u64::from(slot), RESPONSE + 0x100 * u64::from(slot));
        let mut bytes = [&lun[..], &tag.to_le_bytes(), &[0, 0, 0], cdb].concat();
        bytes.resize(19 + self.cdb_size, 0);
        self.poke(header, &bytes);
        self.poke(response, &[0xee; 12 + 96]);
        let (header, response) = ((header, bytes.len() as u32, 0), (response, 12 + self.sense_size as u32, WRITE));
        let data = (DATA, data, flags);
        let parts = match (data.1, flags) {
            (0, _) => vec![header, response],
            (_, WRITE) => vec![header, response, data],
            _ => vec![header, data, response],
        };
        self.offer(REQUEST, 4 * slot, &parts);
    }

    fn answer(&self, slot: u16, written: u32) -> Answer {
        let bytes = self.peek(RESPONSE + 0x100 * u64::from(slot), 12 + 96);
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let sense = bytes[12..12 + number(0) as usize].to_vec();
        Answer { response: bytes[11], status: bytes[10], residual: number(4), sense, written }
    }

    /// A command from beginning to end.
    fn perform(&mut self, lun: [u8; 8], cdb: &[u8], data: u32, flags: u16) -> Answer {
        self.submit(0, lun, 7, cdb, data, flags);
        let (head, written) = self.used(REQUEST).expect("the command ends");
        assert_eq!(head, 0);
        self.answer(0, written)
    }

    /// The medium gets another length.
    fn resize(&mut self, len: usize) {
        self.medium.set_len(len);
        self.function.medium_resized();
    }

    /// Takes the attention of power-on away.
    fn attend(&mut self, lun: [u8; 8]) {
        let answer = self.perform(lun, &[0x00], 0, 0);
        assert_eq!((answer.response, answer.status, answer.sense[12]), (0, 2, 0x29));
    }

    /// A task management function: its response.
    fn manage(&mut self, function: u32, lun: [u8; 8], tag: u64) -> u8 {
        let request = [&[0; 4][..], &function.to_le_bytes(), &lun, &tag.to_le_bytes()].concat();
        self.poke(HEADER + 0xf000, &request);
        self.offer(CONTROL, 0, &[(HEADER + 0xf000, 24, 0), (RESPONSE + 0xf000, 1, WRITE)]);
        assert_eq!(self.used(CONTROL), Some((0, 1)));
        self.peek(RESPONSE + 0xf000, 1)[0]
    }
}
