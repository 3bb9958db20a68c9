//! The real-time clock and CMOS RAM: an MC146818A with 128 bytes (ports 70h, 71h).
//!
//! Follows Motorola's MC146818A data sheet (1984) as PC firmware uses it, with the century in bytes 32h and 37h.
//! Emulated: time, calendar and alarm in binary and BCD, 12 and 24 hour mode; update cycle with UIP; divider reset;
//! periodic, alarm and update-ended interrupts; reinjection of periodic interrupts that the guest was too slow for.
//! Not emulated: the daylight savings switch (DSE is storage; today's rules are not those of 1984), the square wave
//! output (SQWE is storage; the pin is not connected on a PC), and bit 7 of the index port (NMI mask), which is ignored
//! as in QEMU.

mod calendar;
pub mod registers;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use self::calendar::Moment;
use self::registers::{CMOS_SIZE, RegA, RegB, RegC, index};
use crate::base::clock::NS_PER_SEC;
use crate::base::{
    AccessRule, Clock, Delivery, Device, DeviceTimers, Inspector, IoDevice, IrqLine, Rate, Region, ResetKind, State,
    StateError, TimerClient,
};

/// The time base: a watch crystal.
const CRYSTAL: Rate = Rate::hz(32_768);
/// UIP is set this long before the update (data sheet, tBUC: 244 us, 8 cycles of the crystal).
const UPDATE_CYCLES: u64 = 8;
/// After a divider reset the first update comes half a second later.
const AFTER_DIVIDER_RESET: i64 = NS_PER_SEC as i64 / 2;
/// Periodic interrupts made up for in a row before one has to come by itself, so that a guest that only acknowledges
/// interrupts still gets to do something else.
const REINJECT_IN_A_ROW: u32 = 20;

/// The only timer: the next edge that the guest can see.
const NEXT_EDGE: u32 = 0;

/// What becomes of periodic interrupts that come while the last one has not been acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostTicks {
    /// They are lost, as on the real chip.
    Discard,
    /// They are delivered when the guest acknowledges, so that a guest that counts them keeps time.
    Slew,
}

/// The wires of the chip.
pub struct RtcLines {
    /// IRQ 8.
    pub irq: IrqLine,
    /// The alarm's share in it, by which a machine that sleeps wakes.
    pub alarm: IrqLine,
}

/// The chip.
pub struct Rtc {
    clock: Clock,
    timers: DeviceTimers,
    lines: RtcLines,
    lost_ticks: LostTicks,
    index: u8,
    /// All 128 bytes; those of the time and calendar are only valid while updates are off.
    cmos: [u8; CMOS_SIZE],
    /// Date and time in nanoseconds since 1970 minus the clock's time, while updates run.
    offset: i64,
    /// The day of the week counts by itself: days it is ahead of the calendar's, 0 to 6.
    weekday_shift: u8,
    /// Clock time up to which events are in register C.
    seen: u64,
    /// Periodic interrupts to be made up for.
    lost: u64,
    reinjected: u32,
}

impl Rtc {
    /// Index and data port.
    pub const REGION: Region = Region::ports(0, "rtc", 2, AccessRule::BYTE);

    /// A chip that shows `epoch` nanoseconds since 1970 when `clock` shows 0, with the battery-backed contents `cmos` where
    /// those are not time, calendar and registers A to D. `timers` must be attached to it by the board.
    #[must_use]
    pub fn new(
        clock: Clock,
        timers: DeviceTimers,
        lines: RtcLines,
        epoch: i64,
        cmos: &[u8; CMOS_SIZE],
        lost_ticks: LostTicks,
    ) -> Self {
        let mut rtc = Self {
            seen: clock.now(),
            clock,
            timers,
            lines,
            lost_ticks,
            index: 0,
            cmos: *cmos,
            offset: epoch,
            weekday_shift: 0,
            lost: 0,
            reinjected: 0,
        };
        rtc.cmos[index::A] = RegA::RESET;
        rtc.cmos[index::B] = RegB::new().with_hours_24(true).into_bits();
        rtc.cmos[index::C] = 0;
        rtc.cmos[index::D] = registers::VALID_RAM_AND_TIME;
        rtc.settle();
        rtc
    }

    /// Changes a byte of the battery-backed RAM, as a setup program would: nothing happens at the addresses of the clock.
    pub fn set_ram(&mut self, address: usize, value: u8) {
        let is_clock = address <= index::D || index::TIME.contains(&address);
        if let Some(byte) = self.cmos.get_mut(address).filter(|_| !is_clock) {
            *byte = value;
        }
    }

    fn reg_a(&self) -> RegA {
        RegA::from_bits(self.cmos[index::A])
    }

    fn reg_b(&self) -> RegB {
        RegB::from_bits(self.cmos[index::B])
    }

    fn reg_c(&self) -> RegC {
        RegC::from_bits(self.cmos[index::C])
    }

    /// Whether time is counting.
    fn updates(&self) -> bool {
        !self.reg_b().set() && self.reg_a().divider_runs()
    }

    /// Date and time at clock time `at`, in nanoseconds since 1970.
    fn date_ns(&self, at: u64) -> i64 {
        self.offset.saturating_add_unsigned(at)
    }

    fn moment(&self, at: u64) -> Moment {
        Moment::from_unix(self.date_ns(at).div_euclid(NS_PER_SEC as i64), self.weekday_shift)
    }

    /// Clock time of the first update after `after`.
    fn next_update(&self, after: u64) -> u64 {
        let into_second = self.date_ns(after).rem_euclid(NS_PER_SEC as i64);
        after + NS_PER_SEC - into_second.unsigned_abs()
    }

    fn update_in_progress(&self, now: u64) -> bool {
        self.updates() && self.next_update(now) - now <= CRYSTAL.ns_at(UPDATE_CYCLES)
    }

    /// Clock time of the first periodic interrupt after `after`. Its phase is that of the divider chain, which counts
    /// from the clock's zero.
    fn next_periodic(&self, after: u64) -> Option<u64> {
        let cycles = self.reg_a().periodic_cycles()?;
        Some(CRYSTAL.ns_at((CRYSTAL.ticks(after) / cycles + 1) * cycles))
    }

    /// Periodic interrupts in `(from, to]`.
    fn periodic_between(&self, from: u64, to: u64) -> u64 {
        let Some(cycles) = self.reg_a().periodic_cycles() else { return 0 };
        CRYSTAL.ticks(to) / cycles - CRYSTAL.ticks(from) / cycles
    }

    /// Clock time of the first alarm after `after`, at most a day ahead.
    fn next_alarm(&self, after: u64) -> Option<u64> {
        let first = self.next_update(after);
        let alarm = |register| self.decode_alarm(register);
        let alarm = (alarm(index::HOURS_ALARM)?, alarm(index::MINUTES_ALARM)?, alarm(index::SECONDS_ALARM)?);
        let wait = self.moment(first).seconds_until(alarm)?;
        Some(first + u64::from(wait) * NS_PER_SEC)
    }

    /// The value an alarm register waits for: `None` for a value that never comes, `Some(None)` for any.
    #[expect(clippy::option_option, reason = "never, any and a value are three different things")]
    fn decode_alarm(&self, register: usize) -> Option<Option<u8>> {
        let raw = self.cmos[register];
        if raw & registers::DONT_CARE == registers::DONT_CARE {
            return Some(None);
        }
        let (value, limit) = match register {
            index::HOURS_ALARM => (calendar::decode_hours(raw, self.reg_b()), 24),
            _ => (calendar::decode(raw, self.reg_b()), 60),
        };
        (value < limit).then_some(Some(value))
    }

    /// Brings register C up to date with the clock.
    fn catch_up(&mut self) {
        let (from, now) = (self.seen, self.clock.now());
        self.seen = now;
        if now <= from {
            return;
        }
        let mut c = self.reg_c();
        let ticks = self.periodic_between(from, now);
        if ticks > 0 {
            let pending = u64::from(c.periodic());
            if self.lost_ticks == LostTicks::Slew && self.reg_b().periodic() {
                self.lost = self.lost.saturating_add(ticks - 1 + pending);
            }
            c.set_periodic(true);
            self.reinjected = 0;
        }
        if self.updates() {
            c.set_update_ended(c.update_ended() || self.next_update(from) <= now);
            c.set_alarm(c.alarm() || self.next_alarm(from).is_some_and(|alarm| alarm <= now));
        }
        self.cmos[index::C] = c.into_bits();
    }

    /// Drives the interrupt and arms the next edge that the guest could see.
    fn settle(&mut self) {
        let (b, c) = (self.reg_b(), self.reg_c());
        let request = b.enables(c);
        self.cmos[index::C] = c.with_request(request).into_bits();
        self.lines.alarm.set(c.alarm() && b.alarm());
        let rises = request && !self.lines.irq.level();
        let coalesced = self.lines.irq.set(request) == Delivery::Coalesced;
        if rises && coalesced && c.periodic() && b.periodic() && self.lost_ticks == LostTicks::Slew {
            // The guest has not yet taken the one before, although it has read register C.
            self.lost = self.lost.saturating_add(1);
        }

        let from = self.seen;
        let updates = self.updates();
        // While the interrupt is asserted another one changes nothing, but for those that are counted and the alarm.
        let counted = self.lost_ticks == LostTicks::Slew;
        let edges = [
            (b.periodic() && (!request || counted)).then(|| self.next_periodic(from)).flatten(),
            (b.update_ended() && updates && !request).then(|| self.next_update(from)),
            (b.alarm() && updates && !c.alarm()).then(|| self.next_alarm(from)).flatten(),
        ];
        self.timers.set(NEXT_EDGE, edges.into_iter().flatten().min());
    }

    /// Register C shows what happened and forgets it.
    fn acknowledge(&mut self) -> u8 {
        let value = self.reg_c().into_bits();
        self.cmos[index::C] = 0;
        self.lines.irq.set(false);
        if self.lost > 0 && self.reg_b().periodic() && self.reinjected < REINJECT_IN_A_ROW {
            self.lost -= 1;
            self.reinjected += 1;
            self.cmos[index::C] = RegC::new().with_periodic(true).into_bits();
        }
        value
    }

    fn read_data(&mut self) -> u8 {
        let now = self.seen;
        match usize::from(self.index) {
            register if index::is_time(register) && self.updates() => self.moment(now).encode(register, self.reg_b()),
            index::A => self.reg_a().with_update_in_progress(self.update_in_progress(now)).into_bits(),
            index::C => self.acknowledge(),
            register => self.cmos[register],
        }
    }

    fn write_data(&mut self, value: u8) {
        match usize::from(self.index) {
            register if index::is_time(register) => {
                self.freeze();
                self.cmos[register] = value;
                if register == index::CENTURY || register == index::CENTURY_PS2 {
                    self.cmos[index::CENTURY] = value;
                    self.cmos[index::CENTURY_PS2] = value;
                }
                self.thaw();
            }
            index::A => self.write_a(RegA::from_bits(value).with_update_in_progress(false)),
            index::B => self.write_b(RegB::from_bits(value)),
            // Read only.
            index::C | index::D => {}
            register => self.cmos[register] = value,
        }
    }

    fn write_a(&mut self, a: RegA) {
        let divider_ran = self.reg_a().divider_runs();
        self.set_mode(index::A, a.into_bits());
        if !divider_ran && self.updates() {
            let now = self.seen;
            let ahead = AFTER_DIVIDER_RESET - self.date_ns(now).rem_euclid(NS_PER_SEC as i64);
            // A guest may have set the first date that there is.
            self.offset = self.offset.saturating_add(ahead);
        }
    }

    fn write_b(&mut self, b: RegB) {
        // SET clears the update-ended interrupt enable (data sheet, register B, UIE).
        let b = b.with_update_ended(b.update_ended() && !b.set());
        self.set_mode(index::B, b.into_bits());
    }

    /// Gives register A or B a new value, which may stop or start the time. A change of format while time runs shows
    /// the same time in the new format, as in QEMU; the data sheet leaves it open.
    fn set_mode(&mut self, register: usize, value: u8) {
        let ran = self.updates();
        let old = std::mem::replace(&mut self.cmos[register], value);
        match (ran, self.updates()) {
            (true, false) => {
                // The time stops in the format it had.
                self.cmos[register] = old;
                self.freeze();
                self.cmos[register] = value;
            }
            (false, true) => self.thaw(),
            _ => {}
        }
    }

    /// Puts the running time into the registers, in their present format.
    fn freeze(&mut self) {
        if self.updates() {
            let (moment, b) = (self.moment(self.seen), self.reg_b());
            for register in index::TIME {
                self.cmos[register] = moment.encode(register, b);
            }
        }
    }

    /// Lets time go on from what the registers say, unless updates are off.
    fn thaw(&mut self) {
        if self.updates() {
            let into_second = self.date_ns(self.seen).rem_euclid(NS_PER_SEC as i64);
            let (unix, weekday_shift) = Moment::decode(&self.cmos, self.reg_b());
            self.weekday_shift = weekday_shift;
            let date = unix.saturating_mul(NS_PER_SEC as i64).saturating_add(into_second);
            self.offset = date.saturating_sub_unsigned(self.seen);
        }
    }
}

impl Device for Rtc {
    fn name(&self) -> &'static str {
        "mc146818rtc"
    }

    /// RESET clears the interrupt enables and flags and the square wave; time and RAM have a battery.
    fn reset(&mut self, _kind: ResetKind) {
        self.catch_up();
        let b = self.reg_b().with_periodic(false).with_alarm(false).with_update_ended(false).with_square_wave(false);
        self.cmos[index::B] = b.into_bits();
        self.cmos[index::C] = 0;
        self.index = 0;
        self.lost = 0;
        self.reinjected = 0;
        self.settle();
    }

    fn save(&self) -> State {
        let Self {
            clock: _,
            timers: _,
            lines: _,
            lost_ticks: _,
            index,
            cmos,
            offset,
            weekday_shift,
            seen,
            lost,
            reinjected,
        } = self;
        State::of(
            state::VERSION,
            &state::V1 {
                index: *index,
                cmos: cmos.to_vec(),
                offset: *offset,
                weekday_shift: *weekday_shift,
                seen: *seen,
                lost: *lost,
                reinjected: *reinjected,
            },
        )
    }

    fn load(&mut self, state: &State) -> Result<(), StateError> {
        let state::V1 { index, cmos, offset, weekday_shift, seen, lost, reinjected } = state.decode(state::VERSION)?;
        let cmos: [u8; CMOS_SIZE] = cmos
            .try_into()
            .map_err(|bytes: Vec<u8>| StateError::invalid("cmos", format!("{} bytes instead of 128", bytes.len())))?;
        if usize::from(index) >= CMOS_SIZE {
            return Err(StateError::invalid("index", format!("{index} is beyond the 128 bytes")));
        }
        if weekday_shift >= 7 {
            return Err(StateError::invalid("weekday_shift", format!("{weekday_shift} is no number of days")));
        }
        if cmos[index::D] != registers::VALID_RAM_AND_TIME {
            return Err(StateError::invalid("cmos", "register D is read only"));
        }
        if seen > self.clock.now() {
            return Err(StateError::invalid("seen", format!("{seen} is still to come")));
        }
        self.index = index;
        self.cmos = cmos;
        self.offset = offset;
        self.weekday_shift = weekday_shift;
        self.seen = seen;
        self.lost = lost;
        self.reinjected = reinjected;
        self.settle();
        Ok(())
    }

    fn inspect(&self, out: &mut Inspector) {
        out.text("time", self.moment(self.clock.now()).to_string());
        for (name, register) in [("A", index::A), ("B", index::B), ("C", index::C), ("D", index::D)] {
            out.register(name, self.cmos[register], 8);
        }
        out.register("index", self.index, 8);
        out.flag("IRQ", self.lines.irq.level());
        out.number("lost periodic interrupts", self.lost);
    }
}

impl IoDevice for Rtc {
    fn read(&mut self, _region: u16, offset: u64, _size: u8) -> u64 {
        if offset == 0 {
            // The index is write only.
            return 0xff;
        }
        self.catch_up();
        let value = self.read_data();
        self.settle();
        value.into()
    }

    fn write(&mut self, _region: u16, offset: u64, _size: u8, value: u64) {
        let value = value as u8;
        if offset == 0 {
            self.index = value & (CMOS_SIZE as u8 - 1);
            return;
        }
        self.catch_up();
        self.write_data(value);
        self.settle();
    }
}

impl TimerClient for Rtc {
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
    pub struct V1 {
        pub index: u8,
        pub cmos: Vec<u8>,
        pub offset: i64,
        pub weekday_shift: u8,
        pub seen: u64,
        pub lost: u64,
        pub reinjected: u32,
    }
}
