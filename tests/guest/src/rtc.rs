//! The real-time clock: a Motorola MC146818A and its successors, with a century byte where the firmware says.

use core::fmt;

use crate::ring0::{inb, outb};

const INDEX: u16 = 0x70;
const DATA: u16 = 0x71;

const SECONDS: u8 = 0x00;
const MINUTES: u8 = 0x02;
const HOURS: u8 = 0x04;
const DAY: u8 = 0x07;
const MONTH: u8 = 0x08;
const YEAR: u8 = 0x09;
const REGISTER_A: u8 = 0x0a;
const REGISTER_B: u8 = 0x0b;
const REGISTER_C: u8 = 0x0c;

const A_UPDATE_IN_PROGRESS: u8 = 1 << 7;
const A_RATE: u8 = 0x0f;
const B_24_HOURS: u8 = 1 << 1;
const B_BINARY: u8 = 1 << 2;
const B_PERIODIC_INTERRUPT: u8 = 1 << 6;
const HOURS_PM: u8 = 1 << 7;

/// The interrupt line.
pub const IRQ: u8 = 8;

/// How often to look for a moment without an update, which takes the clock 2 ms at most.
const PATIENCE: u32 = 10_000;

/// A date and time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs)]
pub struct DateTime {
    pub year: u16,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second } = self;
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }
}

impl DateTime {
    /// Whether every field is in its range.
    pub fn is_plausible(&self) -> bool {
        (1..=12).contains(&self.month)
            && (1..=31).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second < 60
    }

    /// Seconds since 1970, by the Gregorian calendar.
    pub fn seconds(&self) -> i64 {
        // Years that begin in March have their leap day at the end, and months whose lengths make a straight line.
        let month = (i64::from(self.month) + 9) % 12;
        let year = i64::from(self.year) - i64::from(self.month < 3);
        let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + i64::from(self.day) - 1;
        const DAYS_BEFORE_1970: i64 = 719_468;
        let time = i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        (days - DAYS_BEFORE_1970) * 86_400 + time
    }
}

/// The date and time, or `None` if there never is a moment at which to read them. Without a century register the years
/// are those from 2000 on.
pub fn read(century: Option<u8>) -> Option<DateTime> {
    let mut previous = None;
    for _ in 0..PATIENCE {
        if register(REGISTER_A) & A_UPDATE_IN_PROGRESS != 0 {
            continue;
        }
        let now = read_fields(century);
        if previous == Some(now) {
            return Some(now);
        }
        previous = Some(now);
    }
    None
}

/// Starts periodic interrupts at 32768 Hz divided by a power of two; the rate is the exponent plus one, from 3 to 15.
pub fn start_periodic(rate: u8) {
    set_register(REGISTER_A, register(REGISTER_A) & !A_RATE | rate & A_RATE);
    // The flag is set at that rate whether its interrupt is enabled or not: an old one is not to interrupt.
    acknowledge();
    set_register(REGISTER_B, register(REGISTER_B) | B_PERIODIC_INTERRUPT);
}

/// Stops them.
pub fn stop_periodic() {
    set_register(REGISTER_B, register(REGISTER_B) & !B_PERIODIC_INTERRUPT);
    acknowledge();
}

/// Takes note of the interrupt, without which there is no further one.
pub fn acknowledge() {
    register(REGISTER_C);
}

fn read_fields(century: Option<u8>) -> DateTime {
    let mode = register(REGISTER_B);
    let binary = |value: u8| if mode & B_BINARY != 0 { value } else { (value >> 4) * 10 + (value & 0xf) };
    let hours = register(HOURS);
    let hour = if mode & B_24_HOURS != 0 {
        binary(hours)
    } else {
        binary(hours & !HOURS_PM) % 12 + if hours & HOURS_PM != 0 { 12 } else { 0 }
    };
    let century = century.map_or(20, |index| binary(register(index)));
    DateTime {
        year: u16::from(century) * 100 + u16::from(binary(register(YEAR))),
        month: binary(register(MONTH)),
        day: binary(register(DAY)),
        hour,
        minute: binary(register(MINUTES)),
        second: binary(register(SECONDS)),
    }
}

fn register(index: u8) -> u8 {
    outb(INDEX, index);
    inb(DATA)
}

fn set_register(index: u8, value: u8) {
    outb(INDEX, index);
    outb(DATA, value);
}
