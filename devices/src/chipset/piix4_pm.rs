//! The power management function of the 82371AB (PIIX4), PCI function 01.3.
//!
//! Follows Intel 290562 and, for the fixed hardware registers, ACPI 4.0 chapter 4. Emulated: the PM1 event and control
//! registers, the 24-bit power management timer, general purpose event block 0 and the APM ports; power-off by S5 and S4, S3
//! on boards that can wake from it; the power button; the real-time clock's alarm, which here sets RTC_STS of a machine that runs, too;
//! the SMBus host (in a file of its own). As in QEMU the general purpose events
//! sit at a fixed place (AFE0h) outside the function's I/O block.
//!
//! Not emulated: system management interrupts (an APM control write that would raise one is counted; KVM may have no
//! SMM), the global standby timer and device monitors: in the I/O block nobody answers for them, as in QEMU, and in configuration
//! space their registers are storage.

mod rtc_event;

use bitfield_struct::bitfield;
use std::sync::Arc;

use super::gpe::{GpeBlock, GpeRegisters};
use super::smbus::{self, Smbus};
pub use rtc_event::RtcEvent;

use crate::base::{
    AccessRule, Clock, Device, DeviceTimers, GuestLog, Inspector, IoDevice, IrqLine, Rate, Region, ResetKind, State,
    StateError, SystemControl, SystemRequest, TimerClient, WakeCause,
};
use crate::pci::{PciConfig, PciConfigBuilder, PciConfigState, PciFunction};

/// Frequency of the power management timer (ACPI 4.8.3.3).
const PM_TIMER: Rate = Rate::hz(3_579_545);
/// Width of the timer; its status bit is set whenever the highest bit toggles.
const PM_TIMER_BITS: u32 = 24;

/// What the bytes of the I/O block read as that belong to no register.
const NOT_DECODED: u8 = 0xff;

/// The I/O block that PMBA places.
pub const PM_BLOCK: Region = Region::ports(0, "piix4-pm", 64, AccessRule::native(1, 4));
/// General purpose event block 0: two bytes of status, two of enables.
pub const GPE0: Region = Region::ports(1, "acpi-gpe0", 4, AccessRule::BYTE);
/// APM control and status.
pub const APM: Region = Region::ports(2, "apm", 2, AccessRule::BYTE);

/// The registers of the SMBus host controller, which SMBBA places.
pub const SMBUS: Region = Smbus::REGION;

/// Offsets in the I/O block.
mod reg {
    pub const PMSTS: u64 = 0x00;
    pub const PMEN: u64 = 0x02;
    pub const PMCNTRL: u64 = 0x04;
    pub const PMTMR: u64 = 0x08;
    pub const PMTMR_END: u64 = 0x0c;
    pub const PMCNTRL_END: u64 = 0x06;
}

/// Offsets in configuration space.
mod config {
    pub const PMBA: u8 = 0x40;
    pub const DEVACTB: u8 = 0x58;
    pub const PMREGMISC: u8 = 0x80;
    pub const SMBBA: u8 = 0x90;
    pub const SMBHSTCFG: u8 = 0xd2;
    /// Bit of SMBHSTCFG that makes the SMBus host decode.
    pub const SMB_HST_EN: u8 = 1 << 0;
    /// Its interrupt selection, and the choice that means IRQ 9.
    pub const SMB_INTRSEL: u8 = 7 << 1;
    pub const SMB_IRQ9: u8 = 4 << 1;
    /// Bit of PMREGMISC that makes the I/O block decode.
    pub const PMIOSE: u8 = 1 << 0;
    pub const PMBA_ADDRESS: u32 = 0xffc0;
}

/// Power management event bits, of the status and of the enable register.
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
struct Pm1 {
    timer: bool,
    #[bits(3)]
    reserved_1: u8,
    bus_master: bool,
    global: bool,
    #[bits(2)]
    reserved_6: u8,
    power_button: bool,
    reserved_9: bool,
    rtc: bool,
    #[bits(4)]
    reserved_11: u8,
    wake: bool,
}

/// Bits that exist in the status register.
const PM1_STATUS: u16 = 0x8531;
/// Bits that exist in the enable register.
const PM1_ENABLE: u16 = 0x0521;

#[bitfield(u16)]
#[derive(PartialEq, Eq)]
struct PmControl {
    sci_enable: bool,
    bus_master_reload: bool,
    /// Write only: sets the global status that firmware watches.
    global_release: bool,
    #[bits(7)]
    reserved_3: u8,
    #[bits(3)]
    sleep_type: u8,
    /// Write only: enters the sleeping state.
    sleep_enable: bool,
    #[bits(2)]
    reserved_14: u8,
}

/// Values of the sleep type, which the board's ACPI tables repeat: QEMU's.
const SLEEP_S5: u8 = 0;
const SLEEP_S3: u8 = 1;

/// The sleeping states besides S5 that the board can do something about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SleepStates {
    /// S3, by the sleep type 1.
    pub s3: bool,
    /// S4, by this sleep type. The guest has saved itself to disk: the machine powers off.
    pub s4: Option<u8>,
}

/// Values written to the APM control register that switch ACPI on and off.
const APM_ACPI_ENABLE: u8 = 0xf1;
const APM_ACPI_DISABLE: u8 = 0xf0;

/// Which of the ports that the function can watch are on the board (device resource registers, read by firmware).
#[derive(Clone, Copy, Debug, Default)]
pub struct Resources {
    /// A parallel port at 378h.
    pub lpt: bool,
    /// COM1.
    pub com1: bool,
    /// COM2.
    pub com2: bool,
}

/// The function.
pub struct Piix4Pm {
    clock: Clock,
    timers: DeviceTimers,
    sci: IrqLine,
    gpe: Arc<GpeBlock>,
    /// Has the status bit that [`Self::status`] leaves 0.
    rtc: Arc<RtcEvent>,
    system: Arc<dyn SystemControl>,
    sleep: SleepStates,
    config: PciConfig,
    log: GuestLog,
    status: Pm1,
    enable: Pm1,
    control: PmControl,
    /// Up to when the timer's overflows are in the status register, in ticks since the clock's zero.
    timer_seen: u64,
    apm_control: u8,
    apm_status: u8,
    smbus: Smbus,
}

/// The only timer: the next overflow of the power management timer.
const OVERFLOW: u32 = 0;

impl Piix4Pm {
    /// The function on a board without system management mode: ACPI is enabled from the start. `timers` must be attached
    /// to it by the board; `gpe` and `rtc` have lines of their own to the same interrupt as `sci`.
    #[must_use]
    pub fn new(
        clock: Clock,
        timers: DeviceTimers,
        sci: IrqLine,
        gpe: Arc<GpeBlock>,
        rtc: Arc<RtcEvent>,
        system: Arc<dyn SystemControl>,
        resources: Resources,
    ) -> Self {
        let device_67 = if resources.com1 { 0x08 } else { 0 } | if resources.com2 { 0x90 } else { 0 };
        let config = PciConfigBuilder::new(0x8086, 0x7113, 0x06_8000)
            .revision(3)
            .status(0x0280)
            // The SCI is wired to its interrupt; the pin is there for software that reads it.
            .bytes(0x3d, &[0x01])
            .bytes(config::PMBA, &[0x01])
            // APMC enable; QEMU's sign to firmware that there is no SMM to set up.
            .bytes(config::DEVACTB + 3, &[0x02])
            .bytes(0x5f, &[if resources.lpt { 0x90 } else { 0x10 }])
            .bytes(0x63, &[0x60])
            .bytes(0x67, &[device_67])
            .bytes(config::SMBBA, &[0x01, 0xb1])
            .bytes(config::SMBHSTCFG, &[config::SMB_IRQ9 | config::SMB_HST_EN])
            .build();
        let mut function = Self {
            timer_seen: PM_TIMER.ticks(clock.now()),
            clock,
            timers,
            sci,
            gpe,
            rtc,
            system,
            sleep: SleepStates::default(),
            config,
            log: GuestLog::default(),
            status: Pm1::new(),
            enable: Pm1::new(),
            control: PmControl::new(),
            apm_control: 0,
            apm_status: 0,
            smbus: Smbus::default(),
        };
        function.set_reset_values();
        function
    }

    /// The function on a board that has these sleeping states besides S5.
    #[must_use]
    pub fn with_sleep_states(self, sleep: SleepStates) -> Self {
        Self { sleep, ..self }
    }

    fn set_reset_values(&mut self) {
        self.status = Pm1::new();
        self.rtc.set_status(false);
        self.enable = Pm1::new();
        self.control = PmControl::new().with_sci_enable(true);
        self.timer_seen = PM_TIMER.ticks(self.clock.now());
        self.gpe.change(|registers| *registers = GpeRegisters::default());
        self.apm_control = 0;
        self.apm_status = 0;
        self.settle();
    }

    /// The user presses the power button.
    pub fn press_power_button(&mut self) {
        self.catch_up();
        self.status.set_power_button(true);
        self.settle();
    }

    /// The machine wakes from S3; it has been reset. The guest reads here that it did not start anew.
    pub fn wake(&mut self, cause: WakeCause) {
        self.catch_up();
        self.status.set_wake(true);
        match cause {
            WakeCause::Rtc => self.rtc.set_status(true),
            WakeCause::PowerButton => self.status.set_power_button(true),
        }
        self.settle();
    }

    /// The status register.
    fn pm1_status(&self) -> Pm1 {
        self.status.with_rtc(self.rtc.status())
    }

    fn ticks(&self) -> u64 {
        PM_TIMER.ticks(self.clock.now())
    }

    /// The tick after `ticks` at which the highest bit toggles.
    fn next_overflow(ticks: u64) -> u64 {
        ((ticks >> (PM_TIMER_BITS - 1)) + 1) << (PM_TIMER_BITS - 1)
    }

    /// Brings the timer and its status bit up to date; whether that bit has changed.
    fn catch_up(&mut self) -> bool {
        let now = self.ticks();
        let overflows = now >= Self::next_overflow(self.timer_seen) && !self.status.timer();
        if overflows {
            self.status.set_timer(true);
        }
        self.timer_seen = now;
        overflows
    }

    /// Drives the interrupt and arms the next overflow, if anybody would see it.
    fn settle(&mut self) {
        let pm1 = self.status.into_bits() & self.enable.into_bits() != 0;
        // The SMBus host shares the line: it can choose IRQ 9, which is the SCI's.
        let config = self.config.read_u8(config::SMBHSTCFG);
        let smbus = self.smbus.interrupt() && config & config::SMB_INTRSEL == config::SMB_IRQ9;
        self.sci.set(self.control.sci_enable() && pm1 || smbus);
        self.gpe.enable_sci(self.control.sci_enable());
        self.rtc.enable(self.enable.rtc(), self.control.sci_enable());
        let visible = self.enable.timer() && !self.status.timer();
        let deadline = visible.then(|| PM_TIMER.ns_at(Self::next_overflow(self.timer_seen)));
        self.timers.set(OVERFLOW, deadline);
    }

    fn write_control(&mut self, value: u16) {
        let written = PmControl::from_bits(value);
        // Write-only bits do not read back; undefined ones do not exist. Without SMM, ACPI can't be switched off.
        self.control = PmControl::new()
            .with_sci_enable(self.control.sci_enable())
            .with_bus_master_reload(written.bus_master_reload())
            .with_sleep_type(written.sleep_type());
        if written.sleep_enable() {
            match written.sleep_type() {
                SLEEP_S5 => self.system.request(SystemRequest::PowerOff),
                SLEEP_S3 if self.sleep.s3 => self.system.request(SystemRequest::Suspend),
                other if self.sleep.s4 == Some(other) => self.system.request(SystemRequest::SuspendToDisk),
                other => self.log.warn("PIIX4_PM", format_args!("sleep type {other} is not supported and is ignored")),
            }
        }
    }

    /// A byte of the I/O block, which has been brought up to date.
    fn read_block(&self, offset: u64) -> u8 {
        let pm_timer = (self.timer_seen & ((1 << PM_TIMER_BITS) - 1)) as u32;
        match offset {
            reg::PMSTS..reg::PMEN => byte(self.pm1_status().into_bits().into(), offset - reg::PMSTS),
            reg::PMEN..reg::PMCNTRL => byte(self.enable.into_bits().into(), offset - reg::PMEN),
            reg::PMCNTRL..reg::PMCNTRL_END => byte(self.control.into_bits().into(), offset - reg::PMCNTRL),
            reg::PMTMR..reg::PMTMR_END => byte(pm_timer, offset - reg::PMTMR),
            _ => NOT_DECODED,
        }
    }

    fn write_block(&mut self, offset: u64, size: u8, value: u64) {
        // The registers as they would be after the write, byte by byte.
        let merge = |old: u16, first: u64| {
            let bytes: [u8; 2] = std::array::from_fn(|i| match (first + i as u64).checked_sub(offset) {
                Some(at) if at < u64::from(size) => (value >> (8 * at)) as u8,
                _ => (old >> (8 * i)) as u8,
            });
            u16::from_le_bytes(bytes)
        };
        let touches = |first: u64| offset < first + 2 && offset + u64::from(size) > first;
        if touches(reg::PMSTS) {
            let cleared = Pm1::from_bits(merge(0, reg::PMSTS));
            self.status = Pm1::from_bits(self.status.into_bits() & !cleared.into_bits());
            if cleared.rtc() {
                self.rtc.set_status(false);
            }
        }
        if touches(reg::PMEN) {
            self.enable = Pm1::from_bits(merge(self.enable.into_bits(), reg::PMEN) & PM1_ENABLE);
        }
        if touches(reg::PMCNTRL) {
            self.write_control(merge(self.control.into_bits(), reg::PMCNTRL));
        }
    }

    fn write_gpe(&mut self, offset: u64, value: u8) {
        let shift = 8 * (offset & 1);
        let value = u16::from(value) << shift;
        self.gpe.change(|registers| match offset {
            0..2 => registers.status &= !value,
            _ => registers.enable = registers.enable & !(0xff << shift) | value,
        });
    }

    fn write_apm_control(&mut self, value: u8) {
        self.apm_control = value;
        match value {
            APM_ACPI_ENABLE => self.control.set_sci_enable(true),
            APM_ACPI_DISABLE => self.control.set_sci_enable(false),
            _ => self.log.warn("PIIX4_PM", format_args!("APM command {value:#04x} would need an SMI; ignored")),
        }
    }

    /// Where the I/O block decodes.
    fn block_base(&self) -> Option<u64> {
        let enabled = self.config.read_u8(config::PMREGMISC) & config::PMIOSE != 0;
        let base = self.config.read_u32(config::PMBA) & config::PMBA_ADDRESS;
        (enabled && base != 0).then_some(base.into())
    }

    /// Where the registers of the SMBus host decode.
    fn smbus_base(&self) -> Option<u64> {
        let enabled = self.config.read_u8(config::SMBHSTCFG) & config::SMB_HST_EN != 0;
        let base = self.config.read_u32(config::SMBBA) & config::PMBA_ADDRESS;
        (enabled && base != 0).then_some(base.into())
    }
}

fn byte(value: u32, index: u64) -> u8 {
    (value >> (8 * index)) as u8
}

impl Device for Piix4Pm {
    fn name(&self) -> &'static str {
        "PIIX4_PM"
    }

    fn reset(&mut self, _kind: ResetKind) {
        self.config.reset();
        self.smbus.reset();
        self.set_reset_values();
    }

    fn save(&self) -> State {
        let Self {
            clock: _,
            timers: _,
            sci: _,
            gpe,
            rtc: _,
            system: _,
            sleep: _,
            config,
            log: _,
            status: _,
            enable,
            control,
            timer_seen,
            apm_control,
            apm_status,
            smbus,
        } = self;
        let GpeRegisters { status: gpe_status, enable: gpe_enable } = gpe.registers();
        State::of(
            state::VERSION,
            &state::V1 {
                config: config.save(),
                pmsts: self.pm1_status().into_bits(),
                pmen: enable.into_bits(),
                pmcntrl: control.into_bits(),
                timer_seen: *timer_seen,
                gpe_status,
                gpe_enable,
                apm_control: *apm_control,
                apm_status: *apm_status,
                smbus: smbus.save(),
            },
        )
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 {
            config,
            pmsts,
            pmen,
            pmcntrl,
            timer_seen,
            gpe_status,
            gpe_enable,
            apm_control,
            apm_status,
            smbus,
        } = state.decode(state::VERSION)?;
        let smbus = Smbus::load(smbus)?;
        let check = |field, value: u16, exists: u16| match value & !exists {
            0 => Ok(()),
            extra => Err(StateError::invalid(field, format!("has bits that do not exist: {extra:#06x}"))),
        };
        check("pmsts", pmsts, PM1_STATUS)?;
        check("pmen", pmen, PM1_ENABLE)?;
        check("pmcntrl", pmcntrl, 0x1c03)?;
        if timer_seen > self.ticks() {
            return Err(StateError::invalid("timer_seen", format!("{timer_seen} is still to come")));
        }
        self.config.load(&config)?;
        let status = Pm1::from_bits(pmsts);
        self.status = status.with_rtc(false);
        self.rtc.set_status(status.rtc());
        self.enable = Pm1::from_bits(pmen);
        self.control = PmControl::from_bits(pmcntrl);
        self.timer_seen = timer_seen;
        self.gpe.change(|registers| *registers = GpeRegisters { status: gpe_status, enable: gpe_enable });
        self.apm_control = apm_control;
        self.apm_status = apm_status;
        self.smbus = smbus;
        self.settle();
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        out.register("PMSTS", self.pm1_status().into_bits(), 16);
        out.register("PMEN", self.enable.into_bits(), 16);
        out.register("PMCNTRL", self.control.into_bits(), 16);
        out.register("PMTMR", self.ticks() & ((1 << PM_TIMER_BITS) - 1), 24);
        let gpe = self.gpe.registers();
        out.register("GPSTS", gpe.status, 16);
        out.register("GPEN", gpe.enable, 16);
        out.register("APMC", self.apm_control, 8);
        out.register("APMS", self.apm_status, 8);
        self.smbus.inspect(out);
        out.flag("SCI", self.sci.level() || self.gpe.asserted() || self.rtc.asserted());
    }
}

impl IoDevice for Piix4Pm {
    fn read(&mut self, region: u16, offset: u64, size: u8) -> u64 {
        // Guests without a better clock read the timer all the time: nothing else is touched then.
        let mut changed = self.catch_up();
        let value = match region {
            id if id == PM_BLOCK.id => {
                let byte = |i| if i < usize::from(size) { self.read_block(offset + i as u64) } else { 0 };
                u64::from_le_bytes(std::array::from_fn(byte))
            }
            id if id == GPE0.id => {
                let GpeRegisters { status, enable } = self.gpe.registers();
                let block = u32::from(status) | u32::from(enable) << 16;
                u64::from(byte(block, offset))
            }
            id if id == SMBUS.id => {
                // To look at a transaction ends it.
                changed = true;
                u64::from(self.smbus.read(offset))
            }
            _ if offset == 0 => u64::from(self.apm_control),
            _ => u64::from(self.apm_status),
        };
        if changed {
            self.settle();
        }
        value
    }

    fn write(&mut self, region: u16, offset: u64, size: u8, value: u64) {
        self.catch_up();
        match region {
            id if id == PM_BLOCK.id => self.write_block(offset, size, value),
            id if id == GPE0.id => self.write_gpe(offset, value as u8),
            id if id == SMBUS.id => self.smbus.write(offset, value as u8),
            _ if offset == 0 => self.write_apm_control(value as u8),
            _ => self.apm_status = value as u8,
        }
        self.settle();
    }
}

impl TimerClient for Piix4Pm {
    fn timer_expired(&mut self, _timer: u32) {
        self.catch_up();
        self.settle();
    }
}

impl PciFunction for Piix4Pm {
    fn config(&self) -> &PciConfig {
        &self.config
    }

    fn config_mut(&mut self) -> &mut PciConfig {
        &mut self.config
    }

    fn windows(&self) -> Vec<(u64, Region)> {
        let block = self.block_base().map(|base| (base, PM_BLOCK));
        let smbus = self.smbus_base().map(|base| (base, SMBUS));
        block.into_iter().chain(smbus).collect()
    }

    fn config_written(&mut self, offset: u8, len: u8) {
        if offset <= config::SMBHSTCFG && u16::from(offset) + u16::from(len) > u16::from(config::SMBHSTCFG) {
            self.settle();
        }
    }
}

mod state {
    use serde::{Deserialize, Serialize};

    use super::{PciConfigState, smbus};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub config: PciConfigState,
        pub pmsts: u16,
        pub pmen: u16,
        pub pmcntrl: u16,
        pub timer_seen: u64,
        pub gpe_status: u16,
        pub gpe_enable: u16,
        pub apm_control: u8,
        pub apm_status: u8,
        pub smbus: smbus::state::Smbus,
    }
}

#[cfg(test)]
mod tests;
