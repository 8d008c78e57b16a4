//! Points in time as users write them, into the seconds that the API takes.
//!
//! A text without a zone means the client's own zone, which the daemon cannot know: that is why
//! the client translates.

use crate::render::clock;
use std::time::Duration;

/// What `--since` and `--until` take, as `SECONDS.NANOSECONDS` since 1970: a Go duration before
/// now, such seconds, or RFC 3339 or the start of it (local time where it names no zone).
///
/// # Errors
/// A sentence when it is none of them.
pub(crate) fn moment(text: &str) -> Result<String, String> {
    if let Some(before) = go_duration(text) {
        return Ok(clock::now().saturating_sub(before).as_secs().to_string());
    }
    if !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return Ok(text.to_owned());
    }
    let (seconds, nanos) = date(text).ok_or_else(|| {
        format!(
            "invalid time {text:?}: use seconds since 1970, an RFC 3339 time or a duration such as \
             10m"
        )
    })?;
    Ok(format!("{seconds}.{nanos:09}"))
}

/// `time.ParseDuration` of a length of time: `1h30m`, `1.5h`, `300ms`; `0` needs no unit.
pub(crate) fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

/// `2006-01-02[T15[:04[:05[.999999999]]]][Z|±07:00]` as seconds and nanoseconds.
fn date(text: &str) -> Option<(i64, u32)> {
    let (day, time) = text.split_once('T').unwrap_or((text, ""));
    let (day, day_zone) = match day.strip_suffix('Z') {
        Some(day) => (day, Some(0)),
        None => (day, None),
    };
    let mut parts = day.splitn(3, '-');
    let mut number = |digits: usize| {
        let part = parts.next().filter(|part| part.len() == digits)?;
        part.parse::<i32>().ok()
    };
    let (year, month, day) = (number(4)?, number(2)?, number(2)?);
    let (time, zone) = split_zone(time)?;
    let (whole, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut of_day = whole.split(':').filter(|part| !part.is_empty());
    let mut number = || {
        of_day
            .next()
            .map_or(Some(0), |part| part.parse::<i32>().ok())
    };
    let (hour, minute, second) = (number()?, number()?, number()?);
    if of_day.next().is_some() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let local = clock::Civil {
        year,
        month,
        day,
        hour,
        minute,
        second,
    };
    Some((clock::seconds(local, zone.or(day_zone))?, nanos))
}

/// A time of day and the seconds east of Greenwich that it names, if any.
fn split_zone(time: &str) -> Option<(&str, Option<i32>)> {
    if let Some(time) = time.strip_suffix('Z') {
        return Some((time, Some(0)));
    }
    let Some(at) = time.rfind(['+', '-']) else {
        return Some((time, None));
    };
    let (time, zone) = time.split_at(at);
    let (hours, minutes) = zone[1..].split_once(':')?;
    let east = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
    Some((time, Some(if zone.starts_with('-') { -east } else { east })))
}

#[cfg(test)]
mod tests;
