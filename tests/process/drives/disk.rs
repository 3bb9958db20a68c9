//! What tests do with a disk, and the driver of an IDE disk, by its bus master.

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
