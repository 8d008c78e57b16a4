//! Moments as Docker's API writes and reads them.
//!
//! Owns RFC 3339 as Go formats it and what `since`, `until` and filters take. No time zones but
//! UTC, no leap seconds (POSIX time has none).

#[cfg(test)]
mod tests;

use crate::errors::ApiError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: i64 = 86_400;
const SECOND: i128 = 1_000_000_000;

/// Go's zero time, written where a moment has not come.
pub(crate) const ZERO: &str = "0001-01-01T00:00:00Z";

/// Nanoseconds since the epoch.
pub(crate) fn nanos(time: SystemTime) -> i128 {
    let signed = |duration: Duration| i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => signed(after),
        Err(before) => -signed(before.duration()),
    }
}

/// Whole seconds since the epoch.
pub(crate) fn unix(time: SystemTime) -> i64 {
    i64::try_from(nanos(time).div_euclid(SECOND)).unwrap_or(i64::MAX)
}

/// `time.RFC3339Nano`: the fraction without its trailing zeros.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let nanos = nanos(time);
    let second = i64::try_from(nanos.div_euclid(SECOND)).unwrap_or(0);
    let (year, month, day) = civil(second.div_euclid(DAY));
    let of_day = second.rem_euclid(DAY);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let fraction = match nanos.rem_euclid(SECOND) {
        0 => String::new(),
        part => format!(".{part:09}").trim_end_matches('0').to_owned(),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// [`rfc3339`], or [`ZERO`].
pub(crate) fn rfc3339_or_zero(time: Option<SystemTime>) -> String {
    time.map_or_else(|| ZERO.to_owned(), rfc3339)
}

/// What `since` and `until` take: seconds since the epoch with an optional fraction, an RFC 3339
/// moment or the start of one (UTC when it names no zone), or a Go duration before `now`.
///
/// # Errors
/// 400 when it is none of them.
pub(crate) fn moment(text: &str, now: SystemTime) -> Result<SystemTime, ApiError> {
    let parsed = unix_seconds(text)
        .or_else(|| go_duration(text).map(|before| self::nanos(now) - before))
        .or_else(|| date(text));
    parsed.and_then(system_time).ok_or_else(|| {
        ApiError::bad_request(format!(
            "invalid time {text:?}: use seconds since 1970, an RFC 3339 time or a duration such \
             as 10m"
        ))
    })
}

fn system_time(nanos: i128) -> Option<SystemTime> {
    let distance = Duration::from_nanos(u64::try_from(nanos.unsigned_abs()).ok()?);
    if nanos >= 0 {
        UNIX_EPOCH.checked_add(distance)
    } else {
        UNIX_EPOCH.checked_sub(distance)
    }
}

fn unix_seconds(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    if digits.is_empty() || digits.len() > 12 || !is_digits(digits) || !is_digits(fraction) {
        return None;
    }
    let fraction: i128 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some(whole.parse::<i128>().ok()? * SECOND + fraction)
}

/// `time.ParseDuration` in nanoseconds: `1h30m`, `1.5h`, `300ms`.
fn go_duration(text: &str) -> Option<i128> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3_600 * SECOND,
            _ => return None,
        };
        total += scaled(number, unit)?;
        rest = tail;
    }
    (total != 0 || text.contains('0')).then_some(sign * total)
}

/// A decimal number times a unit, cut to whole nanoseconds.
fn scaled(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if number.len() > 18 || (whole.is_empty() && fraction.is_empty()) || !is_digits(fraction) {
        return None;
    }
    let whole: i128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let fraction: i128 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some(whole * unit + fraction * unit / SECOND)
}

/// `2006-01-02[T15:04[:05[.9]]][Z|±hh:mm]`.
fn date(text: &str) -> Option<i128> {
    let (text, offset) = split_zone(text)?;
    let (day, clock) = text.split_once('T').unwrap_or((text, ""));
    let mut parts = day.split('-').map(number);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut of_day = 0;
    if !clock.is_empty() {
        let mut parts = clock.split(':').map(number);
        let (hour, minute) = (parts.next()??, parts.next()??);
        let second = parts.next().unwrap_or(Some(0))?;
        if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        of_day = hour * 3600 + minute * 60 + second;
    }
    if !is_digits(fraction) {
        return None;
    }
    let fraction: i128 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some(i128::from(days(year, month, day) * DAY + of_day - offset) * SECOND + fraction)
}

/// Splits the zone off, as seconds east of UTC.
fn split_zone(text: &str) -> Option<(&str, i64)> {
    if let Some(text) = text.strip_suffix('Z') {
        return Some((text, 0));
    }
    let tail = text
        .len()
        .checked_sub(6)
        .filter(|at| text.is_char_boundary(*at) && *at >= 10);
    let Some((rest, zone)) = tail.map(|at| text.split_at(at)) else {
        return Some((text, 0));
    };
    let sign = match zone.as_bytes()[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return Some((text, 0)),
    };
    let (hours, minutes) = zone[1..].split_once(':')?;
    Some((rest, sign * (number(hours)? * 3600 + number(minutes)? * 60)))
}

fn number(text: &str) -> Option<i64> {
    ((1..=4).contains(&text.len()) && is_digits(text)).then(|| text.parse().ok())?
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Days since the epoch of a date in the proleptic Gregorian calendar
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date of a day since the epoch: the inverse of [`days`].
const fn civil(days: i64) -> (i64, i64, i64) {
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
