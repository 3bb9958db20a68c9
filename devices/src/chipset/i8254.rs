//! The interval timer of the PC: an 8254, with port 61h through which its third counter is used.
//!
//! Follows the 8254 data sheet and Intel 290550 (PIIX3). Ports on a PC: 40h to 43h, and 61h. Counter 0 interrupts, counter 1
//! once timed refresh cycles, counter 2 drives the speaker.
//!
//! Emulated: all modes in binary and BCD, gates, latches, read-back with status and null count, loading of counts as the
//! data sheet's timing diagrams have it, to the tick of 1193182 Hz. Port 61h: gate and output of counter 2, speaker
//! enable, the refresh toggle; nothing raises SERR# or IOCHK#. A [`Speaker`] is told of tones. Before its first control word a
//! counter is as in QEMU and KVM (mode 3, full count), where the data sheet says nothing.
//!
//! Interrupts that the guest did not take in time, or that were due while the host did not run natoma, are delivered
//! later with [`LostTicks::Delay`], for guests that count them to tell the time. They come no closer together than
//! [`SHORTEST_PERIOD`](crate::base::timer::SHORTEST_PERIOD) where time flows by itself, whatever the count.

mod counter;
mod registers;
mod speaker;
#[cfg(test)]
mod tests;

use counter::{Counter, Load, Run};
use registers::{Access, CONTROL, ControlWord, HZ, Mode, NmiStatusControl, READ_BACK, REFRESH_TICKS, ReadBack};
pub use speaker::{Speaker, Tone};

use crate::base::{
    AccessRule, Clock, Delivery, Device, DeviceTimers, Inspector, IoDevice, IrqLine, Rate, Region, ResetKind, State,
    StateError, TimerClient,
};

const RATE: Rate = Rate::hz(HZ);
const COUNTERS: usize = 3;

/// Timers: the next edge of counter 0; the next attempt to deliver a lost tick.
const NEXT_EDGE: u32 = 0;
const REINJECT: u32 = 1;
/// Nanoseconds between attempts to deliver a lost tick: short against any period that guests count, long against an
/// interrupt handler.
const REINJECT_INTERVAL: u64 = 500_000;
/// Ticks that are delivered late at most: a quarter of an hour at 1000 Hz. A guest that is behind by more has lost its time.
const MOST_LOST: u64 = 1_000_000;
/// Ticks in half a century: a saved counter lies not further back, nor its count further ahead than its longest period.
const LONGEST_UPTIME: i64 = 1 << 51;

/// Windows.
mod window {
    pub const COUNTERS: u16 = 0;
    pub const PORT_61: u16 = 1;
}

/// What becomes of interrupts of counter 0 that come while one is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostTicks {
    /// They are lost, as on the real chip.
    Discard,
    /// They are delivered when the guest has taken the one before.
    Delay,
}

/// The timer.
pub struct I8254 {
    clock: Clock,
    timers: DeviceTimers,
    /// Follows OUT of counter 0 from its first change after a reset on: a counter that starts high is no interrupt.
    irq: IrqLine,
    /// OUT of counter 0 as it was last.
    out: bool,
    lost_ticks: LostTicks,
    counters: [Counter; COUNTERS],
    port_61: NmiStatusControl,
    speaker: Box<dyn Speaker>,
    /// What the speaker was told last.
    tone: Option<Tone>,
    /// Interrupts to be delivered late.
    lost: u64,
    /// When the next of them is attempted, while there are any.
    reinject_at: Option<u64>,
    /// Deadlines of [`NEXT_EDGE`] and [`REINJECT`] as armed in the queue: programs poll the ports.
    armed: [Option<u64>; 2],
}

impl I8254 {
    /// Windows: counters and control word, port 61h.
    pub const REGIONS: [Region; 2] = [
        Region::ports(window::COUNTERS, "pit", 4, AccessRule::BYTE),
        Region::ports(window::PORT_61, "pcspk", 1, AccessRule::BYTE),
    ];

    /// A timer in its reset state; `irq` is OUT of counter 0. `timers` must be attached to it by the board.
    #[must_use]
    pub fn new(
        clock: Clock,
        timers: DeviceTimers,
        irq: IrqLine,
        lost_ticks: LostTicks,
        speaker: Box<dyn Speaker>,
    ) -> Self {
        let counters = Self::fresh(RATE.ticks(clock.now()));
        let port_61 = NmiStatusControl::new();
        let mut timer = Self {
            clock,
            timers,
            irq,
            out: true,
            lost_ticks,
            counters,
            port_61,
            speaker,
            tone: None,
            lost: 0,
            reinject_at: None,
            armed: [None; 2],
        };
        timer.settle();
        timer
    }

    /// Only counter 2 has a gate that can be low.
    fn fresh(now: u64) -> [Counter; COUNTERS] {
        [true, true, false].map(|gate| Counter::new(gate, now.cast_signed()))
    }

    /// Brings all counters up to date, and delivers the interrupts that were due.
    fn sync(&mut self) {
        let now = RATE.ticks(self.clock.now()).cast_signed();
        let [ticks, ..] = self.counters.each_mut().map(|counter| counter.advance(now));
        if ticks > 0 {
            self.out = true;
            self.irq.set(false);
            let missed = match self.irq.set(true) {
                Delivery::Coalesced => ticks,
                Delivery::Delivered => ticks - 1,
                // Nobody counts them.
                Delivery::Ignored => 0,
            };
            if self.lost_ticks == LostTicks::Delay && self.counters[0].mode.is_periodic() {
                self.lost = self.lost.saturating_add(missed).min(MOST_LOST);
            }
        }
    }

    /// Drives the interrupt and the speaker, and arms the next edge.
    fn settle(&mut self) {
        let [timer, ..] = &self.counters;
        let before = std::mem::replace(&mut self.out, timer.out());
        if self.out != before {
            self.irq.set(self.out);
        }
        let tone = self.sounding();
        if self.tone != tone {
            self.tone = tone;
            self.speaker.sound(tone);
        }
        let next_edge = timer.next_edge().map(|tick| RATE.ns_at(tick.unsigned_abs()));
        let is_periodic = timer.mode.is_periodic();
        self.reinject_at = match self.lost {
            0 => None,
            _ => self.reinject_at.or_else(|| Some(self.clock.now().saturating_add(REINJECT_INTERVAL))),
        };
        let [edge_armed, reinject_armed] = std::mem::replace(&mut self.armed, [next_edge, self.reinject_at]);
        if next_edge != edge_armed {
            match is_periodic {
                true => self.timers.set_periodic(NEXT_EDGE, next_edge),
                false => self.timers.set(NEXT_EDGE, next_edge),
            }
        }
        if self.reinject_at != reinject_armed {
            self.timers.set(REINJECT, self.reinject_at);
        }
    }

    /// Tries to deliver a lost tick, if it is time to. An edge is all that it takes: the line is what OUT is afterwards.
    fn reinject(&mut self) {
        if self.reinject_at.is_none_or(|at| at > self.clock.now()) {
            return;
        }
        self.reinject_at = None;
        self.irq.set(false);
        match self.irq.set(true) {
            Delivery::Delivered => self.lost = self.lost.saturating_sub(1),
            Delivery::Coalesced => {}
            Delivery::Ignored => self.lost = 0,
        }
        self.irq.set(self.out);
    }

    fn control(&mut self, value: u8) {
        let word = ControlWord::from(value);
        if word.counter() == READ_BACK {
            let read_back = ReadBack::from(value);
            for (number, counter) in self.counters.iter_mut().enumerate() {
                if read_back.counters() & 1 << number == 0 {
                    continue;
                }
                if !read_back.no_count() {
                    counter.latch_count();
                }
                if !read_back.no_status() {
                    counter.latch_status();
                }
            }
            return;
        }
        let number = usize::from(word.counter());
        if word.access() == Access::Latch {
            self.counters[number].latch_count();
            return;
        }
        self.counters[number].control(word);
        if number == 0 {
            // Another use of the timer begins.
            self.lost = 0;
        }
    }

    fn read_port_61(&self) -> u8 {
        let [.., sound] = &self.counters;
        let refreshes = sound.seen / REFRESH_TICKS;
        self.port_61.with_refresh_toggle(refreshes % 2 != 0).with_timer_2_out(sound.out()).into()
    }

    /// The tone that counter 2 and port 61h make.
    fn sounding(&self) -> Option<Tone> {
        let [.., sound] = &self.counters;
        sound.square_wave().filter(|_| self.port_61.speaker_enable()).map(Tone::of)
    }

    fn write_port_61(&mut self, value: u8) {
        self.port_61 = NmiStatusControl::from(value & NmiStatusControl::WRITABLE);
        let [.., sound] = &mut self.counters;
        sound.set_gate(self.port_61.timer_2_enable());
    }
}

impl IoDevice for I8254 {
    fn read(&mut self, region: u16, offset: u64, _size: u8) -> u64 {
        self.sync();
        let value = match (region, offset) {
            (window::PORT_61, _) => self.read_port_61(),
            // The control word can't be read.
            (_, CONTROL) => 0,
            (_, counter) => self.counters[counter as usize % COUNTERS].read(),
        };
        self.settle();
        value.into()
    }

    fn write(&mut self, region: u16, offset: u64, _size: u8, value: u64) {
        let [value, ..] = value.to_le_bytes();
        self.sync();
        match (region, offset) {
            (window::PORT_61, _) => self.write_port_61(value),
            (_, CONTROL) => self.control(value),
            (_, counter) => self.counters[counter as usize % COUNTERS].write(value),
        }
        self.settle();
    }
}

impl TimerClient for I8254 {
    fn timer_expired(&mut self, timer: u32) {
        // It has left the queue.
        if let Some(armed) = self.armed.get_mut(timer as usize) {
            *armed = None;
        }
        self.sync();
        self.reinject();
        self.settle();
    }
}

mod state {
    use serde::{Deserialize, Serialize};

    pub const VERSION: u32 = 1;

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub enum Load {
        None,
        At(i64),
        OnTrigger,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub enum Run {
        Since(i64),
        Standing(i64),
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Counter {
        pub mode: u8,
        pub access: u8,
        pub bcd: bool,
        pub gate: bool,
        pub register: u16,
        pub load: Load,
        pub loaded: bool,
        pub initial: i64,
        pub run: Run,
        pub residue: u16,
        pub half_written: Option<u8>,
        pub read_high: bool,
        pub latched_count: Option<u16>,
        pub latched_status: Option<u8>,
        pub seen: i64,
    }

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct V1 {
        pub counters: [Counter; super::COUNTERS],
        pub irq: bool,
        pub port_61: u8,
        pub lost: u64,
    }
}

fn save_counter(counter: &Counter) -> state::Counter {
    let Counter {
        mode,
        access,
        bcd,
        gate,
        register,
        load,
        loaded,
        initial,
        run,
        residue,
        half_written,
        read_high,
        latched_count,
        latched_status,
        seen,
    } = *counter;
    state::Counter {
        mode: mode as u8,
        access: access as u8,
        bcd,
        gate,
        register,
        load: match load {
            Load::None => state::Load::None,
            Load::At(tick) => state::Load::At(tick),
            Load::OnTrigger => state::Load::OnTrigger,
        },
        loaded,
        initial,
        run: match run {
            Run::Since(tick) => state::Run::Since(tick),
            Run::Standing(ticks) => state::Run::Standing(ticks),
        },
        residue,
        half_written,
        read_high,
        latched_count,
        latched_status,
        seen,
    }
}

/// `now` is the present tick.
fn load_counter(state: &state::Counter, gate_wired_high: bool, now: i64) -> Result<Counter, StateError> {
    const LONGEST: i64 = 0x1_0000;
    /// Four digits of Fh, which count for 15 each.
    const LONGEST_BCD: i64 = 16_665;
    let invalid = |field, value: i64| Err(StateError::invalid(field, format!("{value} can't come about")));
    let &state::Counter { bcd, gate, register, loaded, initial, residue, seen, .. } = state;
    if state.mode > 7 {
        return invalid("mode", state.mode.into());
    }
    if state.access > 3 {
        return invalid("access", state.access.into());
    }
    if gate_wired_high && !gate {
        return Err(StateError::invalid("gate", "it is wired high"));
    }
    if !(0..LONGEST_UPTIME).contains(&seen) || seen > now {
        return invalid("seen", seen);
    }
    if !(1..=LONGEST).contains(&initial) || (bcd && loaded && initial > LONGEST_BCD) {
        return invalid("initial", initial);
    }
    if state.access != Access::Both as u8 && (state.read_high || state.half_written.is_some()) {
        return Err(StateError::invalid("access", "single bytes have no second half"));
    }
    let load = match state.load {
        state::Load::None => Load::None,
        state::Load::OnTrigger => Load::OnTrigger,
        state::Load::At(tick) if (seen..=seen + LONGEST).contains(&tick) => Load::At(tick),
        state::Load::At(tick) => return invalid("load", tick),
    };
    let run = match state.run {
        // A square wave may go on in its second half, begun before the machine.
        state::Run::Since(tick) if (-LONGEST..=seen).contains(&tick) => Run::Since(tick),
        state::Run::Standing(ticks) if (0..LONGEST_UPTIME).contains(&ticks) => Run::Standing(ticks),
        state::Run::Since(value) | state::Run::Standing(value) => return invalid("run", value),
    };
    Ok(Counter {
        mode: Mode::from_bits(state.mode),
        access: Access::from_bits(state.access),
        bcd,
        gate,
        register,
        load,
        loaded,
        initial,
        run,
        residue,
        half_written: state.half_written,
        read_high: state.read_high,
        latched_count: state.latched_count,
        latched_status: state.latched_status,
        seen,
    })
}

impl Device for I8254 {
    fn name(&self) -> &'static str {
        "isa-pit"
    }

    fn reset(&mut self, _kind: ResetKind) {
        self.counters = Self::fresh(RATE.ticks(self.clock.now()));
        self.port_61 = NmiStatusControl::new();
        self.lost = 0;
        self.reinject_at = None;
        self.out = true;
        self.irq.set(false);
        self.settle();
    }

    fn save(&self) -> State {
        let Self {
            clock: _,
            timers: _,
            irq,
            out: _,
            lost_ticks: _,
            counters,
            port_61,
            speaker: _,
            tone: _,
            lost,
            reinject_at: _,
            armed: _,
        } = self;
        let counters = counters.each_ref().map(save_counter);
        let state = state::V1 { counters, irq: irq.level(), port_61: (*port_61).into(), lost: *lost };
        State::of(state::VERSION, &state)
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 { counters: [timer, refresh, sound], irq, port_61, lost } = state.decode(state::VERSION)?;
        let now = RATE.ticks(self.clock.now()).cast_signed();
        let counters =
            [load_counter(&timer, true, now)?, load_counter(&refresh, true, now)?, load_counter(&sound, false, now)?];
        if port_61 & !NmiStatusControl::WRITABLE != 0 {
            return Err(StateError::invalid("port_61", format!("{port_61:#04x} has bits that are not kept")));
        }
        let port_61 = NmiStatusControl::from(port_61);
        if port_61.timer_2_enable() != counters[2].gate {
            return Err(StateError::invalid("gate", "counter 2's is not what port 61h says"));
        }
        if lost > MOST_LOST {
            return Err(StateError::invalid("lost", format!("{lost} is more than {MOST_LOST}")));
        }
        if lost > 0 && !(self.lost_ticks == LostTicks::Delay && counters[0].mode.is_periodic()) {
            return Err(StateError::invalid("lost", format!("{lost} ticks are to be delivered late, where none are")));
        }
        if irq && !counters[0].out() {
            return Err(StateError::invalid("irq", "it is high while OUT is low"));
        }
        self.out = counters[0].out();
        (self.counters, self.port_61, self.lost) = (counters, port_61, lost);
        self.reinject_at = None;
        self.irq.set(irq);
        self.settle();
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        for (number, counter) in self.counters.iter().enumerate() {
            out.number(format!("mode {number}"), counter.mode as u8);
            out.flag(format!("BCD {number}"), counter.bcd);
            out.register(format!("count register {number}"), counter.register, 16);
            out.register(format!("counting element {number}"), counter.count(), 16);
            out.flag(format!("gate {number}"), counter.gate);
            out.flag(format!("OUT {number}"), counter.out());
        }
        out.register("port 61", self.read_port_61(), 8);
        out.text("speaker", self.tone.map_or_else(|| "silent".into(), |tone| tone.to_string()));
        out.number("lost ticks", self.lost);
    }
}
