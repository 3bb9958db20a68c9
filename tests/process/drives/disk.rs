//! Drivers: an IDE disk by its bus master, and a virtio disk by its legacy interface.

use std::io;

use super::{Machine, Request, SECTOR};

/// What has become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Failed,
}

/// A disk. Its errors are that natoma has ended.
pub trait Disk {
    /// How many requests can be under way.
    fn places(&self) -> usize;

    /// Begins a request in a place that is free.
    fn begin(&mut self, machine: &mut Machine, place: usize, request: Request) -> io::Result<()>;

    /// What has become of the request in this place; `None`: it is under way.
    fn outcome(&mut self, machine: &mut Machine, place: usize) -> io::Result<Option<Outcome>>;

    /// Where a place has its data in RAM.
    fn data(&self, place: usize) -> u64;

    /// Carries out a request to its end.
    fn carry_out(&mut self, machine: &mut Machine, request: Request) -> io::Result<Outcome> {
        self.begin(machine, 0, request)?;
        machine.look(|machine| self.outcome(machine, 0))
    }

    /// Carries out a request that succeeds.
    fn succeed(&mut self, machine: &mut Machine, request: Request) {
        let outcome = self.carry_out(machine, request).unwrap();
        assert_eq!(outcome, Outcome::Done, "{request:?}: {}", machine.log());
    }

    /// Carries out a request that fails.
    fn fail(&mut self, machine: &mut Machine, request: Request) {
        let outcome = self.carry_out(machine, request).unwrap();
        assert_eq!(outcome, Outcome::Failed, "{request:?}: {}", machine.log());
    }

    /// Checks that sectors have this value.
    fn check(&mut self, machine: &mut Machine, sector: u32, count: u8, value: u8) {
        self.succeed(machine, Request::Read { sector, count });
        let right = machine.is_filled(self.data(0), u64::from(count) * SECTOR, value);
        assert!(right, "{count} sectors from {sector} on are not all {value}");
    }
}

/// The first disk of the IDE controller.
pub struct Ide(());

impl Ide {
    /// Registers of the bus master.
    const MASTER: u32 = 0xc100;
    /// Its table.
    const TABLE: u64 = 0x10_0000;
    const DATA: u64 = 0x11_0000;
    /// Bits of the status.
    const BUSY: u64 = 0x80;
    const ERROR: u64 = 0x01;

    pub fn new(machine: &mut Machine) -> io::Result<Self> {
        machine.configure(1, 1, 0x20, Self::MASTER)?;
        machine.configure(1, 1, 0x04, 5)?;
        Ok(Self(()))
    }

    fn command(&self, machine: &mut Machine, sector: u32, count: u8, command: u8) -> io::Result<()> {
        let [low, middle, high, top] = sector.to_le_bytes();
        for (register, value) in [(2, count), (3, low), (4, middle), (5, high), (6, 0xe0 | top), (7, command)] {
            machine.ask(&format!("outb {:#x} {value:#x}", 0x1f0 + register))?;
        }
        Ok(())
    }

    fn transfer(&self, machine: &mut Machine, sector: u32, count: u8, command: u8, start: u8) -> io::Result<()> {
        let len = u32::from(count) * SECTOR as u32;
        let mut entry = (Self::DATA as u32).to_le_bytes().to_vec();
        entry.extend((len | 1 << 31).to_le_bytes());
        machine.write(Self::TABLE, &entry)?;
        // Stopped, without what is left of the last one, and with the table.
        machine.ask(&format!("outb {:#x} 0", Self::MASTER))?;
        machine.ask(&format!("outb {:#x} 6", Self::MASTER + 2))?;
        machine.ask(&format!("outl {:#x} {:#x}", Self::MASTER + 4, Self::TABLE))?;
        self.command(machine, sector, count, command)?;
        machine.ask(&format!("outb {:#x} {start:#x}", Self::MASTER)).map(drop)
    }
}

impl Disk for Ide {
    fn places(&self) -> usize {
        1
    }

    fn begin(&mut self, machine: &mut Machine, _place: usize, request: Request) -> io::Result<()> {
        match request {
            // READ DMA, WRITE DMA, FLUSH CACHE.
            Request::Read { sector, count } => self.transfer(machine, sector, count, 0xc8, 9),
            Request::Write { sector, count, value } => {
                machine.ask(&format!("memset {:#x} {:#x} {value:#x}", Self::DATA, u64::from(count) * SECTOR))?;
                self.transfer(machine, sector, count, 0xca, 1)
            }
            Request::Flush => self.command(machine, 0, 0, 0xe7),
        }
    }

    fn outcome(&mut self, machine: &mut Machine, _place: usize) -> io::Result<Option<Outcome>> {
        let status = machine.ask("inb 0x1f7")?;
        Ok(match status {
            _ if status & Self::BUSY != 0 => None,
            _ if status & Self::ERROR != 0 => Some(Outcome::Failed),
            // READY without DRQ: the bus master has moved all of it.
            _ if status & 0x48 == 0x40 => Some(Outcome::Done),
            _ => None,
        })
    }

    fn data(&self, _place: usize) -> u64 {
        Self::DATA
    }
}

/// A `virtio-blk-pci` in slot 4 with one queue.
pub struct Virtio {
    /// Entries of the queue.
    size: u64,
    /// Requests so far.
    count: u16,
}

impl Virtio {
    /// The device, for a command line.
    pub const DEVICE: &str = "virtio-blk-pci,drive=d,addr=4,num-queues=1";

    const PORTS: u32 = 0xc000;
    const QUEUE: u64 = 0x20_0000;
    /// The parts of requests, by place.
    const HEADERS: u64 = 0x22_0000;
    const STATUS: u64 = 0x23_0000;
    const DATA: u64 = 0x30_0000;
    const ROOM: u64 = 256 * SECTOR;
    /// The driver flushes.
    const FLUSH: u32 = 1 << 9;
    /// A status that no device writes.
    const UNDER_WAY: u8 = 0xff;

    pub fn new(machine: &mut Machine) -> io::Result<Self> {
        machine.configure(4, 0, 0x10, Self::PORTS)?;
        machine.configure(4, 0, 0x04, 5)?;
        let out = |machine: &mut Machine, letter: char, register: u32, value: u64| {
            machine.ask(&format!("out{letter} {:#x} {value:#x}", Self::PORTS + register))
        };
        for status in [0, 1, 3] {
            out(machine, 'b', 0x12, status)?;
        }
        out(machine, 'l', 4, Self::FLUSH.into())?;
        out(machine, 'w', 0xe, 0)?;
        let size = machine.ask(&format!("inw {:#x}", Self::PORTS + 0xc))?;
        machine.ask(&format!("memset {:#x} 0x4000 0", Self::QUEUE))?;
        out(machine, 'l', 8, Self::QUEUE >> 12)?;
        out(machine, 'b', 0x12, 7)?;
        Ok(Self { size, count: 0 })
    }

    /// Sectors of the disk, as the device tells them.
    pub fn sectors(&self, machine: &mut Machine) -> io::Result<u64> {
        let low = machine.ask(&format!("inl {:#x}", Self::PORTS + 0x14))?;
        let high = machine.ask(&format!("inl {:#x}", Self::PORTS + 0x18))?;
        Ok(high << 32 | low)
    }
}

impl Disk for Virtio {
    fn places(&self) -> usize {
        4
    }

    fn begin(&mut self, machine: &mut Machine, place: usize, request: Request) -> io::Result<()> {
        let (kind, sector, len) = match request {
            Request::Read { sector, count } => (0_u32, sector, u64::from(count) * SECTOR),
            Request::Write { sector, count, .. } => (1, sector, u64::from(count) * SECTOR),
            Request::Flush => (4, 0, 0),
        };
        if let Request::Write { value, .. } = request {
            machine.ask(&format!("memset {:#x} {len:#x} {value:#x}", self.data(place)))?;
        }
        let at = place as u64;
        let (header, status) = (Self::HEADERS + at * 16, Self::STATUS + at);
        let mut bytes = [kind.to_le_bytes(), [0; 4]].concat();
        bytes.extend(u64::from(sector).to_le_bytes());
        machine.write(header, &bytes)?;
        machine.write(status, &[Self::UNDER_WAY])?;
        // Three descriptors for each place: the header, the data (1: another follows, 2: the device writes it), the status.
        let first = place as u16 * 3;
        let flags = if kind == 0 { 3 } else { 1 };
        let data = (len > 0).then_some((self.data(place), len, flags, first + 2));
        let after_header = if len > 0 { first + 1 } else { first + 2 };
        let parts = [Some((header, 16, 1, after_header)), data, Some((status, 1, 2, 0))];
        for (number, part) in parts.into_iter().enumerate() {
            let Some((address, len, flags, next)) = part else { continue };
            let mut descriptor = address.to_le_bytes().to_vec();
            descriptor.extend((len as u32).to_le_bytes());
            descriptor.extend([flags, 0]);
            descriptor.extend(u16::to_le_bytes(next));
            machine.write(Self::QUEUE + 16 * (u64::from(first) + number as u64), &descriptor)?;
        }
        let available = Self::QUEUE + 16 * self.size;
        machine.write(available + 4 + 2 * (u64::from(self.count) % self.size), &first.to_le_bytes())?;
        self.count += 1;
        machine.write(available + 2, &self.count.to_le_bytes())?;
        machine.ask(&format!("outw {:#x} 0", Self::PORTS + 0x10)).map(drop)
    }

    fn outcome(&mut self, machine: &mut Machine, place: usize) -> io::Result<Option<Outcome>> {
        Ok(match machine.ask(&format!("readb {:#x}", Self::STATUS + place as u64))? {
            0 => Some(Outcome::Done),
            status if status == u64::from(Self::UNDER_WAY) => None,
            _ => Some(Outcome::Failed),
        })
    }

    fn data(&self, place: usize) -> u64 {
        Self::DATA + place as u64 * Self::ROOM
    }
}
