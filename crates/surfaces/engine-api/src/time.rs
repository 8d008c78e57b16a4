//! Moments as Docker's API writes and reads them.
//!
//! Owns Go's forms beside RFC 3339: its zero time, its durations, and what `since`, `until` and
//! filters take.

#[cfg(test)]
mod tests;

use crate::errors::ApiError;
use std::time::SystemTime;
use vw_model::rfc3339::{self, Nanos, fraction, nanos};

const SECOND: Nanos = 1_000_000_000;

/// Go's zero time, written where a moment has not come.
pub(crate) const ZERO: &str = "0001-01-01T00:00:00Z";

/// Whole seconds since the epoch.
pub(crate) fn unix(time: SystemTime) -> i64 {
    i64::try_from(nanos(time).div_euclid(SECOND)).unwrap_or(i64::MAX)
}

/// `time.RFC3339Nano`: the fraction without its trailing zeros.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    rfc3339::format_short(nanos(time))
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
        .or_else(|| go_duration(text).map(|before| nanos(now) - before))
        .or_else(|| rfc3339::parse_start(text));
    parsed.and_then(rfc3339::system_time).ok_or_else(|| {
        ApiError::bad_request(format!(
            "invalid time {text:?}: use seconds since 1970, an RFC 3339 time or a duration such \
             as 10m"
        ))
    })
}

fn unix_seconds(text: &str) -> Option<Nanos> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    if digits.is_empty() || digits.len() > 12 || !is_digits(digits) {
        return None;
    }
    Some(whole.parse::<Nanos>().ok()? * SECOND + self::fraction(fraction)?)
}

/// `time.ParseDuration` in nanoseconds: `1h30m`, `1.5h`, `300ms`.
fn go_duration(text: &str) -> Option<Nanos> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let mut total: Nanos = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let unit: Nanos = match unit {
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
fn scaled(number: &str, unit: Nanos) -> Option<Nanos> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if number.len() > 18 || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let whole: Nanos = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    Some(whole * unit + self::fraction(fraction)? * unit / SECOND)
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}
