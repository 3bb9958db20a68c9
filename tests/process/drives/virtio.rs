//! Drivers of a virtio disk and of a SCSI disk behind a virtio host, by their legacy interface.

use std::fs;
use std::io;

use super::disk::{Disk, Outcome};
use super::images::Place;
use super::{Machine, Request, SECTOR};

/// The ports of the device in slot 4.
const PORTS: u32 = 0xc000;
/// Where things are in RAM: the queue, then the parts of requests by their places.
const QUEUE: u64 = 0x20_0000;
const HEADERS: u64 = 0x22_0000;
const HEADER: u64 = 64;
const ANSWERS: u64 = 0x23_0000;
const ANSWER: u64 = 128;
const DATA: u64 = 0x30_0000;
const ROOM: u64 = 256 * SECTOR;
/// Requests that can be under way.
const PLACES: usize = 4;
/// A status that no device writes.
const UNDER_WAY: u8 = 0xff;

/// A part of a request in RAM.
struct Part {
    address: u64,
    len: u64,
    /// The device writes it.
    is_answer: bool,
}

/// The queue of a device that takes requests.
struct Queue {
    number: u64,
    /// Its entries.
    size: u64,
    /// Requests so far.
    count: u16,
}

impl Queue {
    /// Starts the device, with features that it offers, to be given requests in this queue.
    fn new(machine: &mut Machine, number: u64, features: u64) -> io::Result<Self> {
        machine.configure(4, 0, 0x10, PORTS)?;
        machine.configure(4, 0, 0x04, 5)?;
        let out = |machine: &mut Machine, letter: char, register: u32, value: u64| {
            machine.ask(&format!("out{letter} {:#x} {value:#x}", PORTS + register))
        };
        for status in [0, 1, 3] {
            out(machine, 'b', 0x12, status)?;
        }
        out(machine, 'l', 4, features)?;
        out(machine, 'w', 0xe, number)?;
        let size = machine.ask(&format!("inw {:#x}", PORTS + 0xc))?;
        machine.ask(&format!("memset {QUEUE:#x} 0x4000 0"))?;
        out(machine, 'l', 8, QUEUE >> 12)?;
        out(machine, 'b', 0x12, 7)?;
        Ok(Self { number, size, count: 0 })
    }

    /// Gives the device a request. Those with nothing in them are left out of its parts.
    fn submit(&mut self, machine: &mut Machine, place: usize, parts: [Part; 3]) -> io::Result<()> {
        const MORE: u8 = 1;
        const WRITES: u8 = 2;
        let first = place as u16 * 3;
        let parts: Vec<_> = parts.into_iter().filter(|part| part.len > 0).collect();
        for (part, number) in parts.iter().zip(first..) {
            let is_last = usize::from(number - first) + 1 == parts.len();
            let flags = if is_last { 0 } else { MORE } | if part.is_answer { WRITES } else { 0 };
            let mut descriptor = part.address.to_le_bytes().to_vec();
            descriptor.extend((part.len as u32).to_le_bytes());
            descriptor.extend([flags, 0]);
            descriptor.extend((number + 1).to_le_bytes());
            machine.write(QUEUE + 16 * u64::from(number), &descriptor)?;
        }
        let available = QUEUE + 16 * self.size;
        machine.write(available + 4 + 2 * (u64::from(self.count) % self.size), &first.to_le_bytes())?;
        self.count += 1;
        machine.write(available + 2, &self.count.to_le_bytes())?;
        machine.ask(&format!("outw {:#x} {:#x}", PORTS + 0x10, self.number)).map(drop)
    }
}

/// Bytes that a request moves, which are in their place if they are to be written.
fn prepare(machine: &mut Machine, place: usize, request: Request) -> io::Result<u64> {
    Ok(match request {
        Request::Read { count, .. } => u64::from(count) * SECTOR,
        Request::Write { count, value, .. } => {
            let len = u64::from(count) * SECTOR;
            machine.ask(&format!("memset {:#x} {len:#x} {value:#x}", data(place)))?;
            len
        }
        Request::Flush => 0,
    })
}

const fn data(place: usize) -> u64 {
    DATA + place as u64 * ROOM
}

/// A `virtio-blk-pci`.
pub struct Virtio(Queue);

impl Virtio {
    /// The device, for a command line.
    pub const DEVICE: &str = "virtio-blk-pci,drive=d,addr=4,num-queues=1";

    /// The driver flushes.
    const FLUSH: u64 = 1 << 9;

    pub fn new(machine: &mut Machine) -> io::Result<Self> {
        Queue::new(machine, 0, Self::FLUSH).map(Self)
    }

    /// Sectors of the disk, as the device tells them.
    pub fn sectors(&self, machine: &mut Machine) -> io::Result<u64> {
        let low = machine.ask(&format!("inl {:#x}", PORTS + 0x14))?;
        let high = machine.ask(&format!("inl {:#x}", PORTS + 0x18))?;
        Ok(high << 32 | low)
    }
}

impl Disk for Virtio {
    fn places(&self) -> usize {
        PLACES
    }

    fn begin(&mut self, machine: &mut Machine, place: usize, request: Request) -> io::Result<()> {
        let len = prepare(machine, place, request)?;
        let (kind, sector) = match request {
            Request::Read { sector, .. } => (0_u32, sector),
            Request::Write { sector, .. } => (1, sector),
            Request::Flush => (4, 0),
        };
        let (header, answer) = (HEADERS + place as u64 * HEADER, ANSWERS + place as u64 * ANSWER);
        let mut bytes = [kind.to_le_bytes(), [0; 4]].concat();
        bytes.extend(u64::from(sector).to_le_bytes());
        machine.write(header, &bytes)?;
        machine.write(answer, &[UNDER_WAY])?;
        let parts = [
            Part { address: header, len: bytes.len() as u64, is_answer: false },
            Part { address: data(place), len, is_answer: kind == 0 },
            Part { address: answer, len: 1, is_answer: true },
        ];
        self.0.submit(machine, place, parts)
    }

    fn outcome(&mut self, machine: &mut Machine, place: usize) -> io::Result<Option<Outcome>> {
        Ok(match machine.ask(&format!("readb {:#x}", ANSWERS + place as u64 * ANSWER))? {
            0 => Some(Outcome::Done),
            status if status == u64::from(UNDER_WAY) => None,
            _ => Some(Outcome::Failed),
        })
    }

    fn data(&self, place: usize) -> u64 {
        data(place)
    }
}

/// A unit behind a `virtio-scsi-pci`.
pub struct Scsi {
    queue: Queue,
    /// Sectors of its blocks.
    block: u32,
}

impl Scsi {
    /// The devices of a disk, for a command line.
    pub const DEVICES: [&str; 2] = ["virtio-scsi-pci,addr=4,num_queues=1", "scsi-hd,drive=d"];

    /// Sectors of a block of a CD.
    pub const CD_BLOCK: u8 = 4;

    /// Bytes of an answer, with 96 of sense data, and where the two codes are in it.
    const LEN: u64 = 108;
    const STATUS: u64 = 10;
    const RESPONSE: u64 = 11;

    /// A `scsi-hd`.
    pub fn new(machine: &mut Machine) -> io::Result<Self> {
        Self::start(machine, 1)
    }

    /// A `scsi-cd`, of which whole blocks are read.
    pub fn cd(machine: &mut Machine) -> io::Result<Self> {
        Self::start(machine, Self::CD_BLOCK.into())
    }

    fn start(machine: &mut Machine, block: u32) -> io::Result<Self> {
        // The first two queues are for control and events.
        let mut unit = Self { queue: Queue::new(machine, 2, 0)?, block };
        // The first command is told that the unit has been switched on.
        assert_eq!(unit.carry_out(machine, Request::Flush)?, Outcome::Failed);
        Ok(unit)
    }
}

impl Disk for Scsi {
    fn places(&self) -> usize {
        PLACES
    }

    fn begin(&mut self, machine: &mut Machine, place: usize, request: Request) -> io::Result<()> {
        let len = prepare(machine, place, request)?;
        // READ (10), WRITE (10), SYNCHRONIZE CACHE (10).
        let (command, sector, count) = match request {
            Request::Read { sector, count } => (0x28, sector, count),
            Request::Write { sector, count, .. } => (0x2a, sector, count),
            Request::Flush => (0x35, 0, 0),
        };
        let (first, count) = (sector / self.block, u32::from(count) / self.block);
        let (header, answer) = (HEADERS + place as u64 * HEADER, ANSWERS + place as u64 * ANSWER);
        // LUN 0 of target 0, a tag, the command.
        let mut bytes = [[1, 0, 0x40, 0, 0, 0, 0, 0], (place as u64).to_le_bytes()].concat();
        bytes.extend([0; 3]);
        bytes.extend([command, 0]);
        bytes.extend(first.to_be_bytes());
        bytes.extend([0, 0, count as u8, 0]);
        bytes.resize(51, 0);
        machine.write(header, &bytes)?;
        machine.write(answer + Self::RESPONSE, &[UNDER_WAY])?;
        let header = Part { address: header, len: bytes.len() as u64, is_answer: false };
        let answer = Part { address: answer, len: Self::LEN, is_answer: true };
        let is_answer = matches!(request, Request::Read { .. });
        let data = Part { address: data(place), len, is_answer };
        // What the device reads comes first.
        let parts = if is_answer { [header, answer, data] } else { [header, data, answer] };
        self.queue.submit(machine, place, parts)
    }

    fn outcome(&mut self, machine: &mut Machine, place: usize) -> io::Result<Option<Outcome>> {
        let answer = ANSWERS + place as u64 * ANSWER;
        let response = machine.ask(&format!("readb {:#x}", answer + Self::RESPONSE))?;
        let status = machine.ask(&format!("readb {:#x}", answer + Self::STATUS))?;
        Ok(match (response, status) {
            (0, 0) => Some(Outcome::Done),
            (response, _) if response == u64::from(UNDER_WAY) => None,
            _ => Some(Outcome::Failed),
        })
    }

    fn data(&self, place: usize) -> u64 {
        data(place)
    }
}

#[test]
fn a_drive_of_the_scsi_interface_is_a_unit_of_a_host_of_its_own() {
    let place = Place::new();
    let image = place.raw("image", 1 << 20);
    let drive = format!("if=scsi,file={image},format=raw");
    let place_of_host = ["-global", "virtio-scsi-pci.addr=4", "-global", "virtio-scsi-pci.num_queues=1"];
    let mut machine = Machine::start(&[&["-drive", &drive], &place_of_host[..]].concat());
    let mut disk = Scsi::new(&mut machine).unwrap();
    disk.succeed(&mut machine, Request::Write { sector: 3, count: 2, value: 0x77 });
    disk.succeed(&mut machine, Request::Flush);
    machine.quit();
    assert!(fs::read(image).unwrap()[3 * 512..5 * 512].iter().all(|byte| *byte == 0x77));
}
