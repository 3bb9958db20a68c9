//! The controller: registers, phases of a command, interrupts, seeks.

use super::command::{Command, INWARD, LOCK, LONGEST_RESULT, MFM, Operation, SPECIFICATION_DONE, SPECIFICATION_SILENT};
use super::drive::{FloppyDrive, SECTOR_CODE};
use super::registers::*;
use super::state;
use super::transfer::{Outcome, Transfer};
use crate::backend::block::BlockBackend;
use crate::base::clock::NS_PER_SEC;
use crate::base::isa_dma::{DmaChannel, DmaProgress};
use crate::base::{
    AccessRule, Clock, Device, DeviceTimers, GuestLog, Inspector, IoDevice, IrqLine, Region, ResetKind, State,
    StateError, TimerClient,
};

/// Drives that commands can name.
pub(super) const UNITS: usize = 4;
/// Connectors that there are.
pub(super) const DRIVES: usize = 2;
/// Guest time that a seek or the start of a transfer takes, in nanoseconds.
pub const LATENCY: u64 = 50_000;
/// A medium turns 300 times a minute.
pub(super) const REVOLUTION: u64 = NS_PER_SEC / 5;
/// While the DMA controller does not take the first unit of a transfer it is offered again so often.
const RETRY: u64 = 1_000_000;
/// What was written is made safe when nothing more has been written for so long. Drivers stop the motor later.
const IDLE: u64 = NS_PER_SEC;
/// Sectors that would pass in it if there were a medium.
const USUAL_SECTORS: u8 = 18;
/// RECALIBRATE gives up after so many steps.
const RECALIBRATE_STEPS: u8 = 79;

/// The only timer: whatever is due next.
const NEXT: u32 = 0;

/// Where the controller is in a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It takes the bytes of a command.
    Command { bytes: Vec<u8> },
    /// The id of the next sector is looked for, until then.
    ReadId { due: u64, drive: u8, head: u8, mfm: bool },
    /// A transfer begins then.
    Starting { due: u64, transfer: Transfer },
    /// The first unit of a transfer is offered to the DMA controller, which does not take it: again when due, and for the
    /// last time at `until`. On a drive the heads would settle and the sector come by meanwhile.
    Requesting { due: u64, until: u64, transfer: Transfer },
    /// The processor transfers data.
    Transferring { transfer: Transfer },
    /// It gives the bytes of a result.
    Result { bytes: Vec<u8>, given: u8 },
}

/// Heads that are on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seek {
    pub due: u64,
    /// Status register 0 at the end.
    pub st0: u8,
}

/// What an interrupt can mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Interrupts {
    /// Drives have been polled after a reset.
    pub polled: bool,
    /// A result can be read.
    pub result: bool,
    /// The processor is to transfer data.
    pub data: bool,
}

/// The controller.
pub struct Fdc {
    pub(super) clock: Clock,
    pub(super) timers: DeviceTimers,
    pub(super) irq: IrqLine,
    pub(super) dma: Box<dyn DmaChannel>,
    pub(super) drives: [Option<FloppyDrive>; DRIVES],
    pub(super) log: GuestLog,
    pub(super) dor: Dor,
    pub(super) tdr: u8,
    pub(super) dsr: u8,
    pub(super) read_toggle: bool,
    pub(super) write_toggle: bool,
    /// SRT and HUT; HLT and ND.
    pub(super) specify: [u8; 2],
    pub(super) config: Config,
    /// First track to be precompensated.
    pub(super) precompensation: u8,
    pub(super) locked: bool,
    /// D3 to D0, GAP and WGATE.
    pub(super) perpendicular: u8,
    pub(super) power_down: u8,
    pub(super) option: u8,
    /// What DRIVE SPECIFICATION has said of each drive.
    pub(super) specifications: [u8; UNITS],
    pub(super) sectors_or_eot: u8,
    /// Present cylinder numbers.
    pub(super) pcn: [u8; UNITS],
    pub(super) phase: Phase,
    pub(super) seeks: [Option<Seek>; UNITS],
    /// Status register 0 of seeks that have ended.
    pub(super) seek_results: [Option<u8>; UNITS],
    /// When drives will be polled.
    pub(super) polling_due: Option<u64>,
    /// Reports of the polling that nobody has read yet.
    pub(super) reports: u8,
    pub(super) interrupts: Interrupts,
    /// When what was written will be made safe.
    pub(super) flush_due: Option<u64>,
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
            flush_due: None,
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
            Phase::ReadId { due, .. } | Phase::Starting { due, .. } | Phase::Requesting { due, .. } => Some(*due),
            Phase::Command { .. } | Phase::Transferring { .. } | Phase::Result { .. } => None,
        };
        let seeks = self.seeks.iter().flatten().map(|seek| seek.due);
        self.timers.set(NEXT, seeks.chain(phase).chain(self.polling_due).chain(self.flush_due).min());
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
        if self.flush_due.is_some_and(|due| due <= now) {
            self.flush();
        }
        match std::mem::take(&mut self.phase) {
            Phase::ReadId { due, drive, head, mfm } if due <= now => self.finish_read_id(drive, head, mfm),
            Phase::Starting { due, transfer } if due <= now => self.run(transfer),
            Phase::Requesting { due, until, transfer } if due <= now => self.pass_units(transfer, until),
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

    /// The reset ends, with an interrupt. Drives are polled this once even if CONFIGURE has switched polling off: drivers
    /// do that and wait for the interrupt of a later reset all the same (Linux's does).
    fn leave_reset(&mut self) {
        self.polling_due = Some(self.clock.now() + LATENCY);
    }

    fn write_dor(&mut self, value: u8) {
        let before = std::mem::replace(&mut self.dor, Dor::from(value));
        if before.motors() & !self.dor.motors() != 0 {
            self.flush();
        }
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
            Phase::ReadId { .. } | Phase::Requesting { .. } => msr.with_busy(true),
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
        match self.begin_unit(&mut transfer) {
            Ok(()) if transfer.pio => {
                self.interrupts.data = true;
                self.phase = Phase::Transferring { transfer };
            }
            Ok(()) => {
                self.dma.request(!transfer.is_verify());
                self.pass_units(transfer, self.clock.now().saturating_add(REVOLUTION));
            }
            Err(outcome) => self.finish(&transfer, outcome),
        }
    }

    /// Passes the unit that has begun, and all that follow, by DMA. The first one waits until `until` for the DMA controller;
    /// later it is too late at once.
    fn pass_units(&mut self, mut transfer: Transfer, until: u64) {
        let now = self.clock.now();
        let mut is_first = true;
        let outcome = loop {
            let progress = self.pass_unit(&mut transfer);
            if std::mem::take(&mut is_first) && progress.bytes == 0 && now < until {
                let due = now.saturating_add(RETRY).min(until);
                self.phase = Phase::Requesting { due, until, transfer };
                return;
            }
            if progress.bytes < transfer.buffer.len() && !progress.terminal_count {
                break Outcome { st0: ST0_ABNORMAL, st1: ST1_OVERRUN, st2: 0 };
            }
            // After terminal count the rest of a sector is written as zeroes, which it is already.
            let ended = self.end_unit(&mut transfer, progress.terminal_count);
            if let Err(outcome) = ended.and_then(|()| self.begin_unit(&mut transfer)) {
                break outcome;
            }
        };
        self.dma.request(false);
        self.finish(&transfer, outcome);
    }

    /// Passes a unit by DMA, as far as that goes.
    fn pass_unit(&mut self, transfer: &mut Transfer) -> DmaProgress {
        match (self.dor.dmagate(), transfer.is_read()) {
            _ if transfer.is_verify() => DmaProgress { bytes: transfer.buffer.len(), terminal_count: false },
            (false, _) => DmaProgress::default(),
            (true, true) => self.dma.write_memory(&transfer.buffer),
            (true, false) => self.dma.read_memory(&mut transfer.buffer),
        }
    }

    /// The result phase of a transfer.
    fn finish(&mut self, transfer: &Transfer, Outcome { st0, st1, st2 }: Outcome) {
        let [c, h, r, n] = transfer.id;
        self.give(&[st0 | transfer.head << 2 | transfer.drive, st1, st2, c, h, r, n]);
        self.interrupt_for_result();
    }

    /// Something was written.
    pub(super) fn flush_later(&mut self) {
        self.flush_due = Some(self.clock.now().saturating_add(IDLE));
    }

    /// Makes what was written safe. That takes the time of the host's disk: no command waits for it.
    fn flush(&mut self) {
        self.flush_due = None;
        for drive in self.drives.iter_mut().flatten() {
            if let Err(error) = drive.flush() {
                self.log.warn("isa-fdc", format_args!("what was written is not safe: {error}"));
            }
        }
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
            Command::RelativeSeek => self.relative_seek(unit, head, byte(0) & INWARD != 0, byte(2)),
            Command::Version => self.give(&[VERSION]),
            Command::Perpendicular => {
                // Without OW the bits of the drives stay.
                let drives = if byte(1) & 0x80 != 0 { byte(1) & 0x3c } else { self.perpendicular & 0x3c };
                self.perpendicular = drives | byte(1) & 0x03;
            }
            Command::Configure => {
                self.config = Config::from(byte(2) & CONFIG_BITS);
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

    /// Steps from wherever the heads are. The present cylinder number follows, whether that is true or not.
    fn relative_seek(&mut self, unit: u8, head: u8, inward: bool, steps: u8) {
        let pcn = &mut self.pcn[usize::from(unit)];
        *pcn = if inward { pcn.wrapping_add(steps) } else { pcn.wrapping_sub(steps) };
        let stopped = self.drive(unit).is_some_and(|drive| {
            let from = drive.cylinder;
            drive.step_to(if inward { from.saturating_add(steps) } else { from.saturating_sub(steps) });
            !inward && steps > from
        });
        let failure = if stopped { ST0_ABNORMAL | ST0_EQUIPMENT } else { 0 };
        self.end_seek_later(unit, ST0_SEEK_END | failure | head << 2 | unit);
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
        self.perpendicular = lock & PERPENDICULAR_BITS;
        self.config = Config::from(config & CONFIG_BITS);
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
                self.specifications[usize::from(byte >> 5 & 3)] = byte & SPECIFICATION_BITS;
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
        self.flush();
        self.settle();
    }

    fn save(&self) -> State {
        state::save(self)
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        state::load(self, state)?;
        self.dma.request(matches!(self.phase, Phase::Requesting { .. }));
        if self.drives.iter().flatten().any(FloppyDrive::is_dirty) {
            self.flush_later();
        }
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
