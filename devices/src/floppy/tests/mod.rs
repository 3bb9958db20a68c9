//! Tests of the floppy controller against the data sheet.

mod commands;
mod contract;
mod flaws;
mod interrupts;
mod media;
mod transfers;

use std::sync::Arc;

use super::{DriveKind, Fdc, FloppyDrive, LATENCY};
use crate::backend::block::{BlockBackend, MemoryBlock};
use crate::base::isa_dma::{Direction, MemoryDma};
use crate::base::{IoDevice, IrqLine, IrqProbe, ManualClock, Shared, TimerQueue, lock, shared};

/// Ports of a PC.
const SRB: u16 = 0x3f1;
const DOR: u16 = 0x3f2;
const TDR: u16 = 0x3f3;
const MSR: u16 = 0x3f4;
const DSR: u16 = 0x3f4;
const FIFO: u16 = 0x3f5;
const DIR: u16 = 0x3f7;
const CCR: u16 = 0x3f7;

/// Longest that a command of these tests takes.
const LONG: u64 = 1_000_000_000;

/// A controller as a driver sees it.
struct Driver {
    fdc: Shared<Fdc>,
    irq: IrqProbe,
    dma: MemoryDma,
    clock: Arc<ManualClock>,
    queue: TimerQueue,
}

impl Driver {
    /// A controller with drives A and B.
    fn new(drives: [Option<FloppyDrive>; 2]) -> Self {
        let (manual, clock) = ManualClock::new();
        let queue = TimerQueue::new(clock.clone());
        let timers = queue.timers();
        let owner = timers.owner();
        let (line, irq) = IrqLine::probed();
        let dma = MemoryDma::default();
        let fdc = shared(Fdc::new(clock, timers, line, Box::new(dma.clone()), drives));
        queue.attach(owner, &fdc);
        Self { fdc, irq, dma, clock: manual, queue }
    }

    /// One drive with a medium, at the medium's data rate, its heads over cylinder 0, DMA on.
    fn with(medium: &MemoryBlock) -> Self {
        let kind = DriveKind::for_medium(medium.len()).unwrap();
        let drive = FloppyDrive::new(kind, Some(Box::new(medium.clone())));
        let rate = drive.geometry().unwrap().rate;
        let mut driver = Self::new([Some(drive), None]);
        driver.outb(CCR, rate);
        driver.outb(DOR, 0x1c);
        driver.command(&[0x03, 0xdf, 0x02]);
        driver
    }

    /// A 1.44 MB medium on which each sector holds its number, in each word.
    fn numbered() -> (Self, MemoryBlock) {
        let medium = MemoryBlock::new(numbered(2880));
        (Self::with(&medium), medium)
    }

    fn inb(&mut self, port: u16) -> u8 {
        let mut fdc = lock(&self.fdc);
        let value = match port {
            0x3f7 => fdc.read(1, 0, 1),
            port => fdc.read(0, u64::from(port - 0x3f1), 1),
        };
        value as u8
    }

    fn outb(&mut self, port: u16, value: u8) {
        let mut fdc = lock(&self.fdc);
        match port {
            0x3f7 => fdc.write(1, 0, 1, value.into()),
            port => fdc.write(0, u64::from(port - 0x3f1), 1, value.into()),
        }
    }

    fn wait(&mut self, ns: u64) {
        let target = self.now() + ns;
        self.queue.step(&self.clock, target);
    }

    fn now(&self) -> u64 {
        crate::base::TimeSource::now(&*self.clock)
    }

    /// Writes the bytes of a command.
    fn command(&mut self, bytes: &[u8]) {
        for byte in bytes {
            assert_eq!(self.inb(MSR) & 0xc0, 0x80, "the controller takes a byte");
            self.outb(FIFO, *byte);
        }
    }

    /// Reads the bytes of a result.
    fn result(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.inb(MSR) & 0xf0 == 0xd0 {
            bytes.push(self.inb(FIFO));
        }
        bytes
    }

    /// A command, the time it takes, and its result.
    fn run(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.command(bytes);
        self.wait(LONG);
        self.result()
    }

    /// Seeks with the first drive and takes the interrupt.
    fn seek(&mut self, cylinder: u8) {
        self.command(&[0x0f, 0x00, cylinder]);
        self.wait(LATENCY);
        assert_eq!(self.run(&[0x08]), [0x20, cylinder]);
    }

    /// A command that works on sectors, with a buffer for the host's side of the DMA.
    fn transfer(&mut self, bytes: &[u8], buffer: Vec<u8>, direction: Direction) -> (Vec<u8>, Vec<u8>) {
        self.dma.program(buffer, direction);
        let result = self.run(bytes);
        (result, self.dma.with(|dma| dma.memory.clone()))
    }

    /// READ DATA, MFM, from 18 sectors a track: drive and head, and C, H, R.
    fn read(&mut self, [c, h, r]: [u8; 3], len: usize) -> (Vec<u8>, Vec<u8>) {
        self.transfer(&[0x46, h << 2, c, h, r, 2, 18, 0x1b, 0xff], vec![0xee; len], Direction::ToMemory)
    }
}

/// Sectors that hold their numbers.
fn numbered(sectors: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(sectors as usize * 512);
    (0..sectors).for_each(|number| bytes.extend_from_slice(&sector(number)));
    bytes
}

/// What a numbered sector holds.
fn sector(number: u32) -> [u8; 512] {
    let word = (number as u16).to_le_bytes();
    std::array::from_fn(|at| word[at % 2])
}
