//! One counter of an 8254.
//!
//! Time is in whole ticks of the input clock. A counter is pull style: it knows what it was loaded with and when, and
//! [`Counter::advance`] brings it up to date; all else is a function of the ticks that have passed since.

use super::registers::{Access, ControlWord, Mode, Status};

/// Where a count is on its way from the count register to the counting element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// It is there, or none was written.
    None,
    /// Is transferred by this tick.
    At(i64),
    /// Is transferred after the gate's next rising edge.
    OnTrigger,
}

/// How the counting element moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// It was loaded at this tick.
    Since(i64),
    /// It stands, this many ticks after it was loaded.
    Standing(i64),
}

/// The counter.
#[derive(Clone, Debug)]
pub struct Counter {
    pub mode: Mode,
    pub access: Access,
    pub bcd: bool,
    pub gate: bool,
    /// Count register.
    pub register: u16,
    pub load: Load,
    /// A count was loaded since the last control word; else OUT has the level that the mode starts with.
    pub loaded: bool,
    /// What was loaded: 1 to 65536.
    pub initial: i64,
    pub run: Run,
    /// The counting element's contents while nothing is loaded.
    pub residue: u16,
    /// The low byte of a count, of which the high byte is still to be written.
    pub half_written: Option<u8>,
    /// The next byte read is the high one.
    pub read_high: bool,
    pub latched_count: Option<u16>,
    pub latched_status: Option<u8>,
    /// The tick at which all this was true.
    pub seen: i64,
}

impl Counter {
    /// A counter as QEMU and KVM start it (the data sheet leaves it undefined): mode 3 with the longest period, running.
    #[must_use]
    pub fn new(gate: bool, now: i64) -> Self {
        Self {
            mode: Mode::SquareWave,
            access: Access::Latch,
            bcd: false,
            gate,
            register: 0,
            load: Load::None,
            loaded: true,
            initial: 0x1_0000,
            run: if gate { Run::Since(now) } else { Run::Standing(0) },
            residue: 0,
            half_written: None,
            read_high: false,
            latched_count: None,
            latched_status: None,
            seen: now,
        }
    }

    /// Brings the counter up to `now`. Returns how often OUT rose on the way.
    pub fn advance(&mut self, now: i64) -> u64 {
        let now = now.max(self.seen);
        let mut rises = 0;
        if let Load::At(tick) = self.load
            && tick <= now
        {
            rises += self.rises_until(tick);
            self.seen = tick;
            self.transfer(tick);
        }
        rises += self.rises_until(now);
        self.seen = now;
        rises
    }

    /// How often OUT rises after the tick seen last, up to and including `until`, if nothing is loaded.
    fn rises_until(&self, until: i64) -> u64 {
        let (true, Run::Since(since)) = (self.loaded, self.run) else { return 0 };
        let rise = since + self.initial;
        let once = |rise: i64| u64::from(self.seen < rise && rise <= until);
        match self.mode.canonical() {
            Mode::InterruptOnTerminalCount | Mode::HardwareOneShot => once(rise),
            Mode::SoftwareStrobe | Mode::HardwareStrobe => once(rise + 1),
            // An illegal count of 1 does not oscillate.
            _ if self.initial == 1 => 0,
            _ => {
                let periods = |tick: i64| (tick - since).div_euclid(self.initial);
                (periods(until) - periods(self.seen)).unsigned_abs()
            }
        }
    }

    /// The count register's contents go to the counting element.
    fn transfer(&mut self, tick: i64) {
        let before = self.phase(tick);
        let in_high_half_until_now = self.loaded
            && self.mode.canonical() == Mode::SquareWave
            && matches!(self.run, Run::Since(_))
            && before == high_half(self.initial);
        self.initial = self.decode(self.register);
        self.run = match self.gate || self.mode.is_triggered() {
            // The other half of a square wave takes the new count.
            true if in_high_half_until_now => Run::Since(tick - high_half(self.initial)),
            true => Run::Since(tick),
            false => Run::Standing(0),
        };
        self.loaded = true;
        self.load = Load::None;
    }

    /// Ticks since the counting element was loaded; in a periodic mode since its period began.
    fn phase(&self, now: i64) -> i64 {
        let elapsed = match self.run {
            Run::Since(since) => (now - since).max(0),
            Run::Standing(elapsed) => elapsed,
        };
        if self.mode.is_periodic() { elapsed % self.initial } else { elapsed }
    }

    fn modulus(&self) -> i64 {
        if self.bcd { 10_000 } else { 0x1_0000 }
    }

    /// The number that a register holds. Digits above 9 count for what they are.
    fn decode(&self, register: u16) -> i64 {
        let value = match self.bcd {
            true => (0..4).rev().fold(0, |value, digit| value * 10 + i64::from(register >> (4 * digit) & 0xf)),
            false => register.into(),
        };
        if value == 0 { self.modulus() } else { value }
    }

    fn encode(&self, value: i64) -> u16 {
        let value = value.rem_euclid(self.modulus()) as u16;
        if self.bcd {
            (0..4).fold((0, value), |(digits, rest), at| (digits | (rest % 10) << (4 * at), rest / 10)).0
        } else {
            value
        }
    }

    /// The counting element.
    #[must_use]
    pub fn count(&self) -> u16 {
        if !self.loaded {
            return self.residue;
        }
        let phase = self.phase(self.seen);
        match self.mode.canonical() {
            Mode::SquareWave => {
                let half = high_half(self.initial);
                let into_half = if phase < half { phase } else { phase - half };
                self.encode((self.initial & !1) - 2 * into_half)
            }
            _ => self.encode(self.initial - phase),
        }
    }

    /// The level of OUT.
    #[must_use]
    pub fn out(&self) -> bool {
        if !self.loaded {
            return self.mode != Mode::InterruptOnTerminalCount;
        }
        let phase = self.phase(self.seen);
        let running = matches!(self.run, Run::Since(_));
        match self.mode.canonical() {
            Mode::InterruptOnTerminalCount | Mode::HardwareOneShot => phase >= self.initial,
            // A low gate raises OUT at once.
            // An illegal count of 1 does not oscillate.
            Mode::RateGenerator => !running || self.initial == 1 || phase != self.initial - 1,
            Mode::SoftwareStrobe | Mode::HardwareStrobe => phase != self.initial,
            _ => !running || phase < high_half(self.initial),
        }
    }

    /// Ticks of one wave of the square wave at OUT, if there is one. A count that is still on its way counts: the half wave before it
    /// is the last.
    #[must_use]
    pub fn square_wave(&self) -> Option<u32> {
        let count = match self.load {
            Load::None => self.initial,
            Load::At(_) | Load::OnTrigger => self.decode(self.register),
        };
        let has_count = self.loaded || self.load != Load::None;
        let oscillates = has_count && self.gate && self.mode.canonical() == Mode::SquareWave && count > 1;
        u32::try_from(count).ok().filter(|_| oscillates)
    }

    /// The next tick at which OUT changes or could. The low pulse of mode 2 is as short as can be: only its end counts.
    #[must_use]
    pub fn next_edge(&self) -> Option<i64> {
        let load = match self.load {
            Load::At(tick) => Some(tick),
            Load::None | Load::OnTrigger => None,
        };
        let edge = match (self.loaded, self.run) {
            (true, Run::Since(since)) => self.next_edge_after(since),
            _ => None,
        };
        load.into_iter().chain(edge).min()
    }

    fn next_edge_after(&self, since: i64) -> Option<i64> {
        let phase = self.phase(self.seen);
        let period_start = self.seen - phase;
        let after = |at: i64| (phase < at).then_some(period_start + at);
        match self.mode.canonical() {
            Mode::InterruptOnTerminalCount | Mode::HardwareOneShot => {
                (phase < self.initial).then_some(since + self.initial)
            }
            Mode::SoftwareStrobe | Mode::HardwareStrobe => after(self.initial).or(after(self.initial + 1)),
            _ if self.initial == 1 => None,
            Mode::RateGenerator => after(self.initial),
            _ => after(high_half(self.initial)).or(after(self.initial)),
        }
    }

    /// A null count: what was written last has not reached the counting element.
    fn null_count(&self) -> bool {
        !self.loaded || self.load != Load::None
    }

    /// A control word for this counter that is no latch command.
    pub fn control(&mut self, word: ControlWord) {
        self.residue = self.count();
        self.mode = word.mode();
        self.access = word.access();
        self.bcd = word.bcd();
        self.loaded = false;
        self.load = Load::None;
        self.half_written = None;
        self.read_high = false;
        self.latched_count = None;
        self.latched_status = None;
    }

    /// Latches the count, unless one is latched and not read.
    pub fn latch_count(&mut self) {
        if self.latched_count.is_none() {
            self.latched_count = Some(self.count());
        }
    }

    /// Latches the status, unless one is latched and not read.
    pub fn latch_status(&mut self) {
        let status = Status::new()
            .with_bcd(self.bcd)
            .with_mode(self.mode)
            .with_access(self.access)
            .with_null_count(self.null_count())
            .with_out(self.out());
        self.latched_status.get_or_insert(status.into());
    }

    /// Reads the counter's port.
    pub fn read(&mut self) -> u8 {
        if let Some(status) = self.latched_status.take() {
            return status;
        }
        let [low, high] = self.latched_count.unwrap_or_else(|| self.count()).to_le_bytes();
        let (value, done) = match (self.access, self.read_high) {
            (Access::Latch | Access::Low, _) => (low, true),
            (Access::High, _) => (high, true),
            (Access::Both, false) => (low, false),
            (Access::Both, true) => (high, true),
        };
        self.read_high = !done;
        if done {
            self.latched_count = None;
        }
        value
    }

    /// Writes the counter's port.
    pub fn write(&mut self, value: u8) {
        let register = match (self.access, self.half_written.take()) {
            (Access::Latch | Access::Low, _) => [value, 0],
            (Access::High, _) => [0, value],
            (Access::Both, Some(low)) => [low, value],
            (Access::Both, None) => {
                self.half_written = Some(value);
                self.stop_mode_0();
                return;
            }
        };
        self.register = u16::from_le_bytes(register);
        self.stop_mode_0();
        let started = self.loaded || self.load != Load::None;
        let next_tick = self.seen + 1;
        self.load = match self.mode.canonical() {
            mode if mode.is_triggered() => match self.load {
                // Triggered already.
                Load::At(tick) => Load::At(tick),
                _ => Load::OnTrigger,
            },
            Mode::RateGenerator | Mode::SquareWave if started => match (self.load, self.run) {
                (Load::At(tick), _) => Load::At(tick),
                (_, Run::Standing(_)) => Load::OnTrigger,
                (_, Run::Since(_)) => Load::At(self.cycle_end()),
            },
            _ => Load::At(next_tick),
        };
    }

    /// In mode 0 a write, even of half a count, stops the counter and lowers OUT.
    fn stop_mode_0(&mut self) {
        if self.mode == Mode::InterruptOnTerminalCount {
            self.residue = self.count();
            self.loaded = false;
            self.load = Load::None;
        }
    }

    /// The tick at which a periodic mode takes a new count: the end of the period, or of the half of a square wave.
    fn cycle_end(&self) -> i64 {
        let phase = self.phase(self.seen);
        let half = high_half(self.initial);
        let end = if self.mode.canonical() == Mode::SquareWave && phase < half { half } else { self.initial };
        self.seen - phase + end
    }

    /// Drives the gate.
    pub fn set_gate(&mut self, gate: bool) {
        let rises = gate && !self.gate;
        let falls = !gate && self.gate;
        self.gate = gate;
        let has_count = self.loaded || self.load != Load::None;
        if rises && has_count && (self.mode.is_triggered() || self.mode.is_periodic()) {
            self.load = Load::At(self.seen + 1);
        } else if rises && let Run::Standing(elapsed) = self.run {
            self.run = Run::Since(self.seen - elapsed);
        } else if falls
            && !self.mode.is_triggered()
            && let Run::Since(since) = self.run
        {
            self.run = Run::Standing((self.seen - since).max(0));
        }
    }
}

/// Ticks for which a square wave of `count` ticks is high.
fn high_half(count: i64) -> i64 {
    (count + 1) / 2
}
