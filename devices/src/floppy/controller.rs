//! The controller: registers, phases of a command, interrupts, seeks.

use serde::{Deserialize, Serialize};

use super::command::{
    Command, INWARD, LOCK, LONGEST, LONGEST_RESULT, MFM, Operation, SPECIFICATION_DONE, SPECIFICATION_SILENT,
};
use super::drive::{FloppyDrive, SECTOR_CODE};
use super::registers::*;
use super::transfer::{Outcome, Transfer};
use crate::backend::block::BlockBackend;
use crate::base::clock::NS_PER_SEC;
use crate::base::isa_dma::{DmaChannel, DmaProgress};
use crate::base::{
    AccessRule, Clock, Device, DeviceTimers, GuestLog, Inspector, IoDevice, IrqLine, Region, ResetKind, State,
    StateError, TimerClient,
};

/// Drives that commands can name.
const UNITS: usize = 4;
/// Connectors that there are.
const DRIVES: usize = 2;
/// Guest time that a seek or the start of a transfer takes, in nanoseconds.
pub const LATENCY: u64 = 50_000;
/// A medium turns 300 times a minute.
const REVOLUTION: u64 = NS_PER_SEC / 5;
/// Sectors that would pass in it if there were a medium.
const USUAL_SECTORS: u8 = 18;
/// RECALIBRATE gives up after so many steps.
const RECALIBRATE_STEPS: u8 = 79;

/// The only timer: whatever is due next.
const NEXT: u32 = 0;

/// Where the controller is in a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
enum Phase {
    /// It takes the bytes of a command.
    Command { bytes: Vec<u8> },
    /// The id of the next sector is looked for, until then.
    ReadId { due: u64, drive: u8, head: u8, mfm: bool },
    /// A transfer begins then.
    Starting { due: u64, transfer: Transfer },
    /// The processor transfers data.
    Transferring { transfer: Transfer },
    /// It gives the bytes of a result.
    Result { bytes: Vec<u8>, given: u8 },
}

/// Heads that are on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seek {
    due: u64,
    /// Status register 0 at the end.
    st0: u8,
}

/// What an interrupt can mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Interrupts {
    /// Drives have been polled after a reset.
    polled: bool,
    /// A result can be read.
    result: bool,
    /// The processor is to transfer data.
    data: bool,
}

/// The controller.
pub struct Fdc {
    clock: Clock,
    timers: DeviceTimers,
    irq: IrqLine,
    dma: Box<dyn DmaChannel>,
    drives: [Option<FloppyDrive>; DRIVES],
    pub(super) log: GuestLog,
    dor: Dor,
    tdr: u8,
    dsr: u8,
    pub(super) read_toggle: bool,
    pub(super) write_toggle: bool,
    /// SRT and HUT; HLT and ND.
    specify: [u8; 2],
    config: Config,
    /// First track to be precompensated.
    precompensation: u8,
    locked: bool,
    /// D3 to D0, GAP and WGATE.
    perpendicular: u8,
    power_down: u8,
    option: u8,
    /// What DRIVE SPECIFICATION has said of each drive.
    specifications: [u8; UNITS],
    sectors_or_eot: u8,
    /// Present cylinder numbers.
    pcn: [u8; UNITS],
    phase: Phase,
    seeks: [Option<Seek>; UNITS],
    /// Status register 0 of seeks that have ended.
    seek_results: [Option<u8>; UNITS],
    /// When drives will be polled.
    polling_due: Option<u64>,
    /// Reports of the polling that nobody has read yet.
    reports: u8,
    interrupts: Interrupts,
}

impl Fdc {
    /// SRB, DOR, TDR, MSR/DSR and FIFO.
    pub const REGION: Region = Region::ports(0, "fdc", 5, AccessRule::BYTE);
    /// DIR/CCR.
    pub const DIR_REGION: Region = Region::ports(1, "fdc", 1, AccessRule::BYTE);

    /// A controller after power-on, with drives A and B.
    pub fn new(
        clock: Clock,
        timers: DeviceTimers,
        irq: IrqLine,
        dma: Box<dyn DmaChannel>,
        drives: [Option<FloppyDrive>; DRIVES],
    ) -> Self {
        Self {
            clock,
            timers,
            irq,
            dma,
            drives,
            log: GuestLog::default(),
            dor: DOR_DEFAULT,
            tdr: 0,
            dsr: DSR_DEFAULT,
            read_toggle: false,
            write_toggle: false,
            specify: [0; 2],
            config: CONFIG_DEFAULT,
            precompensation: 0,
            locked: false,
            perpendicular: 0,
            power_down: 0,
            option: 0,
            specifications: [0; UNITS],
            sectors_or_eot: 0,
            pcn: [0; UNITS],
            phase: Phase::default(),
            seeks: [None; UNITS],
            seek_results: [None; UNITS],
            polling_due: None,
            reports: 0,
            interrupts: Interrupts::default(),
        }
    }

    /// Puts a medium into drive `unit` (0 is A), in place of the one that is in it. `false` if there is no such drive.
    pub fn insert(&mut self, unit: u8, medium: Box<dyn BlockBackend>) -> bool {
        self.catch_up();
        self.drive(unit).map(|drive| drive.insert(medium)).is_some()
    }

    /// Takes the medium out of drive `unit`.
    pub fn eject(&mut self, unit: u8) -> Option<Box<dyn BlockBackend>> {
        self.catch_up();
        self.drive(unit)?.eject()
    }

    /// The drive at connector `unit`.
    pub(super) fn drive(&mut self, unit: u8) -> Option<&mut FloppyDrive> {
        self.drives.get_mut(usize::from(unit))?.as_mut()
    }

    /// Code of the data rate.
    pub(super) fn rate(&self) -> u8 {
        self.dsr & RATE
    }

    fn held_in_reset(&self) -> bool {
        !self.dor.not_reset()
    }

    /// Drives the interrupt line and arms the timer, after anything may have changed.
    fn settle(&mut self) {
        let Interrupts { polled, result, data } = self.interrupts;
        let any = polled || result || data || self.seek_results.iter().any(Option::is_some);
        self.irq.set(any && self.dor.dmagate());
        let phase = match &self.phase {
            Phase::ReadId { due, .. } | Phase::Starting { due, .. } => Some(*due),
            Phase::Command { .. } | Phase::Transferring { .. } | Phase::Result { .. } => None,
        };
        let seeks = self.seeks.iter().flatten().map(|seek| seek.due);
        self.timers.set(NEXT, seeks.chain(phase).chain(self.polling_due).min());
    }

    /// Does what is due.
    fn catch_up(&mut self) {
        let now = self.clock.now();
        if self.polling_due.is_some_and(|due| due <= now) {
            self.polling_due = None;
            self.reports = UNITS as u8;
            self.interrupts.polled = true;
        }
        for unit in 0..UNITS {
            if let Some(seek) = self.seeks[unit].filter(|seek| seek.due <= now) {
                self.seeks[unit] = None;
                self.seek_results[unit] = Some(seek.st0);
                self.reports = 0;
                self.interrupts.polled = false;
            }
        }
        match std::mem::take(&mut self.phase) {
            Phase::ReadId { due, drive, head, mfm } if due <= now => self.finish_read_id(drive, head, mfm),
            Phase::Starting { due, transfer } if due <= now => self.run(transfer),
            phase => self.phase = phase,
        }
        self.settle();
    }

    /// A reset by software: aborts everything, and keeps what has been set up.
    fn software_reset(&mut self) {
        self.abort();
        self.perpendicular &= !0x03;
        if !self.locked {
            self.config = self.config.with_no_fifo(true).with_threshold(0);
            self.precompensation = 0;
        }
    }

    fn abort(&mut self) {
        self.dma.request(false);
        self.phase = Phase::default();
        self.seeks = [None; UNITS];
        self.seek_results = [None; UNITS];
        self.polling_due = None;
        self.reports = 0;
        self.interrupts = Interrupts::default();
    }

    /// The reset ends.
    fn leave_reset(&mut self) {
        if !self.config.no_polling() {
            self.polling_due = Some(self.clock.now() + LATENCY);
        }
    }

    fn write_dor(&mut self, value: u8) {
        let before = std::mem::replace(&mut self.dor, Dor::from(value));
        match (before.not_reset(), self.dor.not_reset()) {
            (true, false) => self.software_reset(),
            (false, true) => {
                self.dsr &= !DSR_POWER_DOWN;
                self.leave_reset();
            }
            (true, true) | (false, false) => {}
        }
    }

    fn write_dsr(&mut self, value: u8) {
        self.dsr = value & !DSR_RESET;
        if value & DSR_RESET != 0 && !self.held_in_reset() {
            self.dsr &= !DSR_POWER_DOWN;
            self.software_reset();
            self.leave_reset();
        }
    }

    fn srb(&self) -> u8 {
        let bit = |on: bool, bit| if on { bit } else { 0 };
        SRB_ALWAYS
            | bit(self.dor.drive() & 1 != 0, SRB_DRIVE)
            | bit(self.write_toggle, SRB_WRITE_TOGGLE)
            | bit(self.read_toggle, SRB_READ_TOGGLE)
            | self.dor.motors() & SRB_MOTORS
    }

    fn msr(&self) -> Msr {
        if self.held_in_reset() {
            return Msr::new();
        }
        let moving = |unit: usize| self.seeks[unit].is_some() || self.seek_results[unit].is_some();
        let drives = (0..UNITS).filter(|unit| moving(*unit)).fold(0, |bits, unit| bits | 1 << unit);
        let msr = Msr::new().with_drives_busy(drives);
        match &self.phase {
            Phase::Command { bytes } => msr.with_request(true).with_busy(!bytes.is_empty()),
            Phase::ReadId { .. } => msr.with_busy(true),
            Phase::Starting { transfer, .. } => msr.with_busy(true).with_non_dma(transfer.pio),
            Phase::Transferring { transfer } => {
                msr.with_busy(true).with_non_dma(true).with_request(true).with_to_host(transfer.is_read())
            }
            Phase::Result { .. } => msr.with_busy(true).with_request(true).with_to_host(true),
        }
    }

    fn read_dir(&mut self) -> u8 {
        let unit = self.dor.drive();
        match self.drive(unit) {
            Some(drive) if drive.changed => DIR_CHANGED,
            Some(_) | None => 0,
        }
    }

    fn read_fifo(&mut self) -> u8 {
        if self.held_in_reset() {
            return 0;
        }
        match std::mem::take(&mut self.phase) {
            Phase::Result { bytes, given } => {
                self.interrupts.result = false;
                let byte = bytes.get(usize::from(given)).copied().unwrap_or(0);
                let given = given + 1;
                if usize::from(given) < bytes.len() {
                    self.phase = Phase::Result { bytes, given };
                }
                byte
            }
            Phase::Transferring { mut transfer } if transfer.is_read() => {
                let byte = transfer.buffer.get(usize::from(transfer.passed)).copied().unwrap_or(0);
                transfer.passed += 1;
                self.passed(transfer);
                byte
            }
            phase => {
                self.phase = phase;
                self.log.warn("isa-fdc", format_args!("the FIFO is read and has nothing"));
                0
            }
        }
    }

    fn write_fifo(&mut self, value: u8) {
        if self.held_in_reset() {
            return;
        }
        match std::mem::take(&mut self.phase) {
            Phase::Command { mut bytes } => {
                bytes.push(value);
                let command = Command::decode(bytes[0]);
                if command.is_complete(&bytes) {
                    self.execute(command, &bytes);
                } else {
                    self.phase = Phase::Command { bytes };
                }
            }
            Phase::Transferring { mut transfer } if !transfer.is_read() => {
                if let Some(byte) = transfer.buffer.get_mut(usize::from(transfer.passed)) {
                    *byte = value;
                }
                transfer.passed += 1;
                self.passed(transfer);
            }
            phase => {
                self.phase = phase;
                self.log.warn("isa-fdc", format_args!("{value:#x} is written to the FIFO, which takes nothing"));
            }
        }
    }

    /// The processor has passed a byte.
    fn passed(&mut self, mut transfer: Transfer) {
        self.interrupts.data = false;
        // The line has to fall before it can ask again.
        self.settle();
        if usize::from(transfer.passed) < transfer.buffer.len() {
            let burst = match self.config.no_fifo() {
                true => 1,
                false => 16 - u16::from(self.config.threshold()),
            };
            self.interrupts.data = transfer.passed.is_multiple_of(burst);
            self.phase = Phase::Transferring { transfer };
            return;
        }
        let next = self.end_unit(&mut transfer, false).and_then(|()| self.begin_unit(&mut transfer));
        match next {
            Ok(()) => {
                self.interrupts.data = true;
                self.phase = Phase::Transferring { transfer };
            }
            Err(outcome) => self.finish(&transfer, outcome),
        }
    }

    /// Begins a transfer, and carries it out unless the processor has to.
    fn run(&mut self, mut transfer: Transfer) {
        if let (true, Some(target)) = (self.config.implied_seek(), transfer.seek_target())
            && let Some(pcn) = self.pcn.get_mut(usize::from(transfer.drive))
        {
            *pcn = target;
            let step = self.drive(transfer.drive).map_or(1, |drive| drive.step());
            if let Some(drive) = self.drive(transfer.drive) {
                drive.step_to(target.saturating_mul(step));
            }
        }
        if transfer.pio {
            match self.begin_unit(&mut transfer) {
                Ok(()) => {
                    self.interrupts.data = true;
                    self.phase = Phase::Transferring { transfer };
                }
                Err(outcome) => self.finish(&transfer, outcome),
            }
            return;
        }
        self.dma.request(!transfer.is_verify());
        let outcome = loop {
            if let Err(outcome) = self.begin_unit(&mut transfer).and_then(|()| self.transfer_unit(&mut transfer)) {
                break outcome;
            }
        };
        self.dma.request(false);
        self.finish(&transfer, outcome);
    }

    /// Passes a unit by DMA.
    fn transfer_unit(&mut self, transfer: &mut Transfer) -> Result<(), Outcome> {
        if transfer.is_verify() {
            return self.end_unit(transfer, false);
        }
        let progress = match (self.dor.dmagate(), transfer.is_read()) {
            (false, _) => DmaProgress::default(),
            (true, true) => self.dma.write_memory(&transfer.buffer),
            (true, false) => self.dma.read_memory(&mut transfer.buffer),
        };
        if progress.bytes < transfer.buffer.len() && !progress.terminal_count {
            return Err(Outcome { st0: ST0_ABNORMAL, st1: ST1_OVERRUN, st2: 0 });
        }
        // After terminal count the rest of a sector is written as zeroes, which it is already.
        self.end_unit(transfer, progress.terminal_count)
    }

    /// The result phase of a transfer.
    fn finish(&mut self, transfer: &Transfer, Outcome { mut st0, mut st1, st2 }: Outcome) {
        if transfer.is_write()
            && let Some(Err(error)) = self.drive(transfer.drive).map(|drive| drive.flush())
        {
            self.log.warn("isa-fdc", format_args!("what was written is not safe: {error}"));
            (st0, st1) = (st0 | ST0_ABNORMAL, st1 | ST1_NOT_WRITABLE);
        }
        let [c, h, r, n] = transfer.id;
        self.give(&[st0 | transfer.head << 2 | transfer.drive, st1, st2, c, h, r, n]);
        self.interrupt_for_result();
    }

    /// Ends a READ ID.
    fn finish_read_id(&mut self, unit: u8, head: u8, mfm: bool) {
        let rate = self.rate();
        let found = self.drive(unit).and_then(|drive| {
            let geometry = drive.geometry().filter(|geometry| mfm && geometry.rate == rate)?;
            drive.place(head, 1)?;
            drive.rotation = drive.rotation % geometry.sectors + 1;
            Some([drive.logical_cylinder(), head, drive.rotation, SECTOR_CODE])
        });
        let st0 = head << 2 | unit;
        match found {
            Some([c, h, r, n]) => self.give(&[st0, 0, 0, c, h, r, n]),
            None => self.give(&[st0 | ST0_ABNORMAL, ST1_MISSING_MARK, 0, 0, 0, 0, 0]),
        }
        self.interrupt_for_result();
    }

    fn interrupt_for_result(&mut self) {
        self.reports = 0;
        self.interrupts = Interrupts { polled: false, result: true, data: false };
    }

    /// Begins the result phase.
    fn give(&mut self, result: &[u8]) {
        self.phase = Phase::Result { bytes: result.to_vec(), given: 0 };
    }

    /// Carries out a command whose bytes are complete.
    fn execute(&mut self, command: Command, bytes: &[u8]) {
        log::trace!(target: "fdc", "{command:?} {bytes:x?}");
        let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
        let (unit, head) = (byte(1) & 3, byte(1) >> 2 & 1);
        match command {
            Command::Sectors(operation) => self.start(operation, bytes),
            Command::ReadId => {
                let geometry = self.drive(unit).and_then(|drive| drive.geometry());
                let sectors = geometry.map_or(USUAL_SECTORS, |geometry| geometry.sectors);
                let due = self.clock.now() + REVOLUTION / u64::from(sectors);
                self.phase = Phase::ReadId { due, drive: unit, head, mfm: byte(0) & MFM != 0 };
            }
            Command::Specify => self.specify = [byte(1), byte(2)],
            Command::SenseDriveStatus => {
                let st3 = self.drive(unit).map_or(0, |drive| {
                    let track_0 = if drive.cylinder == 0 { ST3_TRACK_0 } else { 0 };
                    track_0 | if drive.is_protected() { ST3_PROTECTED } else { 0 }
                });
                self.give(&[ST3_ALWAYS | st3 | head << 2 | unit]);
            }
            Command::Recalibrate => self.recalibrate(unit),
            Command::SenseInterruptStatus => self.sense_interrupt(),
            Command::DumpRegisters => self.give(&self.registers()),
            Command::Seek => self.seek(unit, head, byte(2)),
            Command::RelativeSeek => {
                let from = self.pcn[usize::from(unit)];
                let to = match byte(0) & INWARD != 0 {
                    true => from.saturating_add(byte(2)),
                    false => from.saturating_sub(byte(2)),
                };
                self.seek(unit, head, to);
            }
            Command::Version => self.give(&[VERSION]),
            Command::Perpendicular => {
                // Without OW the bits of the drives stay.
                let drives = if byte(1) & 0x80 != 0 { byte(1) & 0x3c } else { self.perpendicular & 0x3c };
                self.perpendicular = drives | byte(1) & 0x03;
            }
            Command::Configure => {
                self.config = Config::from(byte(2) & 0x7f);
                self.precompensation = byte(3);
            }
            Command::Lock => {
                self.locked = byte(0) & LOCK != 0;
                self.give(&[u8::from(self.locked) << 4]);
            }
            Command::PowerDownMode => {
                self.power_down = byte(1);
                self.give(&[self.power_down]);
            }
            Command::PartId => self.give(&[PART_ID]),
            Command::Option => self.option = byte(1),
            Command::DriveSpecification => self.specify_drives(&bytes[1..]),
            Command::Save => self.give(&self.image()),
            Command::Restore => self.restore(&bytes[1..]),
            Command::Invalid => self.give(&[ST0_INVALID]),
        }
    }

    fn start(&mut self, operation: Operation, bytes: &[u8]) {
        let non_dma = self.specify[1] & 1 != 0;
        let transfer = Transfer::new(operation, bytes, non_dma);
        self.sectors_or_eot = transfer.sectors_or_eot();
        self.phase = Phase::Starting { due: self.clock.now() + LATENCY, transfer };
    }

    fn seek(&mut self, unit: u8, head: u8, cylinder: u8) {
        self.pcn[usize::from(unit)] = cylinder;
        if let Some(drive) = self.drive(unit) {
            drive.step_to(cylinder);
        }
        self.end_seek_later(unit, ST0_SEEK_END | head << 2 | unit);
    }

    /// Without a drive nothing tells when track 0 is reached.
    fn recalibrate(&mut self, unit: u8) {
        self.pcn[usize::from(unit)] = 0;
        let found = self.drive(unit).is_some_and(|drive| {
            drive.step_to(drive.cylinder.saturating_sub(RECALIBRATE_STEPS));
            drive.cylinder == 0
        });
        let failure = if found { 0 } else { ST0_ABNORMAL | ST0_EQUIPMENT };
        self.end_seek_later(unit, ST0_SEEK_END | failure | unit);
    }

    fn end_seek_later(&mut self, unit: u8, st0: u8) {
        self.seek_results[usize::from(unit)] = None;
        self.seeks[usize::from(unit)] = Some(Seek { due: self.clock.now() + LATENCY, st0 });
    }

    fn sense_interrupt(&mut self) {
        if self.reports > 0 {
            let unit = UNITS as u8 - self.reports;
            self.reports -= 1;
            self.interrupts.polled = false;
            self.give(&[ST0_POLLING | unit, self.pcn[usize::from(unit)]]);
        } else if let Some(unit) = self.seek_results.iter().position(Option::is_some) {
            let st0 = self.seek_results[unit].take().unwrap_or(ST0_INVALID);
            self.give(&[st0, self.pcn[unit]]);
        } else {
            self.give(&[ST0_INVALID]);
        }
        // Each seek asks anew.
        let others = std::mem::take(&mut self.seek_results);
        self.settle();
        self.seek_results = others;
    }

    /// What DUMPREG gives.
    fn registers(&self) -> [u8; 10] {
        let [a, b, c, d] = self.pcn;
        let lock = u8::from(self.locked) << 7;
        let [rates, load] = self.specify;
        let config = self.config.into_bits();
        [a, b, c, d, rates, load, self.sectors_or_eot, lock | self.perpendicular, config, self.precompensation]
    }

    /// What SAVE gives: the registers between bytes that tell of rates and power.
    fn image(&self) -> [u8; LONGEST_RESULT] {
        let mut image = [0; LONGEST_RESULT];
        image[0] = self.dsr & 0x3f;
        image[1] = self.option;
        image[2..12].copy_from_slice(&self.registers());
        image[12] = self.power_down;
        image
    }

    /// Sets up what SAVE has given.
    fn restore(&mut self, image: &[u8]) {
        let Ok(image) = <[u8; LONGEST_RESULT]>::try_from(image) else { return };
        let [dsr, option, a, b, c, d, rates, load, sectors, lock, config, precompensation, power_down, ..] = image;
        self.dsr = self.dsr & DSR_POWER_DOWN | dsr & 0x3f;
        self.option = option;
        self.pcn = [a, b, c, d];
        self.specify = [rates, load];
        self.sectors_or_eot = sectors;
        self.locked = lock & 0x80 != 0;
        self.perpendicular = lock & 0x3f;
        self.config = Config::from(config & 0x7f);
        self.precompensation = precompensation;
        self.power_down = power_down;
    }

    /// Up to four bytes for drives and the one that ends them.
    fn specify_drives(&mut self, bytes: &[u8]) {
        let mut silent = true;
        for byte in bytes {
            if byte & SPECIFICATION_DONE != 0 {
                silent = byte & SPECIFICATION_SILENT != 0;
            } else {
                self.specifications[usize::from(byte >> 5 & 3)] = byte & 0x1f;
            }
        }
        if !silent {
            self.give(&self.specifications.clone());
        }
    }
}

impl Default for Phase {
    fn default() -> Self {
        Self::Command { bytes: Vec::new() }
    }
}

impl IoDevice for Fdc {
    fn read(&mut self, region: u16, port: u64, _size: u8) -> u64 {
        self.catch_up();
        let value = match chip_offset(region, port) {
            offset::SRB => self.srb(),
            offset::DOR => self.dor.into_bits(),
            offset::TDR => self.tdr,
            offset::MSR_DSR => {
                self.dsr &= !DSR_POWER_DOWN;
                self.msr().into_bits()
            }
            offset::FIFO => self.read_fifo(),
            offset::DIR_CCR => self.read_dir(),
            _ => 0xff,
        };
        self.settle();
        value.into()
    }

    fn write(&mut self, region: u16, port: u64, _size: u8, value: u64) {
        self.catch_up();
        let [value, ..] = value.to_le_bytes();
        match chip_offset(region, port) {
            offset::DOR => self.write_dor(value),
            offset::TDR => self.tdr = value & TDR_WRITABLE,
            offset::MSR_DSR => self.write_dsr(value),
            offset::FIFO => self.write_fifo(value),
            offset::DIR_CCR => self.dsr = self.dsr & !RATE | value & RATE,
            // SRB can only be read.
            _ => {}
        }
        self.settle();
    }
}

/// The chip's own number of a register.
fn chip_offset(region: u16, port: u64) -> u64 {
    if region == Fdc::REGION.id { offset::SRB + port } else { offset::DIR_CCR + port }
}

impl TimerClient for Fdc {
    fn timer_expired(&mut self, _timer: u32) {
        self.catch_up();
    }
}

mod state {
    use super::{Interrupts, Phase, Seek, UNITS};
    use serde::{Deserialize, Serialize};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Drive {
        pub cylinder: u8,
        pub changed: bool,
        pub rotation: u8,
        pub deleted: Vec<u32>,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub drives: [Option<Drive>; super::DRIVES],
        pub dor: u8,
        pub tdr: u8,
        pub dsr: u8,
        pub read_toggle: bool,
        pub write_toggle: bool,
        pub specify: [u8; 2],
        pub config: u8,
        pub precompensation: u8,
        pub locked: bool,
        pub perpendicular: u8,
        pub power_down: u8,
        pub option: u8,
        pub specifications: [u8; UNITS],
        pub sectors_or_eot: u8,
        pub pcn: [u8; UNITS],
        pub phase: Phase,
        pub seeks: [Option<Seek>; UNITS],
        pub seek_results: [Option<u8>; UNITS],
        pub polling_due: Option<u64>,
        pub reports: u8,
        pub interrupts: Interrupts,
    }
}

impl Phase {
    /// Whether a saved one can be.
    fn is_possible(&self) -> bool {
        match self {
            Self::Command { bytes } => {
                bytes.len() < LONGEST && bytes.first().is_none_or(|first| !Command::decode(*first).is_complete(bytes))
            }
            Self::ReadId { drive, head, .. } => *drive < 4 && *head < 2,
            Self::Starting { transfer, .. } => transfer.is_possible() && transfer.buffer.is_empty(),
            Self::Transferring { transfer } => {
                transfer.is_possible() && transfer.pio && usize::from(transfer.passed) < transfer.buffer.len()
            }
            Self::Result { bytes, given } => bytes.len() <= LONGEST_RESULT && usize::from(*given) < bytes.len(),
        }
    }
}

impl Device for Fdc {
    fn name(&self) -> &'static str {
        "isa-fdc"
    }

    fn reset(&mut self, _kind: ResetKind) {
        self.abort();
        self.dor = DOR_DEFAULT;
        self.tdr = 0;
        self.dsr = DSR_DEFAULT;
        (self.read_toggle, self.write_toggle) = (false, false);
        self.specify = [0; 2];
        self.config = CONFIG_DEFAULT;
        self.precompensation = 0;
        self.locked = false;
        self.perpendicular = 0;
        self.power_down = 0;
        self.option = 0;
        self.specifications = [0; UNITS];
        self.sectors_or_eot = 0;
        self.pcn = [0; UNITS];
        self.settle();
    }

    fn save(&self) -> State {
        let Self {
            clock: _,
            timers: _,
            irq: _,
            dma: _,
            drives,
            log: _,
            dor,
            tdr,
            dsr,
            read_toggle,
            write_toggle,
            specify,
            config,
            precompensation,
            locked,
            perpendicular,
            power_down,
            option,
            specifications,
            sectors_or_eot,
            pcn,
            phase,
            seeks,
            seek_results,
            polling_due,
            reports,
            interrupts,
        } = self;
        let drives = drives.each_ref().map(|drive| {
            drive.as_ref().map(|drive| state::Drive {
                cylinder: drive.cylinder,
                changed: drive.changed,
                rotation: drive.rotation,
                deleted: drive.deleted(),
            })
        });
        State::of(
            state::VERSION,
            &state::V1 {
                drives,
                dor: dor.into_bits(),
                tdr: *tdr,
                dsr: *dsr,
                read_toggle: *read_toggle,
                write_toggle: *write_toggle,
                specify: *specify,
                config: config.into_bits(),
                precompensation: *precompensation,
                locked: *locked,
                perpendicular: *perpendicular,
                power_down: *power_down,
                option: *option,
                specifications: *specifications,
                sectors_or_eot: *sectors_or_eot,
                pcn: *pcn,
                phase: phase.clone(),
                seeks: *seeks,
                seek_results: *seek_results,
                polling_due: *polling_due,
                reports: *reports,
                interrupts: *interrupts,
            },
        )
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state: state::V1 = state.decode(state::VERSION)?;
        if !state.phase.is_possible() {
            return Err(StateError::invalid("phase", "the command or its data is impossible"));
        }
        if usize::from(state.reports) > UNITS {
            return Err(StateError::invalid("reports", format!("{} is more than {UNITS}", state.reports)));
        }
        let same_drives = self.drives.iter().zip(&state.drives).all(|(own, saved)| own.is_some() == saved.is_some());
        if !same_drives {
            return Err(StateError::invalid("drives", "these are not the drives of this machine"));
        }
        for (own, saved) in self.drives.iter().flatten().zip(state.drives.iter().flatten()) {
            if saved.cylinder > super::drive::LAST_CYLINDER || !own.has_sectors(&saved.deleted) {
                return Err(StateError::invalid("drives", "a drive can't reach that track or sector"));
            }
        }
        for (own, saved) in self.drives.iter_mut().flatten().zip(state.drives.into_iter().flatten()) {
            let state::Drive { cylinder, changed, rotation, deleted } = saved;
            (own.cylinder, own.changed, own.rotation) = (cylinder, changed, rotation);
            own.set_deleted(&deleted);
        }
        self.dor = Dor::from(state.dor);
        self.tdr = state.tdr & TDR_WRITABLE;
        self.dsr = state.dsr & !DSR_RESET;
        (self.read_toggle, self.write_toggle) = (state.read_toggle, state.write_toggle);
        self.specify = state.specify;
        self.config = Config::from(state.config & 0x7f);
        self.precompensation = state.precompensation;
        self.locked = state.locked;
        self.perpendicular = state.perpendicular & 0x3f;
        self.power_down = state.power_down;
        self.option = state.option;
        self.specifications = state.specifications;
        self.sectors_or_eot = state.sectors_or_eot;
        self.pcn = state.pcn;
        self.phase = state.phase;
        self.seeks = state.seeks;
        self.seek_results = state.seek_results;
        self.polling_due = state.polling_due;
        self.reports = state.reports;
        self.interrupts = state.interrupts;
        self.settle();
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        out.register("SRB", self.srb(), 8);
        out.register("DOR", self.dor.into_bits(), 8);
        out.register("TDR", self.tdr, 8);
        out.register("MSR", self.msr().into_bits(), 8);
        out.register("DSR", self.dsr, 8);
        out.register("CONFIGURE", self.config.into_bits(), 8);
        for (unit, drive) in self.drives.iter().enumerate() {
            let Some(drive) = drive else { continue };
            out.number(format!("cylinder of drive {unit}"), drive.cylinder);
            out.flag(format!("DSKCHG of drive {unit}"), drive.changed);
            if let Some(geometry) = drive.geometry() {
                out.text(format!("medium of drive {unit}"), format!("{} bytes, {geometry:?}", geometry.bytes()));
            }
        }
        out.text("phase", format!("{:?}", self.phase));
        out.number("mistakes of the guest", self.log.count());
    }
}
