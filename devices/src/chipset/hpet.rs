//! The High Precision Event Timers: one block of 3 to 24 timers on a 64-bit counter of 100 MHz.
//!
//! Follows the IA-PC HPET Specification 1.0a. Emulated: 32 and 64-bit timers, one-shot and periodic, edge and level
//! triggered; legacy replacement routing; routes to the inputs of the I/O APIC that the board has wires to, and delivery by
//! messages to the front side bus, if the board lets them out (Tn_FSB_INT_DEL_CAP). A message is an edge: Tn_INT_TYPE_CNF means
//! nothing to it. More timers than 24 do not fit into the 1024 bytes of the block. Periodic interrupts come no closer together than
//! [`SHORTEST_PERIOD`](crate::base::timer::SHORTEST_PERIOD) where time flows by itself.

mod registers;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

pub use self::registers::capabilities;
use self::registers::{GenConf, TimerConf, offset};
use crate::base::msi::Msi;
use crate::base::{
    AccessRule, Clock, Device, DeviceTimers, Inspector, IoDevice, IrqLine, Rate, Region, ResetKind, State, StateError,
    TimerClient,
};
use crate::pci::msi::MessagePort;

/// Frequency of the main counter: a period of 10 ns.
const COUNTER: Rate = Rate::hz(100_000_000);
/// How many timers a block can have: at least the three of the specification (2.2), at most what its registers have room for.
pub const TIMERS: RangeInclusive<u8> = 3..=24;
/// Timers that legacy replacement takes.
const LEGACY_TIMERS: usize = 2;

/// Told when the HPET takes the place of the PIT on IRQ 0 and of the RTC on IRQ 8 (LEG_RT_CNF).
pub trait LegacyReplacement: Send {
    /// The HPET drives the legacy interrupts (`true`), or the PIT and the RTC do again.
    fn replace(&mut self, on: bool);
}

/// Where the interrupts of the block leave it. Each timer has its own line to a shared input.
pub struct Outputs {
    /// Timer 0 as the PIT: IRQ 0.
    pub legacy_0: IrqLine,
    /// Timer 1 as the RTC: IRQ 8.
    pub legacy_1: IrqLine,
    /// For each timer of the block, lines to the inputs of the I/O APIC (0 to 31) that it can be routed to.
    pub routed: Vec<BTreeMap<u8, IrqLine>>,
    /// Messages of the timers, if they can send any.
    pub messages: Option<MessagePort>,
}

impl Outputs {
    /// The timers of the block after reset.
    fn timers(&self) -> Vec<Timer> {
        let timer = |routes: &BTreeMap<u8, IrqLine>| {
            let routes = routes.keys().fold(0, |mask, input| mask | 1_u32.unbounded_shl((*input).into()));
            let conf = TimerConf::reset(routes, self.messages.is_some());
            Timer { conf, comparator: u64::MAX, period: 0, fsb_route: 0 }
        };
        self.routed.iter().map(timer).collect()
    }
}

#[derive(Clone, Copy, PartialEq)]
struct Timer {
    conf: TimerConf,
    /// Counter value of the next match.
    comparator: u64,
    /// Added to the comparator at each match of a periodic timer.
    period: u64,
    /// Tn_FSB_INT_VAL in the low half, Tn_FSB_INT_ADDR in the high one.
    fsb_route: u64,
}

impl Timer {
    /// The message of the timer.
    fn message(&self) -> Msi {
        Msi { address: self.fsb_route >> 32, data: self.fsb_route as u32 }
    }

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
    outputs: Outputs,
    legacy: Box<dyn LegacyReplacement>,
    conf: GenConf,
    /// Interrupt status of level-triggered timers.
    status: u64,
    /// The main counter as it was at `seen`.
    counter: u64,
    /// Clock time of the last update, in ticks of the counter.
    seen: u64,
    timers: Vec<Timer>,
}

impl Hpet {
    /// The register block.
    pub const REGION: Region = Region::memory(0, "hpet", 0x400, AccessRule::native(4, 8).guest(4, 8));

    /// A block in its reset state, with as many timers as there are `outputs` for ([`TIMERS`]). `deadlines` must be attached to
    /// it by the board.
    #[must_use]
    pub fn new(clock: Clock, deadlines: DeviceTimers, outputs: Outputs, legacy: Box<dyn LegacyReplacement>) -> Self {
        Self {
            seen: COUNTER.ticks(clock.now()),
            clock,
            deadlines,
            timers: outputs.timers(),
            outputs,
            legacy,
            conf: GenConf::new(),
            status: 0,
            counter: 0,
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
        for number in 0..self.timers.len() {
            if self.timers[number].advance(self.counter, ticks) {
                matched = true;
                self.match_of(number);
            }
        }
        self.counter = self.counter.wrapping_add(ticks);
        matched
    }

    /// The counter has met the comparator of timer `number`.
    fn match_of(&mut self, number: usize) {
        let timer = &self.timers[number];
        let conf = timer.conf;
        if self.sends(number) {
            if let Some(messages) = self.outputs.messages.as_ref().filter(|_| conf.interrupt_enable()) {
                messages.send(timer.message());
            }
        } else if conf.level() {
            self.status |= 1 << number;
        } else if conf.interrupt_enable()
            && let Some(line) = self.line(number)
        {
            line.pulse();
        }
    }

    /// Whether legacy replacement has taken timer `number`: its own routes mean nothing then (specification 2.3.5).
    fn is_replaced(&self, number: usize) -> bool {
        self.conf.legacy_replacement() && number < LEGACY_TIMERS
    }

    /// Whether timer `number` interrupts by messages.
    fn sends(&self, number: usize) -> bool {
        self.timers[number].conf.fsb_enable() && !self.is_replaced(number)
    }

    /// The line that timer `number` drives now; none if it sends messages, or is routed to an input it can't reach.
    fn line(&self, number: usize) -> Option<&IrqLine> {
        match number {
            _ if self.sends(number) => None,
            0 if self.is_replaced(number) => Some(&self.outputs.legacy_0),
            1 if self.is_replaced(number) => Some(&self.outputs.legacy_1),
            _ => self.outputs.routed[number].get(&self.timers[number].conf.route()),
        }
    }

    /// Drives level-triggered lines and arms the next edge of each timer that anybody can see.
    fn settle(&self) {
        let replaced = self.conf.legacy_replacement();
        self.outputs.legacy_0.set(replaced && self.asserted(0));
        self.outputs.legacy_1.set(replaced && self.asserted(1));
        for (number, (timer, lines)) in self.timers.iter().zip(&self.outputs.routed).enumerate() {
            let driven = self.line(number).filter(|_| self.asserted(number));
            for line in lines.values() {
                line.set(driven.is_some_and(|driven| std::ptr::eq(driven, line)));
            }

            let interrupted = self.status >> number & 1 != 0 && !self.sends(number);
            let visible = self.conf.enable() && timer.conf.interrupt_enable() && !interrupted;
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

    /// The timer whose register is at an offset.
    fn timer(&self, at: u64) -> Option<usize> {
        offset::timer(at).filter(|number| *number < self.timers.len())
    }

    fn read_register(&self, at: u64) -> u64 {
        match at {
            offset::CAPABILITIES => capabilities(self.timers.len() as u8),
            offset::CONFIGURATION => self.conf.into_bits(),
            offset::STATUS => self.status,
            offset::COUNTER => self.counter,
            _ => match (self.timer(at), at % offset::TIMER_STRIDE) {
                (Some(number), offset::TIMER_CONF) => self.timers[number].conf.into_bits(),
                (Some(number), offset::TIMER_COMPARATOR) => self.timers[number].comparator,
                (Some(number), offset::TIMER_FSB_ROUTE) => self.timers[number].fsb_route,
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
            _ => match (self.timer(at), at % offset::TIMER_STRIDE) {
                (Some(number), offset::TIMER_CONF) if half == 0 => self.write_timer_conf(number, value),
                (Some(number), offset::TIMER_COMPARATOR) => self.timers[number].write_comparator(half, value),
                (Some(number), offset::TIMER_FSB_ROUTE) if self.outputs.messages.is_some() => {
                    let route = &mut self.timers[number].fsb_route;
                    *route = merge(*route, half, value);
                }
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
        self.timers = self.outputs.timers();
        self.write_configuration(0);
        self.settle();
    }

    fn save(&self) -> State {
        let Self { clock: _, deadlines: _, outputs: _, legacy: _, conf, status, counter, seen, timers } = self;
        let timers = timers.iter().map(|&Timer { conf, comparator, period, fsb_route }| state::TimerV1 {
            conf: conf.into_bits(),
            comparator,
            period,
            fsb_route,
        });
        let timers = timers.collect();
        let (conf, status, counter, seen) = (conf.into_bits(), *status, *counter, *seen);
        State::of(state::VERSION, &state::V1 { conf, status, counter, seen, timers })
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 { conf, status, counter, seen, timers } = state.decode(state::VERSION)?;
        if conf & !registers::GEN_CONF_WRITABLE != 0 {
            return Err(StateError::invalid("conf", format!("{conf:#x} has bits that do not exist")));
        }
        let mut loaded = self.outputs.timers();
        if timers.len() != loaded.len() {
            return Err(StateError::invalid("timers", format!("{} instead of {}", timers.len(), loaded.len())));
        }
        if status >> loaded.len() != 0 {
            return Err(StateError::invalid("status", format!("{status:#x} has timers that do not exist")));
        }
        for (timer, state::TimerV1 { conf, comparator, period, fsb_route }) in loaded.iter_mut().zip(timers) {
            if timer.conf.written(conf as u32).into_bits() != conf {
                return Err(StateError::invalid("timers", format!("configuration {conf:#x} can't be reached")));
            }
            if fsb_route != 0 && self.outputs.messages.is_none() {
                return Err(StateError::invalid("timers", "there is a message, but no way to send it"));
            }
            *timer = Timer { conf: TimerConf::from_bits(conf), comparator, period, fsb_route };
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
            if timer.conf.fsb_capable() {
                out.register(format!("TIM{number}_FSB"), timer.fsb_route, 64);
            }
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
            let comparator = self.timer(offset).filter(|_| offset % offset::TIMER_STRIDE == offset::TIMER_COMPARATOR);
            let set = comparator.map(|number| (number, self.timers[number].conf));
            let low = self.write_half(offset, 0, value as u32);
            // Both halves of one write are one value: the first must not have used up VAL_SET.
            if let Some((number, conf)) = set {
                self.timers[number].conf = conf;
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
    use super::{Deserialize, Serialize};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct TimerV1 {
        pub conf: u64,
        pub comparator: u64,
        pub period: u64,
        pub fsb_route: u64,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub conf: u64,
        pub status: u64,
        pub counter: u64,
        pub seen: u64,
        pub timers: Vec<TimerV1>,
    }
}
