//! `-rtc`: the date at start, and what the clock follows.

use super::device::Globals;
use crate::cli::error::UsageError;
use crate::cli::settings::Settings;
use crate::config::{LostTickPolicy, RtcBase, RtcConfig};

/// Reads `-rtc`.
pub fn build(settings: &Settings, globals: &Globals) -> Result<RtcConfig, UsageError> {
    let rtc = settings.merged("rtc");
    let base = match rtc.text("base") {
        None | Some("utc") => RtcBase::Utc,
        Some("localtime") => RtcBase::Localtime,
        Some(date) => RtcBase::Date(parse_date(date).ok_or_else(|| {
            rtc.error("base", format_args!("base={date}: expected utc, localtime, or a date like 2006-06-17T16:01:21 or 2006-06-17, not before 1970"))
        })?),
    };
    let lost_ticks = match rtc.choice::<String>("driftfix").as_deref() {
        Some("slew") => LostTickPolicy::Slew,
        Some(_) => LostTickPolicy::Discard,
        None => globals.rtc_lost_ticks().unwrap_or(LostTickPolicy::Discard),
    };
    Ok(RtcConfig { base, clock: rtc.choice("clock").unwrap_or_default(), lost_ticks })
}

/// Seconds from 1970-01-01T00:00:00 to a date of the Gregorian calendar, `YYYY-MM-DD` with optional `THH:MM:SS`.
fn parse_date(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T').unwrap_or((text, "0:0:0"));
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(time, ':')?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let month_lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let month_index = usize::try_from(month.checked_sub(1)?).ok()?;
    let valid = (1970..=9999).contains(&year)
        && (1..=*month_lengths.get(month_index)?).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !valid {
        return None;
    }
    let years_before = year - 1;
    let days = 365 * (year - 1970) + (years_before / 4 - years_before / 100 + years_before / 400) - 477
        + month_lengths[..month_index].iter().sum::<i64>()
        + day
        - 1;
    Some(days * 86400 + hour * 3600 + minute * 60 + second)
}

/// Three numbers of up to four digits.
fn numbers(text: &str, separator: char) -> Option<[i64; 3]> {
    let numbers: Option<Vec<i64>> = text
        .split(separator)
        .map(|part| {
            ((1..=4).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok())?
        })
        .collect();
    numbers?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected values are those of `date -u -d TEXT +%s`.
    #[test]
    fn dates_count_seconds_since_1970() {
        for (text, seconds) in [
            ("1970-01-01", Some(0)),
            ("2006-06-17T16:01:21", Some(1_150_560_081)),
            ("2006-06-17", Some(1_150_502_400)),
            ("2006-6-7", Some(1_149_638_400)),
            ("2000-02-29T23:59:59", Some(951_868_799)),
            ("2000-03-01", Some(951_868_800)),
            ("2100-03-01", Some(4_107_542_400)),
            ("9999-12-31T23:59:59", Some(253_402_300_799)),
            ("1969-12-31", None),
            ("10000-01-01", None),
            ("2001-02-29", None),
            ("2100-02-29", None),
            ("2006-13-01", None),
            ("2006-00-01", None),
            ("2006-01-00", None),
            ("2006-06-17T24:00:00", None),
            ("2006-06-17T16:60:00", None),
            ("2006-06-17T16:01", None),
            ("2006-06-17 16:01:21", None),
            ("2006-06", None),
            ("2006-06-+7", None),
            ("now", None),
            ("", None),
        ] {
            assert_eq!(parse_date(text), seconds, "{text}");
        }
    }
}
