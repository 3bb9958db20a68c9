//! The watchdog timer of the Intel 6300ESB I/O controller hub, PCI function 8086:25ab (`i6300esb`).
//!
//! Follows Intel 300641, chapter "Watchdog Timer". Emulated: both stages with their preload values and both clocks, the
//! unlocking sequence of the memory registers, the configuration and lock registers, free running mode, the flag that tells
//! what ran out of time before the last reset. When the second stage runs out the watchdog fires: what becomes of the machine
//! is the user's choice (`-action watchdog=`), which stands for the WDT_TOUT# pin.
//!
//! The first stage sets its status bit, but raises no interrupt: the chip sends it by pins that a PC of the 440FX does not have
//! (QEMU does not send it either). As in QEMU the timed-out flag also shows in bit 12 of the reload register, where old
//! Linux drivers look for it and clear it, and the unlocking sequence may be written by accesses of any size.

use std::sync::Arc;

use crate::base::{
    AccessRule, Clock, Device, DeviceTimers, Inspector, IoDevice, Rate, Region, ResetKind, State, StateError,
    SystemControl, SystemRequest, TimerClient,
};
use crate::pci::{Bar, BarKind, PciConfig, PciConfigBuilder, PciConfigState, PciFunction};

/// Registers in configuration space.
mod config {
    pub const WDT_CONFIG: u8 = 0x60;
    pub const WDT_LOCK: u8 = 0x68;
    /// What the first stage sends: storage.
    pub const INT_TYPE: u16 = 0b11;
    /// The clock is 1 MHz instead of 1 kHz.
    pub const PRE_SEL: u16 = 1 << 2;
    /// The second stage does not drive the output pin.
    pub const OUTPUT_DISABLED: u16 = 1 << 5;
    /// WDT_LOCK keeps its value until the next reset.
    pub const LOCK: u8 = 1 << 0;
    pub const ENABLE: u8 = 1 << 1;
    /// Free running: the stages follow each other without end and without a status, unless the second one fires.
    pub const FREE_RUNNING: u8 = 1 << 2;
}

/// Registers in memory space.
mod reg {
    pub const PRELOAD_1: u64 = 0x00;
    pub const PRELOAD_2: u64 = 0x04;
    pub const INTERRUPT_STATUS: u64 = 0x08;
    pub const RELOAD: u64 = 0x0c;
    pub const PRELOAD_MASK: u32 = 0xf_ffff;
    /// Starts the first stage anew.
    pub const RELOAD_COUNTERS: u16 = 1 << 8;
    /// The second stage ran out before the last reset; write 1 to clear.
    pub const TIMED_OUT: u16 = 1 << 9;
    /// Where old Linux drivers look for it, and clear it.
    pub const TIMED_OUT_OLD: u16 = 1 << 12;
    pub const UNLOCK: [u16; 2] = [0x80, 0x86];
    /// The first stage ran out; write 1 to clear.
    pub const STAGE_1_STATUS: u8 = 1 << 0;
}

/// The PCI clock, which a 35-bit counter divides: the preload values are its highest 20 bits, or 10 bits further down.
const PCI_CLOCK: Rate = Rate::hz(33_000_000);
const SHIFT_1_KHZ: u32 = 15;
const SHIFT_1_MHZ: u32 = 5;

const COUNTDOWN: u32 = 0;
/// The deadline of a stage that nobody would see run out.
const UNSEEN: u64 = u64::MAX;

/// A running countdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Running {
    second_stage: bool,
    /// In guest nanoseconds.
    deadline: u64,
}

/// The watchdog.
pub struct I6300Esb {
    clock: Clock,
    timers: DeviceTimers,
    system: Arc<dyn SystemControl>,
    config: PciConfig,
    preload: [u32; 2],
    /// How much of the unlocking sequence was written.
    unlocked: u8,
    stage_1_status: bool,
    timed_out: bool,
    running: Option<Running>,
}

impl I6300Esb {
    /// The register block.
    pub const REGION: Region = Region::memory(0, "i6300esb", 0x10, AccessRule::native(1, 4));

    /// A watchdog that is not running. `timers` must be attached to it by the board.
    #[must_use]
    pub fn new(clock: Clock, timers: DeviceTimers, system: Arc<dyn SystemControl>) -> Self {
        let writable = config::INT_TYPE | config::PRE_SEL | config::OUTPUT_DISABLED;
        let config = PciConfigBuilder::new(0x8086, 0x25ab, 0x08_8000)
            .bar(0, Bar { region: Self::REGION, kind: BarKind::Memory32 { prefetchable: false } })
            .writable(config::WDT_CONFIG, &writable.to_le_bytes())
            .writable(config::WDT_LOCK, &[config::LOCK | config::ENABLE | config::FREE_RUNNING])
            .build();
        Self {
            clock,
            timers,
            system,
            config,
            preload: [reg::PRELOAD_MASK; 2],
            unlocked: 0,
            stage_1_status: false,
            timed_out: false,
            running: None,
        }
    }

    fn run(&mut self, running: Option<Running>) {
        self.running = running;
        let deadline = running.map(|running| running.deadline);
        self.timers.set(COUNTDOWN, deadline.filter(|deadline| *deadline != UNSEEN));
    }

    /// Starts a stage that begins at `from`.
    fn start(&mut self, second_stage: bool, from: u64) {
        let fast = self.config.read_u16(config::WDT_CONFIG) & config::PRE_SEL != 0;
        let shift = if fast { SHIFT_1_MHZ } else { SHIFT_1_KHZ };
        let deadline = from.saturating_add(stage_length(self.preload[usize::from(second_stage)], shift));
        self.run(Some(Running { second_stage, deadline }));
    }

    fn lock_bits(&self) -> u8 {
        self.config.read_u8(config::WDT_LOCK)
    }

    fn lock_written(&mut self) {
        let lock = self.lock_bits();
        if lock & config::LOCK != 0 {
            self.config.restrict(config::WDT_LOCK, 0);
        }
        match (lock & config::ENABLE != 0, self.running) {
            (true, None) => self.start(false, self.clock.now()),
            (false, Some(_)) => self.run(None),
            _ => self.look_again(),
        }
    }

    /// The registers that say what can be seen of the stages were written.
    fn look_again(&mut self) {
        if self.running.is_some_and(|running| running.deadline == UNSEEN) {
            self.start(false, self.clock.now());
        }
    }

    /// A write to a register that the unlocking sequence protects.
    fn write_protected(&mut self, offset: u64, value: u32) {
        match offset {
            reg::PRELOAD_1 => self.preload[0] = value & reg::PRELOAD_MASK,
            reg::PRELOAD_2 => self.preload[1] = value & reg::PRELOAD_MASK,
            reg::INTERRUPT_STATUS => self.stage_1_status &= value as u8 & reg::STAGE_1_STATUS == 0,
            reg::RELOAD => {
                if value as u16 & reg::RELOAD_COUNTERS != 0 && self.running.is_some() {
                    self.start(false, self.clock.now());
                }
                self.timed_out &= value as u16 & (reg::TIMED_OUT | reg::TIMED_OUT_OLD) == 0;
            }
            _ => {}
        }
    }

    /// Resets what is the watchdog's own. The header stays: a machine that goes on finds the registers where they were.
    fn reset_registers(&mut self) {
        self.config.restrict(config::WDT_LOCK, config::LOCK | config::ENABLE | config::FREE_RUNNING);
        self.config.put(config::WDT_CONFIG, &[0; 2]);
        self.config.put(config::WDT_LOCK, &[0]);
        self.preload = [reg::PRELOAD_MASK; 2];
        self.unlocked = 0;
        self.stage_1_status = false;
        self.run(None);
    }

    /// Checks the stage of a saved state against the registers that let it run, whose length has been checked.
    fn check_running(&self, running: Running, config: &PciConfigState) -> Result<(), StateError> {
        let Running { second_stage, deadline } = running;
        let invalid = |why| Err(StateError::invalid("running", why));
        let register = |at: u8| config.bytes(at.into()..usize::from(at) + 1).first().copied().unwrap_or(0);
        let lock = register(config::WDT_LOCK);
        if lock & config::ENABLE == 0 {
            return invalid("it was never enabled");
        }
        if deadline == UNSEEN {
            let output_disabled = register(config::WDT_CONFIG) & config::OUTPUT_DISABLED as u8 != 0;
            let unseen = !second_stage && output_disabled && lock & config::FREE_RUNNING != 0;
            return if unseen { Ok(()) } else { invalid("somebody would see the end of this stage") };
        }
        let longest = stage_length(reg::PRELOAD_MASK, SHIFT_1_KHZ);
        if deadline > self.clock.now().saturating_add(longest) {
            return invalid("the stage is longer than any");
        }
        Ok(())
    }

    fn register(&self, offset: u64) -> u32 {
        match offset {
            reg::PRELOAD_1 => self.preload[0],
            reg::PRELOAD_2 => self.preload[1],
            reg::INTERRUPT_STATUS => u32::from(self.stage_1_status),
            reg::RELOAD if self.timed_out => u32::from(reg::TIMED_OUT | reg::TIMED_OUT_OLD),
            _ => 0,
        }
    }
}

/// Nanoseconds that a stage with this preload value takes.
fn stage_length(preload: u32, shift: u32) -> u64 {
    PCI_CLOCK.ns_at(u64::from(preload) << shift)
}

impl TimerClient for I6300Esb {
    fn timer_expired(&mut self, _timer: u32) {
        let Some(Running { second_stage, deadline }) = self.running else { return };
        if deadline > self.clock.now() {
            return;
        }
        let free_running = self.lock_bits() & config::FREE_RUNNING != 0;
        if !second_stage {
            self.stage_1_status |= !free_running;
            self.start(true, deadline);
        } else if self.config.read_u16(config::WDT_CONFIG) & config::OUTPUT_DISABLED == 0 {
            self.timed_out = true;
            self.run(None);
            self.system.request(SystemRequest::Watchdog);
            // As QEMU does, so that a machine that goes on has a quiet watchdog.
            self.reset_registers();
        } else if free_running {
            // The stages run on and on, but neither sets anything: wait until that changes.
            self.run(Some(Running { second_stage: false, deadline: UNSEEN }));
        } else {
            self.run(None);
        }
    }
}

impl IoDevice for I6300Esb {
    fn read(&mut self, _region: u16, offset: u64, size: u8) -> u64 {
        if offset & !3 == reg::RELOAD {
            self.unlocked = 0;
        }
        let value = self.register(offset & !3) >> (8 * (offset & 3));
        u64::from(value) & (u64::MAX >> (64 - 8 * u32::from(size)))
    }

    fn write(&mut self, _region: u16, offset: u64, size: u8, value: u64) {
        // A protected register is written as a whole: what a narrower access could hold of one is no register.
        let value = value as u32;
        if offset == reg::RELOAD {
            let step = usize::from(self.unlocked);
            if reg::UNLOCK.get(step).is_some_and(|key| u32::from(*key) == value) {
                self.unlocked += 1;
                return;
            }
        }
        let whole = if offset == reg::RELOAD { size >= 2 } else { size == 4 };
        if usize::from(self.unlocked) == reg::UNLOCK.len() && whole {
            self.write_protected(offset, value);
        }
        self.unlocked = 0;
    }
}

impl PciFunction for I6300Esb {
    fn config(&self) -> &PciConfig {
        &self.config
    }

    fn config_mut(&mut self) -> &mut PciConfig {
        &mut self.config
    }

    fn config_written(&mut self, offset: u8, len: u8) {
        if offset <= config::WDT_LOCK && u16::from(offset) + u16::from(len) > u16::from(config::WDT_LOCK) {
            self.lock_written();
        } else if offset < config::WDT_CONFIG + 2 && u16::from(offset) + u16::from(len) > config::WDT_CONFIG.into() {
            self.look_again();
        }
    }
}

impl Device for I6300Esb {
    fn name(&self) -> &'static str {
        "i6300esb"
    }

    fn reset(&mut self, kind: ResetKind) {
        // The flag tells the next start what ended this one.
        self.timed_out &= kind != ResetKind::PowerOn;
        self.config.reset();
        self.reset_registers();
    }

    fn save(&self) -> State {
        let Self { clock: _, timers: _, system: _, config, preload, unlocked, stage_1_status, timed_out, running } =
            self;
        State::of(
            state::VERSION,
            &state::V1 {
                config: config.save(),
                preload: *preload,
                unlocked: *unlocked,
                stage_1_status: *stage_1_status,
                timed_out: *timed_out,
                running: running.map(|running| (running.second_stage, running.deadline)),
            },
        )
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 { config, preload, unlocked, stage_1_status, timed_out, running } =
            state.decode(state::VERSION)?;
        if preload.iter().any(|value| value & !reg::PRELOAD_MASK != 0) {
            return Err(StateError::invalid("preload", "a value has more than 20 bits"));
        }
        if usize::from(unlocked) > reg::UNLOCK.len() {
            return Err(StateError::invalid("unlocked", format!("{unlocked} is more than the sequence has")));
        }
        let running = running.map(|(second_stage, deadline)| Running { second_stage, deadline });
        self.config.check(&config)?;
        if let Some(running) = running {
            self.check_running(running, &config)?;
        }
        self.config.load(&config)?;
        let locked = self.lock_bits() & config::LOCK != 0;
        let writable = config::LOCK | config::ENABLE | config::FREE_RUNNING;
        self.config.restrict(config::WDT_LOCK, if locked { 0 } else { writable });
        self.preload = preload;
        self.unlocked = unlocked;
        self.stage_1_status = stage_1_status;
        self.timed_out = timed_out;
        self.run(running);
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        out.register("PRELOAD1", self.preload[0], 20);
        out.register("PRELOAD2", self.preload[1], 20);
        out.register("GISR", u8::from(self.stage_1_status), 8);
        out.flag("timed out", self.timed_out);
        out.register("WDT_CONFIG", self.config.read_u16(config::WDT_CONFIG), 16);
        out.register("WDT_LOCK", self.lock_bits(), 8);
        out.number("stage", self.running.map_or(0, |running| 1 + u64::from(running.second_stage)));
    }
}

mod state {
    use serde::{Deserialize, Serialize};

    use super::PciConfigState;

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub config: PciConfigState,
        pub preload: [u32; 2],
        pub unlocked: u8,
        pub stage_1_status: bool,
        pub timed_out: bool,
        /// Whether it is in the second stage, and when that ends.
        pub running: Option<(bool, u64)>,
    }
}

#[cfg(test)]
mod tests;
