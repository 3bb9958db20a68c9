//! The clocks: the time of day, and whether the counters agree on how fast time goes by.
//!
//! All counters are read at the beginning and at the end of one interval. Each reading lies between two readings of the
//! TSC, which cost nothing; the best of several, where these lie closest, bounds the error. How long the interval was is
//! for a reference to say: kvmclock if there is one, else the best of the others; for the reference and the TSC, the
//! next best.

use alloc::{boxed::Box, format, vec::Vec};
use core::fmt;

use guest::{cpu, kvmclock, pit, pm_timer, print, println, rtc, tsc};

use crate::{Machine, PATIENCE, Report};

const SECOND: u64 = 1_000_000_000;
/// Length of the interval in nanoseconds.
const INTERVAL: u64 = 60_000_000;
/// How often a counter is read to find its best reading.
const READINGS: usize = 8;
/// Deviations are in tenths of a millionth.
const UNIT: u128 = 10_000_000;
/// How far a counter may be off its nominal rate, in that unit, over and above what the readings leave open.
const TOLERANCE: i64 = 5000;
/// What KVM's local APIC timer counts at unless it is told otherwise.
const KVM_LAPIC_HZ: u64 = 1_000_000_000;

const TSC: &str = "TSC";

/// How fast the TSC is.
#[derive(Clone, Copy)]
pub(crate) struct Rate {
    ticks: u64,
    nanoseconds: u64,
}

impl Rate {
    /// How long a number of ticks takes.
    pub(crate) fn nanoseconds(&self, ticks: u64) -> u64 {
        (u128::from(ticks) * u128::from(self.nanoseconds) / u128::from(self.ticks)) as u64
    }
}

/// Something that counts upwards.
struct Counter {
    name: &'static str,
    /// The rate it should have, if anything says so.
    hz: Option<u64>,
    bits: u32,
    read: Box<dyn Fn() -> u64>,
}

/// A counter's value, the TSC at that time, and how far the latter may be off to either side.
struct Reading {
    value: u64,
    tsc: u64,
    slack: u64,
}

/// What a counter and the TSC counted in the interval.
struct Measurement<'a> {
    counter: &'a Counter,
    ticks: u64,
    tsc: u64,
    slack: u64,
}

impl Counter {
    fn reading(&self) -> Reading {
        let read = || {
            let before = tsc::now();
            let value = (self.read)();
            let slack = (tsc::now() - before).div_ceil(2);
            Reading { value, tsc: before + slack, slack }
        };
        (1..READINGS).fold(read(), |best, _| {
            let reading = read();
            if reading.slack < best.slack { reading } else { best }
        })
    }

    /// Ticks between two values.
    fn ticks(&self, start: u64, end: u64) -> u64 {
        end.wrapping_sub(start) & (u64::MAX >> (64 - self.bits))
    }

    /// How long ticks take, if the rate is known.
    fn nanoseconds(&self, ticks: u64) -> Option<u64> {
        Some((u128::from(ticks) * u128::from(SECOND)).checked_div(self.hz?.into())? as u64)
    }

    fn measure(&self, start: &Reading) -> Measurement<'_> {
        let end = self.reading();
        let ticks = self.ticks(start.value, end.value);
        Measurement { counter: self, ticks, tsc: end.tsc - start.tsc, slack: start.slack + end.slack }
    }
}

impl Measurement<'_> {
    /// The TSC's rate, if this counter has the one it should have.
    fn tsc_rate(&self) -> Option<Rate> {
        let nanoseconds = self.counter.nanoseconds(self.ticks).filter(|nanoseconds| *nanoseconds > 0)?;
        Some(Rate { ticks: self.tsc, nanoseconds })
    }

    /// The counter's rate, its deviation and the uncertainty of that, the time being as the reference has it.
    fn compare(&self, reference: &Self) -> Option<Comparison> {
        let nanoseconds = reference.tsc_rate()?.nanoseconds(self.tsc);
        // A counter of few bits may have gone round.
        let expected = |hz: u64| u128::from(hz) * u128::from(nanoseconds) / u128::from(SECOND);
        let missing = self.counter.hz.map_or(0, |hz| expected(hz).saturating_sub(self.ticks.into()));
        let round = 1u128 << self.counter.bits;
        let ticks = u128::from(self.ticks) + (missing + round / 2) / round * round;
        let hz = (ticks * u128::from(SECOND) / u128::from(nanoseconds)) as u64;
        let deviation = self.counter.hz.map(|nominal| {
            let nominal_ticks = u128::from(nominal) * u128::from(nanoseconds);
            (ticks * u128::from(SECOND) * UNIT / nominal_ticks) as i64 - UNIT as i64
        });
        let slack = u128::from(self.slack + reference.slack);
        Some(Comparison { hz, deviation, uncertainty: (slack * UNIT / u128::from(self.tsc)) as i64 })
    }
}

struct Comparison {
    hz: u64,
    deviation: Option<i64>,
    uncertainty: i64,
}

/// A number of tenths.
struct Tenths(i64);

impl fmt::Display for Tenths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{}.{}", self.0.unsigned_abs() / 10, self.0.unsigned_abs() % 10);
        f.pad_integral(self.0 >= 0, "", &digits)
    }
}

/// Prints the time of day and the counters. Returns the TSC's rate, if there is anything to know it by.
pub(crate) fn show(machine: &Machine, report: &mut Report) -> Option<Rate> {
    println!("\nClocks");
    show_time_of_day(machine, report);

    let (counters, references) = counters(machine);
    let Some(first) = counters[..references].first() else {
        println!("  There is neither a kvmclock nor an HPET nor a PM timer to compare the others with.");
        return None;
    };
    let starts: Vec<_> = counters.iter().map(Counter::reading).collect();
    let elapsed = || first.nanoseconds(first.ticks(starts[0].value, (first.read)())).unwrap_or(0);
    while elapsed() < INTERVAL {
        if tsc::since(starts[0].tsc) > PATIENCE {
            println!("  The {} hardly moves: {}", first.name, report.check(false));
            return None;
        }
    }
    let measurements: Vec<_> = counters.iter().zip(&starts).map(|(counter, start)| counter.measure(start)).collect();

    let missing = [
        ("kvmclock", machine.kvm_clock.is_none()),
        ("HPET", machine.hpet.is_none()),
        ("PM timer", machine.pm_timer.is_none()),
    ];
    for (name, _) in missing.iter().filter(|(_, is_missing)| *is_missing) {
        println!("  There is no {name}.");
    }
    println!("  {:11}  {:>10}  {:>10}  {:>16}", "", "nominal Hz", "real Hz", "deviation in ppm");
    for (index, measurement) in measurements.iter().enumerate() {
        // The first reference can't be compared with itself, nor the TSC with kvmclock, which is made of it.
        let is_odd = index == 0 || measurement.counter.name == TSC;
        let reference = if is_odd { measurements[..references].get(1) } else { measurements.first() };
        show_comparison(measurement, reference, report);
    }
    measurements[0].tsc_rate()
}

/// What there is that counts, in the order in which it is trusted, and how many of these can be references.
fn counters(machine: &Machine) -> (Vec<Counter>, usize) {
    let counter = |name, bits, hz, read: Box<dyn Fn() -> u64>| Counter { name, hz, bits, read };
    let mut counters = Vec::new();
    if let Some(clock) = machine.kvm_clock {
        counters.push(counter("kvmclock", 64, Some(SECOND), Box::new(move || clock.now())));
    }
    if let Some(hpet) = machine.hpet {
        counters.push(counter("HPET", 32, Some(hpet.hz()), Box::new(move || hpet.read().into())));
    }
    if let Some(timer) = machine.pm_timer {
        counters.push(counter("PM timer", timer.bits(), Some(pm_timer::HZ), Box::new(move || timer.read().into())));
    }
    let references = counters.len();

    pit::start(0);
    counters.push(counter("PIT", 16, Some(pit::HZ), Box::new(|| pit::read().wrapping_neg().into())));
    if let Some(lapic) = machine.local_apic {
        lapic.start_timer(u32::MAX, None);
        counters.push(counter("LAPIC timer", 32, lapic_hz(), Box::new(move || (!lapic.timer()).into())));
    }
    let hz = machine.kvm_clock.map(|clock| clock.tsc_hz());
    counters.push(counter(TSC, 64, hz, Box::new(tsc::now)));
    (counters, references)
}

/// The rate that the local APIC's timer should have.
pub(crate) fn lapic_hz() -> Option<u64> {
    (cpu::hypervisor() == Some(kvmclock::SIGNATURE)).then_some(KVM_LAPIC_HZ)
}

fn show_comparison(measurement: &Measurement, reference: Option<&Measurement>, report: &mut Report) {
    let Counter { name, hz: nominal, .. } = measurement.counter;
    let Some((reference, comparison)) = reference.and_then(|it| Some((it, measurement.compare(it)?))) else {
        println!("  {name:11}  there is nothing to compare it with");
        return;
    };
    let Comparison { hz, deviation, uncertainty } = comparison;
    let against = reference.counter.name;
    match nominal.zip(deviation) {
        Some((nominal, deviation)) => {
            let verdict = report.check(deviation.abs() <= TOLERANCE + uncertainty);
            let (deviation, uncertainty) = (Tenths(deviation), Tenths(uncertainty));
            println!(
                "  {name:11}  {nominal:>10}  {hz:>10}  {deviation:>7} +-{uncertainty:>6}  by {against}: {verdict}"
            );
        }
        None => println!("  {name:11}  {:>10}  {hz:>10}  {:16}  by {against}", "unknown", ""),
    }
}

fn show_time_of_day(machine: &Machine, report: &mut Report) {
    let century = machine.acpi.and_then(|acpi| acpi.fadt()?.century);
    let Some(now) = rtc::read(century) else {
        println!("  The RTC is always updating: {}", report.check(false));
        return;
    };
    print!("  The RTC has {now}: {}", report.check(now.is_plausible()));
    if let Some(clock) = machine.kvm_clock {
        // Not a check: the RTC can be set to anything on the command line.
        print!(" (kvmclock: {:+} s)", clock.wall_clock() as i64 - now.seconds());
    }
    println!();
}
