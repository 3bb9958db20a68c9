//! The guest's clocks against the host's.

use std::time::{Duration, Instant};

use crate::guest::{COMMAND_LIMIT, Guest};

/// How far a clock may drift, in parts of one: 0.1 %.
const TOLERANCE: f64 = 0.001;
/// What is measured must be known better than that.
const PRECISION: f64 = TOLERANCE / 2.0;
/// How long a clock is watched at least.
const INTERVAL: Duration = Duration::from_secs(10);
/// After so long a host that answers too slowly for the precision is given up.
const LONGEST_INTERVAL: Duration = Duration::from_secs(90);
/// How often the guest is asked for the time.
const QUESTIONS: usize = 24;
/// As many of its answers must have come nearly as fast as the fastest: that one was then not delayed by chance.
const FAST_ANSWERS: usize = 3;

/// What the guest's clock showed at some time of the host's.
#[derive(Clone, Copy)]
struct Reading {
    at: Instant,
    /// By how many seconds the guest's time is behind the time since natoma was started. Answers take their time, so
    /// that it is the least of what they say.
    behind: f64,
    /// How far it may be wrong.
    slack: f64,
}

/// Checks that the guest's time, as it comes from its current clock source, runs as fast as the host's.
pub fn check_rate(guest: &mut Guest, clock: &str) {
    let first = reading(guest);
    loop {
        // The guest waits by its own timer: that has to work with this clock source, too.
        guest.begin("sleep 5");
        guest.finish(COMMAND_LIMIT);
        let last = reading(guest);
        let host = last.at - first.at;
        let drift = (first.behind - last.behind) / host.as_secs_f64();
        let precision = (first.slack + last.slack) / host.as_secs_f64();
        if host < INTERVAL || (precision > PRECISION && host < LONGEST_INTERVAL) {
            continue;
        }
        let measured = format!("{clock}: {:+.3} % +- {:.3} % in {host:.1?}", drift * 100.0, precision * 100.0);
        eprintln!("{measured}");
        guest.check(precision <= PRECISION, || format!("the guest answers too slowly to tell its rate: {measured}"));
        guest.check(drift.abs() <= TOLERANCE, || format!("the rate is wrong: {measured}"));
        return;
    }
}

/// Asks the guest for the time, which its shell knows without starting a process.
fn reading(guest: &mut Guest) -> Reading {
    guest.begin(r#"while read -r go && [ "$go" ]; do echo "now $EPOCHREALTIME"; done"#);
    let mut answers: Vec<_> = (0..QUESTIONS)
        .map(|_| {
            guest.send("go\n");
            guest.expect("now ");
            let (time, answered) = guest.expect("\n");
            let Some(time) = seconds(&time) else { guest.fail(&format!("{time:?} is not a time")) };
            (answered - guest.started()).as_secs_f64() - time.as_secs_f64()
        })
        .collect();
    guest.send("\n");
    guest.finish(COMMAND_LIMIT);
    answers.sort_by(f64::total_cmp);
    Reading { at: Instant::now(), behind: answers[0], slack: answers[FAST_ANSWERS - 1] - answers[0] }
}

/// Reads a number of seconds with six decimal places.
fn seconds(text: &str) -> Option<Duration> {
    let (seconds, micros) = text.split_once('.')?;
    Some(Duration::from_secs(seconds.parse().ok()?) + Duration::from_micros(micros.parse().ok()?))
}

/// The forms of `-rtc base=`, and the time that each stands for.
#[derive(Clone, Copy)]
pub enum Base {
    /// The host's, in UTC.
    Utc,
    /// The host's, in the time zone of [`Guest::boot`].
    LocalTime,
    /// A date and time.
    Date,
}

impl Base {
    /// Of [`Base::Date`]. The next minute is in another year.
    pub const DATE: &str = "2031-12-31T23:59:30";
    /// The same in seconds since 1970.
    const DATE_SECONDS: f64 = 1_956_527_970.0;
    /// Of the time zone, in seconds to the east.
    const ZONE: f64 = 5.5 * 3600.0;

    /// What the clock of a guest should show at a time of the host's, in seconds since 1970.
    fn time_at(self, guest: &Guest, at: Instant) -> f64 {
        let host = std::time::UNIX_EPOCH.elapsed().map_or(0.0, |time| time.as_secs_f64()) - at.elapsed().as_secs_f64();
        match self {
            Self::Utc => host,
            Self::LocalTime => host + Self::ZONE,
            Self::Date => Self::DATE_SECONDS + (at - guest.started()).as_secs_f64(),
        }
    }
}

/// Checks that the RTC shows the time it was set to by `-rtc base=`, to the second.
pub fn check_rtc(guest: &mut Guest, base: Base) {
    let asked = Instant::now();
    let shown = guest.run("read -r now < /sys/class/rtc/rtc0/since_epoch; echo $now");
    let answered = Instant::now();
    let Ok(seconds) = shown.parse::<u32>() else { guest.fail(&format!("{shown:?} is not a time")) };
    // The chip counts whole seconds, so that it is behind by up to one more.
    let (earliest, latest) = (base.time_at(guest, asked) - 2.0, base.time_at(guest, answered) + 1.0);
    guest.check((earliest..=latest).contains(&f64::from(seconds)), || {
        format!("the RTC shows {seconds}, which is not between {earliest:.1} and {latest:.1}")
    });
}

/// Checks that the RTC's alarm interrupts the guest.
pub fn check_alarm(guest: &mut Guest) {
    // One second later could be over before it is written.
    guest.run("cd /sys/class/rtc/rtc0; echo +2 > wakealarm && sleep 4");
    // The driver takes the alarm back when it is told of it, by whatever interrupt.
    let pending = guest.run("cat wakealarm");
    guest.check(pending.is_empty(), || format!("the RTC's alarm at {pending} did not interrupt"));
}
