//! A channel: two connectors that share registers, an interrupt and a bus master.

use super::bus_master::{BusMasterChannel, Effect};
use super::command::EXECUTE_DEVICE_DIAGNOSTIC;
use super::drive::{Drive, Phase, Unit};
use super::registers::{control, device, reg};
use super::state;
use crate::base::{Dma, Inspector, IrqLine, ResetKind, StateError};

/// Connectors of a channel.
pub(super) const UNITS: usize = 2;

/// A channel.
pub(super) struct Channel {
    pub drives: [Drive; UNITS],
    irq: IrqLine,
    /// Device control register.
    control: u8,
    pub master: BusMasterChannel,
}

impl Channel {
    /// A channel after power-on.
    pub fn new(units: [Unit; UNITS], irq: IrqLine) -> Self {
        Self { drives: units.map(Drive::new), irq, control: 0, master: BusMasterChannel::default() }
    }

    fn selected(&self) -> usize {
        usize::from(self.drives[0].file.device & device::DEV != 0)
    }

    fn active(&mut self) -> &mut Drive {
        let selected = self.selected();
        &mut self.drives[selected]
    }

    pub fn is_empty(&self) -> bool {
        !self.drives.iter().any(Drive::is_present)
    }

    /// Reads the data register. A read of a byte takes a word: some boot loaders of old rely on it.
    pub fn read_data(&mut self, size: u8) -> u32 {
        match size {
            1 => self.active().read_data(2) & 0xff,
            size => self.active().read_data(size),
        }
    }

    /// Writes the data register, whose accesses have at least 16 bits.
    pub fn write_data(&mut self, size: u8, value: u32) {
        if size > 1 {
            self.active().write_data(size, value);
        }
    }

    /// Whether the processor is to transfer more of a block, so that nothing has come of the last access to the data register.
    pub fn is_amid_block(&mut self) -> bool {
        matches!(self.active().phase, Phase::Pio { at: 1.., .. })
    }

    /// Reads another register of the command block. Nobody drives them where nothing is connected, and they are pulled low, as
    /// with QEMU.
    pub fn read(&mut self, register: u64) -> u8 {
        if register == reg::STATUS_COMMAND {
            self.active().interrupt = false;
            return self.status();
        }
        let before = self.control & control::HOB != 0;
        let alone = !self.active().is_present();
        match register {
            _ if self.is_empty() => 0,
            reg::ERROR_FEATURES if alone => 0,
            register => self.active().file.read(register, before),
        }
    }

    /// The alternate status register: the status without its effect on the interrupt. A drive that is not there has none.
    pub fn status(&self) -> u8 {
        let active = &self.drives[self.selected()];
        if active.is_present() { active.file.status } else { 0 }
    }

    /// Writes another register of the command block.
    pub fn write(&mut self, register: u64, value: u8) {
        self.control &= !control::HOB;
        if register == reg::STATUS_COMMAND {
            if !self.active().is_busy() {
                // A new command takes the interrupt of the last one away, so that its own is an edge.
                self.active().interrupt = false;
                self.irq.set(false);
            }
            match value {
                EXECUTE_DEVICE_DIAGNOSTIC => self.diagnose(),
                opcode => self.active().command(opcode),
            }
        } else if !self.active().is_busy() {
            // Both devices listen.
            self.drives.iter_mut().for_each(|drive| drive.file.write(register, value));
        }
    }

    /// Writes the device control register.
    pub fn write_control(&mut self, value: u8) {
        let before = std::mem::replace(&mut self.control, value & (control::HOB | control::SRST | control::NIEN));
        match (before & control::SRST != 0, value & control::SRST != 0) {
            (false, true) => self.drives.iter_mut().filter(|drive| drive.is_present()).for_each(Drive::hold_in_reset),
            (true, false) => self.present_all(),
            (true, true) | (false, false) => {}
        }
    }

    /// All devices are done with a reset or diagnostics: device 0 is selected.
    fn present_all(&mut self) {
        for drive in &mut self.drives {
            drive.phase = Phase::Idle;
            drive.file.write(reg::DEVICE, 0);
            drive.sign();
        }
    }

    fn diagnose(&mut self) {
        if self.is_empty() || self.drives.iter().any(|drive| drive.is_busy()) {
            return;
        }
        self.drives.iter_mut().for_each(|drive| drive.reset(None));
        self.present_all();
        // Device 0 reports for both.
        self.drives[0].interrupt = true;
    }

    /// Reads a byte of the bus master's registers.
    pub fn read_master(&self, offset: u64) -> u8 {
        self.master.read(offset)
    }

    /// Writes a byte of the bus master's registers.
    pub fn write_master(&mut self, offset: u64, value: u8) {
        if self.master.write(offset, value) == Effect::Stopped {
            // What is on its way still arrives, and nothing after it.
            self.drain();
        }
    }

    /// Waits for the requests that are under way.
    pub fn drain(&mut self) {
        for drive in &mut self.drives {
            if let Some(device) = drive.unit.device() {
                device.port().drain();
            }
        }
    }

    /// Goes on as far as it can, and drives the interrupt.
    pub fn settle(&mut self, dma: &Dma) {
        loop {
            self.drives.iter_mut().for_each(Drive::take_completions);
            if !self.transfer(dma) {
                break;
            }
        }
        if !self.drives.iter().any(|drive| matches!(drive.phase, Phase::Dma | Phase::Waiting)) {
            self.master.device_done();
        }
        let enabled = self.control & control::NIEN == 0;
        let selected = &self.drives[self.selected()];
        let level = enabled && selected.is_present() && selected.interrupt;
        if level && !self.irq.level() {
            self.master.interrupted();
        }
        self.irq.set(level);
    }

    /// Has the bus master transfer a piece; `false`: there is none, or no way.
    fn transfer(&mut self, dma: &Dma) -> bool {
        if !self.master.is_active() || !dma.is_enabled() {
            return false;
        }
        let mut waiting = self.drives.iter_mut().filter_map(|drive| Some((drive.dma_wanted()?, drive)));
        let Some((wanted, drive)) = waiting.next() else { return false };
        let buffer = self.master.take(dma, wanted);
        if buffer.is_empty() {
            return false;
        }
        drive.dma(&buffer);
        true
    }

    /// A reset by hardware.
    pub fn reset(&mut self, kind: ResetKind) {
        self.drives.iter_mut().for_each(|drive| drive.reset(Some(kind)));
        self.control = 0;
        self.master = BusMasterChannel::default();
        self.present_all();
        self.irq.set(false);
    }

    /// Requests that were kept because of an error are submitted again.
    pub fn resume(&mut self) {
        for drive in &mut self.drives {
            if let Some(device) = drive.unit.device() {
                device.port().resume();
            }
        }
    }

    /// Whether requests are under way.
    pub fn has_requests(&mut self) -> bool {
        self.drives.iter_mut().filter_map(|drive| drive.unit.device()).any(|device| device.port().is_busy())
    }

    pub fn save(&self) -> state::Channel {
        let Self { drives, irq: _, control, master } = self;
        state::Channel { drives: drives.each_ref().map(state::Drive::of), control: *control, master: master.clone() }
    }

    /// Checks a saved state without taking it over.
    pub fn check(&self, saved: &state::Channel, dma: &Dma) -> Result<state::Requests, StateError> {
        let state::Channel { drives, control: register, master } = saved;
        if register & !(control::HOB | control::SRST | control::NIEN) != 0 {
            return Err(StateError::invalid("control", format!("{register:#04x} has bits that there are not")));
        }
        if !master.is_possible() {
            return Err(StateError::invalid("master", "the registers of the bus master are impossible"));
        }
        let held = |phase: &Phase| *phase == Phase::Reset;
        let in_reset = register & control::SRST != 0;
        for (own, saved) in self.drives.iter().zip(drives) {
            if held(&saved.phase) != (in_reset && own.is_present()) {
                return Err(StateError::invalid("control", "SRST and the devices do not go together"));
            }
        }
        let [first, second] = drives.each_ref().map(|drive| drive.file.device & device::DEV);
        if first != second {
            return Err(StateError::invalid("device", "the devices do not agree on which of them is selected"));
        }
        let [first, second] = [0, 1].map(|unit| drives[unit].check(&self.drives[unit], dma));
        Ok([first?, second?])
    }

    /// Takes over a state that has been checked.
    pub fn load(&mut self, saved: &state::Channel, requests: state::Requests) {
        let state::Channel { drives, control, master } = saved;
        for ((own, saved), requests) in self.drives.iter_mut().zip(drives).zip(requests) {
            saved.apply(own, requests);
        }
        self.control = *control;
        self.master = master.clone();
        let selected = &self.drives[self.selected()];
        let level = self.control & control::NIEN == 0 && selected.is_present() && selected.interrupt;
        self.irq.set(level);
    }

    pub fn inspect(&self, name: &str, out: &mut Inspector) {
        let (command, master_status, table) = self.master.registers();
        out.register(format!("{name} BMIC"), command, 8);
        out.register(format!("{name} BMIS"), master_status, 8);
        out.register(format!("{name} BMIDTP"), table, 32);
        out.register(format!("{name} device control"), self.control, 8);
        for (unit, drive) in self.drives.iter().enumerate().filter(|(_, drive)| drive.is_present()) {
            let name = format!("{name} {unit}");
            out.register(format!("{name} status"), drive.file.status, 8);
            out.register(format!("{name} error"), drive.file.error, 8);
            out.register(format!("{name} device"), drive.file.device, 8);
            out.register(format!("{name} sector count"), drive.file.count.now, 8);
            let lba = drive.file.lba.map(|pair| pair.now);
            out.text(format!("{name} LBA low, mid, high"), format!("{lba:02x?}"));
            out.flag(format!("{name} interrupt"), drive.interrupt);
            let phase = match &drive.phase {
                Phase::Pio { data, at, .. } => format!("pio, {at} of {} bytes", data.len()),
                other => format!("{other:?}").to_lowercase(),
            };
            out.text(format!("{name} phase"), phase);
            match &drive.unit {
                Unit::Disk(disk) => out.number(format!("{name} sectors"), disk.memory.area.sectors()),
                Unit::Cd(cd) => out.flag(format!("{name} tray locked"), cd.drive.tray().locked),
                Unit::Absent => {}
            }
        }
    }
}
