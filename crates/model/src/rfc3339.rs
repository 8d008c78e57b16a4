//! Moments in RFC 3339, and the calendar beneath.
//!
//! Owns the conversion between text, nanoseconds since 1970 and dates. No time zones but offsets,
//! no leap seconds (POSIX time has none); it must not read a clock.

#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: i64 = 86_400;
const SECOND: Nanos = 1_000_000_000;

/// Nanoseconds since 1970, in UTC.
pub type Nanos = i128;

/// A moment as nanoseconds since 1970.
#[must_use]
pub fn nanos(time: SystemTime) -> Nanos {
    let signed = |duration: Duration| Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => signed(after),
        Err(before) => -signed(before.duration()),
    }
}

/// The inverse of [`nanos`]; `None` more than 584 years from 1970.
#[must_use]
pub fn system_time(nanos: Nanos) -> Option<SystemTime> {
    let distance = Duration::from_nanos(u64::try_from(nanos.unsigned_abs()).ok()?);
    if nanos >= 0 {
        UNIX_EPOCH.checked_add(distance)
    } else {
        UNIX_EPOCH.checked_sub(distance)
    }
}

/// Writes a moment as `2006-01-02T15:04:05.000000000Z`.
#[must_use]
pub fn format(nanos: Nanos) -> String {
    format!("{}.{:09}Z", seconds(nanos), nanos.rem_euclid(SECOND))
}

/// Writes a moment without the zeros that its fraction ends with (Go's `time.RFC3339Nano`).
#[must_use]
pub fn format_short(nanos: Nanos) -> String {
    let fraction = match nanos.rem_euclid(SECOND) {
        0 => String::new(),
        part => format!(".{part:09}").trim_end_matches('0').to_owned(),
    };
    format!("{}{fraction}Z", seconds(nanos))
}

fn seconds(nanos: Nanos) -> String {
    let second = i64::try_from(nanos.div_euclid(SECOND)).unwrap_or(0);
    let (year, month, day) = date(second.div_euclid(DAY));
    let of_day = second.rem_euclid(DAY);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// Reads `2006-01-02T15:04:05[.9](Z|±hh:mm)`; digits behind the ninth of a fraction are dropped.
#[must_use]
pub fn parse(text: &str) -> Option<Nanos> {
    let read = read(text)?;
    Some(read.moment - Nanos::from(read.east.filter(|_| read.whole)?) * SECOND)
}

/// As [`parse`] of a text that may end early, at midnight or before the seconds, and is in UTC
/// where it names no zone: `2006-01-02[T15:04[:05[.9]]][Z|±hh:mm]`.
#[must_use]
pub fn parse_start(text: &str) -> Option<Nanos> {
    let read = read(text)?;
    Some(read.moment - Nanos::from(read.east.unwrap_or_default()) * SECOND)
}

/// What a text says.
struct Read {
    /// As if it were in UTC.
    moment: Nanos,
    /// Seconds east of Greenwich, where it says so.
    east: Option<i64>,
    /// Whether it goes to the seconds.
    whole: bool,
}

fn read(text: &str) -> Option<Read> {
    let (text, east) = split_zone(text)?;
    let (day, clock) = text.split_once('T').unwrap_or((text, ""));
    let mut parts = day.split('-').map(number);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let (mut of_day, mut whole) = (0, false);
    if !clock.is_empty() {
        let mut parts = clock.split(':').map(number);
        let (hour, minute) = (parts.next()??, parts.next()??);
        let second = parts.next();
        whole = second.is_some();
        let second = second.unwrap_or(Some(0))?;
        if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        of_day = hour * 3600 + minute * 60 + second;
    }
    let moment = Nanos::from(days(year, month, day) * DAY + of_day) * SECOND;
    Some(Read {
        moment: moment + self::fraction(fraction)?,
        east,
        whole,
    })
}

/// Splits the zone off, as seconds east of Greenwich.
fn split_zone(text: &str) -> Option<(&str, Option<i64>)> {
    if let Some(text) = text.strip_suffix('Z') {
        return Some((text, Some(0)));
    }
    let tail = text
        .len()
        .checked_sub(6)
        .filter(|at| text.is_char_boundary(*at) && *at >= 10);
    let Some((rest, zone)) = tail.map(|at| text.split_at(at)) else {
        return Some((text, None));
    };
    let sign = match zone.as_bytes()[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return Some((text, None)),
    };
    let (hours, minutes) = zone[1..]
        .split_once(':')
        .filter(|(hours, _)| hours.len() == 2)?;
    let east = sign * (number(hours)? * 3600 + number(minutes)? * 60);
    Some((rest, Some(east)))
}

/// The nanoseconds of the digits behind a decimal point; digits behind the ninth are dropped.
/// `None` when they are no digits.
#[must_use]
pub fn fraction(digits: &str) -> Option<Nanos> {
    if !is_digits(digits) {
        return None;
    }
    format!("{digits:0<9}").get(..9)?.parse().ok()
}

fn number(text: &str) -> Option<i64> {
    ((1..=4).contains(&text.len()) && is_digits(text)).then(|| text.parse().ok())?
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Days since 1970 of a year, month and day in the proleptic Gregorian calendar
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
#[must_use]
pub const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The year, month and day of a day since 1970: the inverse of [`days`].
#[must_use]
pub const fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400;
    (if month <= 2 { year + 1 } else { year }, month, day)
}
