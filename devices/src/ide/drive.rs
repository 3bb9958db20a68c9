//! A device on a channel, as the channel sees it: registers, the block of data that passes, and what comes next.

use serde::{Deserialize, Serialize};

use super::atapi::Cd;
use super::command::DEVICE_RESET;
use super::disk::Disk;
use super::registers::{reg, status};
use super::task_file::TaskFile;
use crate::backend::disk::{DiskPort, Done};
use crate::base::{GuestBuffer, ResetKind};
use crate::scsi::cd::CdDrive;

/// What follows on something that a device has been told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The command has ended well.
    Done { interrupt: bool },
    /// The command has failed; bits of the error register.
    Fail(u8),
    /// The host is to read these bytes.
    ToHost(Vec<u8>),
    /// The host is to write so many bytes.
    FromHost { len: usize, interrupt: bool },
    /// The bus master is to transfer [`Device::dma_wanted`] bytes.
    Dma,
    /// A request is under way.
    Wait,
}

impl Step {
    /// The command has ended well, and the host is told by an interrupt.
    pub const DONE: Self = Self::Done { interrupt: true };
}

/// A disk or a CD drive.
pub(super) trait Device: Send {
    /// What it shows in the middle and high LBA registers to tell what it is.
    fn signature(&self) -> [u8; 2];

    /// Its medium.
    fn port(&mut self) -> &mut DiskPort;

    /// A command, which is not one of those that the channel sees to.
    fn command(&mut self, opcode: u8, file: &mut TaskFile) -> Step;

    /// The host has read all of [`Step::ToHost`].
    fn block_read(&mut self, file: &mut TaskFile) -> Step;

    /// The host has written all of [`Step::FromHost`].
    fn block_written(&mut self, data: Vec<u8>, file: &mut TaskFile) -> Step;

    /// Bytes that the device has or wants next, at least 1 while it waits for the bus master.
    fn dma_wanted(&self) -> usize;

    /// Room for that many bytes in the guest's RAM, or for fewer: then the bus master has no more.
    fn dma(&mut self, buffer: &GuestBuffer, file: &mut TaskFile) -> Step;

    /// A request has ended.
    fn completed(&mut self, done: Done, file: &mut TaskFile) -> Step;

    /// Forgets the command under way, and what a reset of the kind changes; `None`: one by software.
    fn reset(&mut self, kind: Option<ResetKind>);
}

/// What is at a connector.
pub(super) enum Unit {
    Absent,
    Disk(Box<Disk>),
    Cd(Box<Cd>),
}

/// Where a drive is in a command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Phase {
    /// Nowhere.
    #[default]
    Idle,
    /// The host transfers a block of data.
    Pio { data: Vec<u8>, at: u32, to_host: bool },
    /// The bus master is to transfer data.
    Dma,
    /// A request is under way.
    Waiting,
    /// It is held in reset.
    Reset,
}

/// Longest block of data that passes at a time.
const LONGEST_BLOCK: usize = 0x1_0000;

/// A connector.
pub(super) struct Drive {
    pub file: TaskFile,
    /// It wants to interrupt.
    pub interrupt: bool,
    pub phase: Phase,
    pub unit: Unit,
}

impl Unit {
    pub fn device(&mut self) -> Option<&mut dyn Device> {
        match self {
            Self::Absent => None,
            Self::Disk(disk) => Some(&mut **disk),
            Self::Cd(cd) => Some(&mut **cd),
        }
    }

    fn signature(&self) -> [u8; 2] {
        match self {
            // As the registers of a drive that is not there read with QEMU.
            Self::Absent => [0xff; 2],
            Self::Disk(disk) => disk.signature(),
            Self::Cd(cd) => cd.signature(),
        }
    }

    /// The status of a device that has just been reset.
    fn status(&self) -> u8 {
        match self {
            Self::Disk(_) => status::DRDY | status::DSC,
            Self::Absent | Self::Cd(_) => 0,
        }
    }
}

impl Drive {
    /// A connector after power-on.
    pub fn new(unit: Unit) -> Self {
        let mut drive = Self { file: TaskFile::default(), interrupt: false, phase: Phase::Idle, unit };
        drive.file.write(reg::DEVICE, 0);
        drive.sign();
        drive
    }

    pub fn is_present(&self) -> bool {
        !matches!(self.unit, Unit::Absent)
    }

    /// Whether the registers of the command block are its own.
    pub fn is_busy(&self) -> bool {
        self.file.status & (status::BSY | status::DRQ) != 0
    }

    /// Shows what it is.
    pub fn sign(&mut self) {
        self.file.sign(self.unit.signature());
        self.file.status = self.unit.status();
    }

    /// A reset begins: whatever was under way is given up.
    pub fn reset(&mut self, kind: Option<ResetKind>) {
        self.phase = Phase::Idle;
        self.interrupt = false;
        if let Some(device) = self.unit.device() {
            device.port().cancel();
            device.reset(kind);
        }
    }

    /// It is held in reset, and busy.
    pub fn hold_in_reset(&mut self) {
        self.reset(None);
        self.phase = Phase::Reset;
        self.file.status = status::BSY;
    }

    /// The command register is written.
    pub fn command(&mut self, opcode: u8) {
        if self.phase == Phase::Reset {
            return;
        }
        if matches!(self.unit, Unit::Cd(_)) && opcode == DEVICE_RESET {
            self.reset(None);
            self.sign();
            return;
        }
        // Nothing else interrupts a command.
        if self.is_busy() {
            return;
        }
        let Some(device) = self.unit.device() else { return };
        self.interrupt = false;
        self.file.error = 0;
        let step = device.command(opcode, &mut self.file);
        self.apply(step);
    }

    /// The host reads the data register.
    pub fn read_data(&mut self, size: u8) -> u32 {
        let Phase::Pio { data, at, to_host: true } = &mut self.phase else { return 0 };
        let mut word = [0; 4];
        let from = (*at as usize).min(data.len());
        let part = &data[from..data.len().min(from + usize::from(size))];
        word[..part.len()].copy_from_slice(part);
        *at += u32::from(size);
        if *at as usize >= data.len() {
            self.phase = Phase::Waiting;
            self.tell(|device, file| device.block_read(file));
        }
        u32::from_le_bytes(word)
    }

    /// The host writes the data register.
    pub fn write_data(&mut self, size: u8, value: u32) {
        let Phase::Pio { data, at, to_host: false } = &mut self.phase else { return };
        let from = (*at as usize).min(data.len());
        let end = data.len().min(from + usize::from(size));
        data[from..end].copy_from_slice(&value.to_le_bytes()[..end - from]);
        *at += u32::from(size);
        if *at as usize >= data.len() {
            let data = std::mem::take(data);
            self.phase = Phase::Waiting;
            self.tell(|device, file| device.block_written(data, file));
        }
    }

    /// Bytes that the bus master is to transfer; `None` if it isn't its turn.
    pub fn dma_wanted(&mut self) -> Option<usize> {
        (self.phase == Phase::Dma).then(|| self.unit.device().map(|device| device.dma_wanted()))?
    }

    /// The bus master has room.
    pub fn dma(&mut self, buffer: &GuestBuffer) {
        self.tell(|device, file| device.dma(buffer, file));
    }

    /// Sees to the requests that have ended.
    pub fn take_completions(&mut self) {
        while let Some(done) = self.unit.device().and_then(|device| device.port().completed()) {
            self.tell(|device, file| device.completed(done, file));
        }
    }

    /// Does something to a CD drive by hand. A command fails whose medium is no longer there.
    pub fn change<T>(&mut self, change: impl FnOnce(&mut CdDrive) -> T) -> Option<T> {
        let Unit::Cd(cd) = &mut self.unit else { return None };
        let changed = change(&mut cd.drive);
        if self.phase == Phase::Waiting && cd.drive.port.pending().next().is_none() {
            let step = cd.medium_gone(&mut self.file);
            self.apply(step);
        }
        Some(changed)
    }

    fn tell(&mut self, what: impl FnOnce(&mut dyn Device, &mut TaskFile) -> Step) {
        if let Some(device) = self.unit.device() {
            let step = what(device, &mut self.file);
            self.apply(step);
        }
    }

    fn apply(&mut self, step: Step) {
        let ready = status::DRDY | status::DSC;
        let pio = |data, to_host| Phase::Pio { data, at: 0, to_host };
        let (phase, status, interrupt) = match step {
            Step::Done { interrupt } => (Phase::Idle, ready, interrupt),
            Step::Fail(error) => {
                self.file.error = error;
                (Phase::Idle, status::DRDY | status::ERR, true)
            }
            Step::ToHost(data) => (pio(data, true), ready | status::DRQ, true),
            Step::FromHost { len, interrupt } => (pio(vec![0; len], false), ready | status::DRQ, interrupt),
            Step::Dma => (Phase::Dma, ready | status::DRQ, false),
            Step::Wait => (Phase::Waiting, ready | status::BSY, false),
        };
        self.phase = phase;
        self.file.status = status;
        self.interrupt |= interrupt;
    }

    /// Whether a saved phase can be.
    pub fn is_possible(phase: &Phase) -> bool {
        match phase {
            Phase::Pio { data, at, .. } => (*at as usize) < data.len() && data.len() <= LONGEST_BLOCK,
            Phase::Idle | Phase::Dma | Phase::Waiting | Phase::Reset => true,
        }
    }
}
