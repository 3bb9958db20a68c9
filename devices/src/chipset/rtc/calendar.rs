//! Between seconds since 1970 and the chip's bytes.

use std::fmt;

use time::{Date, Duration, Month, OffsetDateTime};

use super::registers::{RegB, index};

/// In 12-hour mode, the bit of the hours that says afternoon.
const PM: u8 = 0x80;
const SECONDS_PER_DAY: i64 = 86_400;

/// A date and time of day.
pub struct Moment {
    date: OffsetDateTime,
    /// 1 is Sunday.
    weekday: u8,
}

impl Moment {
    /// The moment `unix` seconds after 1970, in the years 0 to 9999 that the chip can show. The day of the week is
    /// `weekday_shift` days ahead of the calendar's.
    pub fn from_unix(unix: i64, weekday_shift: u8) -> Self {
        let range =
            (Date::from_calendar_date(0, Month::January, 1), Date::from_calendar_date(9999, Month::December, 31));
        let limit = |date: Result<Date, _>| date.map_or(0, |date: Date| date.midnight().assume_utc().unix_timestamp());
        let unix = unix.clamp(limit(range.0), limit(range.1) + SECONDS_PER_DAY - 1);
        let date = OffsetDateTime::from_unix_timestamp(unix).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let weekday = (date.weekday().number_days_from_sunday() + weekday_shift) % 7 + 1;
        Self { date, weekday }
    }

    /// The byte of `register`.
    pub fn encode(&self, register: usize, b: RegB) -> u8 {
        // Years are 0 to 9999.
        let (century, year) = ((self.date.year() / 100) as u8, (self.date.year() % 100) as u8);
        match register {
            index::SECONDS => encode(self.date.second(), b),
            index::MINUTES => encode(self.date.minute(), b),
            index::HOURS => encode_hours(self.date.hour(), b),
            index::WEEKDAY => encode(self.weekday, b),
            index::DAY => encode(self.date.day(), b),
            index::MONTH => encode(self.date.month().into(), b),
            index::YEAR => encode(year, b),
            _ => encode(century, b),
        }
    }

    /// What the bytes say, in seconds since 1970, and how many days their day of the week is ahead of the calendar's.
    /// Values that no calendar has (a 31st of February) count on into the next unit.
    pub fn decode(cmos: &[u8], b: RegB) -> (i64, u8) {
        let byte = |register: usize| i64::from(decode(cmos[register], b));
        let months = byte(index::CENTURY) * 1200 + byte(index::YEAR) * 12 + (byte(index::MONTH) - 1).max(0);
        let (year, month) = ((months / 12).min(9999) as i32, (months % 12) as u8 + 1);
        let first = Month::try_from(month).and_then(|month| Date::from_calendar_date(year, month, 1));
        let first = first.map_or(OffsetDateTime::UNIX_EPOCH, |date| date.midnight().assume_utc());
        let hours = i64::from(decode_hours(cmos[index::HOURS], b));
        let seconds = (byte(index::DAY) - 1).max(0) * SECONDS_PER_DAY
            + hours * 3600
            + byte(index::MINUTES) * 60
            + byte(index::SECONDS);
        let date = first.saturating_add(Duration::seconds(seconds));
        let shown = (byte(index::WEEKDAY) - 1).rem_euclid(7);
        let calendar = i64::from(date.weekday().number_days_from_sunday());
        (date.unix_timestamp(), (shown - calendar).rem_euclid(7) as u8)
    }

    /// Seconds from this moment until the time of day matches, 0 if it does now; `None` in a part is any value.
    pub fn seconds_until(&self, (hour, minute, second): (Option<u8>, Option<u8>, Option<u8>)) -> Option<u32> {
        let now =
            u32::from(self.date.hour()) * 3600 + u32::from(self.date.minute()) * 60 + u32::from(self.date.second());
        let fits = |part: Option<u8>, value: u32| part.is_none_or(|part| u32::from(part) == value);
        // Whole hours and minutes that can't match are skipped.
        let mut at = now;
        while at < now + 86_400 {
            let (h, m, s) = (at / 3600 % 24, at / 60 % 60, at % 60);
            if !fits(hour, h) {
                at += 3600 - at % 3600;
            } else if !fits(minute, m) {
                at += 60 - at % 60;
            } else if !fits(second, s) {
                at += 1;
            } else {
                return Some(at - now);
            }
        }
        None
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (date, time) = (self.date.date(), self.date.time());
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
            date.year(),
            u8::from(date.month()),
            date.day(),
            time.hour(),
            time.minute(),
            time.second()
        )
    }
}

fn encode(value: u8, b: RegB) -> u8 {
    if b.binary() { value } else { ((value / 10) << 4) | (value % 10) }
}

/// The value of a byte. BCD digits above 9 count as they are.
pub fn decode(byte: u8, b: RegB) -> u8 {
    if b.binary() { byte } else { (byte >> 4) * 10 + (byte & 0xf) }
}

fn encode_hours(hour: u8, b: RegB) -> u8 {
    if b.hours_24() {
        return encode(hour, b);
    }
    let twelve = if hour.is_multiple_of(12) { 12 } else { hour % 12 };
    encode(twelve, b) | if hour >= 12 { PM } else { 0 }
}

/// The hour of a byte, 0 to 23 if it is valid.
pub fn decode_hours(byte: u8, b: RegB) -> u8 {
    if b.hours_24() {
        return decode(byte, b);
    }
    let hour = decode(byte & !PM, b) % 12;
    if byte & PM != 0 { hour + 12 } else { hour }
}
