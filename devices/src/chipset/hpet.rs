//! The High Precision Event Timers: one block of three timers on a 64-bit counter of 100 MHz.
//!
//! Follows the IA-PC HPET Specification 1.0a. Emulated: 32 and 64-bit timers, one-shot and periodic, edge and level
//! triggered; legacy replacement routing. Not offered, as in QEMU's default: delivery by messages (Tn_FSB_INT_DEL_CAP
//! reads 0). Each timer can be routed to I/O APIC input 2 only. Periodic interrupts come no closer together than
//! [`SHORTEST_PERIOD`](crate::base::timer::SHORTEST_PERIOD) where time flows by itself.

mod registers;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use self::registers::{CAPABILITIES, GenConf, ROUTE_INPUT, TimerConf, offset};
use crate::base::{
    AccessRule, Clock, Device, DeviceTimers, Inspector, IoDevice, IrqLine, Rate, Region, ResetKind, State, StateError,
    TimerClient,
};

/// Frequency of the main counter: a period of 10 ns.
const COUNTER: Rate = Rate::hz(100_000_000);
/// Number of timers.
pub const TIMERS: usize = 3;

/// Told when the HPET takes the place of the PIT on IRQ 0 and of the RTC on IRQ 8 (LEG_RT_CNF).
pub trait LegacyReplacement: Send {
    /// The HPET drives the legacy interrupts (`true`), or the PIT and the RTC do again.
    fn replace(&mut self, on: bool);
}

/// The interrupt lines of the block. Each timer has its own line to a shared input.
pub struct Lines {
    /// Timer 0 as the PIT: IRQ 0.
    pub legacy_0: IrqLine,
    /// Timer 1 as the RTC: IRQ 8.
    pub legacy_1: IrqLine,
    /// The timers on I/O APIC input 2.
    pub routed: [IrqLine; TIMERS],
}

#[derive(Clone, Copy, PartialEq)]
struct Timer {
    conf: TimerConf,
    /// Counter value of the next match.
    comparator: u64,
    /// Added to the comparator at each match of a periodic timer.
    period: u64,
}

impl Timer {
    const RESET: Self = Self { conf: TimerConf::RESET, comparator: u64::MAX, period: 0 };

    /// The bits of the counter that are compared.
    fn mask(&self) -> u64 {
        if self.conf.mode_32() { u32::MAX.into() } else { u64::MAX }
    }

    /// Ticks from `counter` to the next match, at least 1; a match at `counter` has been.
    fn distance(&self, counter: u64) -> u64 {
        match self.comparator.wrapping_sub(counter) & self.mask() {
            0 => self.mask().saturating_add(1),
            distance => distance,
        }
    }

    /// Lets the counter go from `counter` on by `ticks`; whether it met the comparator.
    fn advance(&mut self, counter: u64, ticks: u64) -> bool {
        let distance = self.distance(counter);
        let matched = distance <= ticks;
        if matched && self.conf.periodic() && self.period > 0 {
            let periods = (ticks - distance) / self.period + 1;
            self.comparator = self.comparator.wrapping_add(periods.wrapping_mul(self.period)) & self.mask();
        }
        matched
    }

    fn write_comparator(&mut self, half: u64, value: u32) {
        let merge = |old: u64| merge(old, half, value) & self.mask();
        let (comparator, period) = (merge(self.comparator), merge(self.period));
        if !self.conf.periodic() || self.conf.value_set() {
            self.comparator = comparator;
        }
        if self.conf.periodic() {
            self.period = period;
        }
        self.conf.set_value_set(false);
    }
}

/// Replaces the low (`half` 0) or high (`half` 4) half of a register.
fn merge(old: u64, half: u64, value: u32) -> u64 {
    if half == 0 {
        old & !u64::from(u32::MAX) | u64::from(value)
    } else {
        old & u64::from(u32::MAX) | u64::from(value) << 32
    }
}

/// The block.
pub struct Hpet {
    clock: Clock,
    deadlines: DeviceTimers,
    lines: Lines,
    legacy: Box<dyn LegacyReplacement>,
    conf: GenConf,
    /// Interrupt status of level-triggered timers.
    status: u64,
    /// The main counter as it was at `seen`.
    counter: u64,
    /// Clock time of the last update, in ticks of the counter.
    seen: u64,
    timers: [Timer; TIMERS],
}

impl Hpet {
    /// The register block.
    pub const REGION: Region = Region::memory(0, "hpet", 0x400, AccessRule::native(4, 8).guest(4, 8));

    /// A block in its reset state. `deadlines` must be attached to it by the board.
    #[must_use]
    pub fn new(clock: Clock, deadlines: DeviceTimers, lines: Lines, legacy: Box<dyn LegacyReplacement>) -> Self {
        Self {
            seen: COUNTER.ticks(clock.now()),
            clock,
            deadlines,
            lines,
            legacy,
            conf: GenConf::new(),
            status: 0,
            counter: 0,
            timers: [Timer::RESET; TIMERS],
        }
    }

    /// Brings counter, comparators and status up to date with the clock; raises what edges have come. Whether any has:
    /// if not, lines and deadlines are as they should be.
    fn catch_up(&mut self) -> bool {
        let now = COUNTER.ticks(self.clock.now());
        let ticks = now.saturating_sub(self.seen);
        self.seen = now;
        if !self.conf.enable() || ticks == 0 {
            return false;
        }
        let mut matched = false;
        for number in 0..TIMERS {
            let timer = &mut self.timers[number];
            if timer.advance(self.counter, ticks) {
                matched = true;
                let conf = timer.conf;
                if conf.level() {
                    self.status |= 1 << number;
                } else if conf.interrupt_enable()
                    && let Some(line) = self.line(number)
                {
                    line.pulse();
                }
            }
        }
        self.counter = self.counter.wrapping_add(ticks);
        matched
    }

    /// The line that timer `number` drives now; none if it is routed to an input it can't reach.
    fn line(&self, number: usize) -> Option<&IrqLine> {
        match (self.conf.legacy_replacement(), number) {
            (true, 0) => Some(&self.lines.legacy_0),
            (true, 1) => Some(&self.lines.legacy_1),
            _ => (u32::from(self.timers[number].conf.route()) == ROUTE_INPUT).then(|| &self.lines.routed[number]),
        }
    }

    /// Drives level-triggered lines and arms the next edge of each timer that anybody can see.
    fn settle(&self) {
        let replaced = self.conf.legacy_replacement();
        self.lines.legacy_0.set(replaced && self.asserted(0));
        self.lines.legacy_1.set(replaced && self.asserted(1));
        for (number, (timer, line)) in self.timers.iter().zip(&self.lines.routed).enumerate() {
            line.set(self.asserted(number) && self.line(number).is_some_and(|drives| std::ptr::eq(drives, line)));

            let visible = self.conf.enable() && timer.conf.interrupt_enable() && self.status >> number & 1 == 0;
            let deadline = visible.then(|| COUNTER.ns_at(self.seen.saturating_add(timer.distance(self.counter))));
            // Beyond the end of time there is no deadline.
            let deadline = deadline.filter(|deadline| *deadline < u64::MAX);
            match timer.conf.periodic() {
                true => self.deadlines.set_periodic(number as u32, deadline),
                false => self.deadlines.set(number as u32, deadline),
            }
        }
    }

    fn asserted(&self, number: usize) -> bool {
        let conf = self.timers[number].conf;
        self.conf.enable() && conf.level() && conf.interrupt_enable() && self.status >> number & 1 != 0
    }

    fn read_register(&self, at: u64) -> u64 {
        match at {
            offset::CAPABILITIES => CAPABILITIES,
            offset::CONFIGURATION => self.conf.into_bits(),
            offset::STATUS => self.status,
            offset::COUNTER => self.counter,
            _ => match (offset::timer(at), at % offset::TIMER_STRIDE) {
                (Some(number), offset::TIMER_CONF) => self.timers[number].conf.into_bits(),
                (Some(number), offset::TIMER_COMPARATOR) => self.timers[number].comparator,
                _ => 0,
            },
        }
    }

    /// Writes half a register: `half` is 0 or 4. Whether there is anything to write.
    fn write_half(&mut self, at: u64, half: u64, value: u32) -> bool {
        match at {
            offset::CONFIGURATION if half == 0 => self.write_configuration(value),
            // Write 1 to clear.
            offset::STATUS if half == 0 => self.status &= !u64::from(value),
            offset::COUNTER => self.counter = merge(self.counter, half, value),
            _ => match (offset::timer(at), at % offset::TIMER_STRIDE) {
                (Some(number), offset::TIMER_CONF) if half == 0 => self.write_timer_conf(number, value),
                (Some(number), offset::TIMER_COMPARATOR) => self.timers[number].write_comparator(half, value),
                // The rest is read only or reserved.
                _ => return false,
            },
        }
        true
    }

    fn write_configuration(&mut self, value: u32) {
        let written = GenConf::from_bits(value.into());
        let replaced = self.conf.legacy_replacement();
        self.conf = GenConf::new().with_enable(written.enable()).with_legacy_replacement(written.legacy_replacement());
        if replaced != self.conf.legacy_replacement() {
            self.legacy.replace(!replaced);
        }
    }

    fn write_timer_conf(&mut self, number: usize, value: u32) {
        let timer = &mut self.timers[number];
        timer.conf = timer.conf.written(value);
        // A timer of 32 bits has no others (specification 2.3.9.1).
        timer.comparator &= timer.mask();
        timer.period &= timer.mask();
        if !timer.conf.level() {
            self.status &= !(1 << number);
        }
    }
}

impl Device for Hpet {
    fn name(&self) -> &'static str {
        "hpet"
    }

    fn reset(&mut self, _kind: ResetKind) {
        self.seen = COUNTER.ticks(self.clock.now());
        self.status = 0;
        self.counter = 0;
        self.timers = [Timer::RESET; TIMERS];
        self.write_configuration(0);
        self.settle();
    }

    fn save(&self) -> State {
        let Self { clock: _, deadlines: _, lines: _, legacy: _, conf, status, counter, seen, timers } = self;
        let timers = timers.map(|Timer { conf, comparator, period }| state::TimerV1 {
            conf: conf.into_bits(),
            comparator,
            period,
        });
        let (conf, status, counter, seen) = (conf.into_bits(), *status, *counter, *seen);
        State::of(state::VERSION, &state::V1 { conf, status, counter, seen, timers })
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 { conf, status, counter, seen, timers } = state.decode(state::VERSION)?;
        if conf & !registers::GEN_CONF_WRITABLE != 0 {
            return Err(StateError::invalid("conf", format!("{conf:#x} has bits that do not exist")));
        }
        if status >> TIMERS != 0 {
            return Err(StateError::invalid("status", format!("{status:#x} has timers that do not exist")));
        }
        let mut loaded = [Timer::RESET; TIMERS];
        for (timer, state::TimerV1 { conf, comparator, period }) in loaded.iter_mut().zip(timers) {
            if TimerConf::RESET.written(conf as u32).into_bits() != conf {
                return Err(StateError::invalid("timers", format!("configuration {conf:#x} can't be reached")));
            }
            *timer = Timer { conf: TimerConf::from_bits(conf), comparator, period };
            if (comparator | period) & !timer.mask() != 0 {
                return Err(StateError::invalid("timers", "a timer of 32 bits holds more"));
            }
        }
        self.timers = loaded;
        self.status = status;
        self.counter = counter;
        self.seen = seen;
        self.write_configuration(conf as u32);
        self.settle();
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        out.register("GEN_CONF", self.conf.into_bits(), 64);
        out.register("GINTR_STA", self.status, 64);
        out.register("MAIN_CNT", self.counter, 64);
        for (number, timer) in self.timers.iter().enumerate() {
            out.register(format!("TIM{number}_CONF"), timer.conf.into_bits(), 64);
            out.register(format!("TIM{number}_COMP"), timer.comparator, 64);
            out.register(format!("period {number}"), timer.period, 64);
        }
    }
}

impl IoDevice for Hpet {
    fn read(&mut self, _region: u16, offset: u64, size: u8) -> u64 {
        if self.catch_up() {
            self.settle();
        }
        let value = self.read_register(offset & !7);
        match (size, offset & 4) {
            (8, _) => value,
            (_, 0) => value & u64::from(u32::MAX),
            _ => value >> 32,
        }
    }

    fn write(&mut self, _region: u16, offset: u64, size: u8, value: u64) {
        let matched = self.catch_up();
        let written = if size == 8 {
            let set = self.timers;
            let low = self.write_half(offset, 0, value as u32);
            // Both halves of one write are one value: the first must not have used up VAL_SET.
            if let (Some(number), offset::TIMER_COMPARATOR) = (offset::timer(offset), offset % offset::TIMER_STRIDE) {
                self.timers[number].conf = set[number].conf;
            }
            self.write_half(offset, 4, (value >> 32) as u32) || low
        } else {
            self.write_half(offset & !7, offset & 4, value as u32)
        };
        if matched || written {
            self.settle();
        }
    }
}

impl TimerClient for Hpet {
    fn timer_expired(&mut self, _timer: u32) {
        self.catch_up();
        self.settle();
    }
}

mod state {
    use super::{Deserialize, Serialize, TIMERS};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct TimerV1 {
        pub conf: u64,
        pub comparator: u64,
        pub period: u64,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub conf: u64,
        pub status: u64,
        pub counter: u64,
        pub seen: u64,
        pub timers: [TimerV1; TIMERS],
    }
}
