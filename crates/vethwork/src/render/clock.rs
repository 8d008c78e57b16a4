//! The wall clock, and civil time in UTC and in this machine's zone.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use vw_model::rfc3339;

/// A date and a time of day without a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Civil {
    /// The year.
    pub(crate) year: i32,
    /// 1 to 12.
    pub(crate) month: i32,
    /// 1 to 31.
    pub(crate) day: i32,
    /// 0 to 23.
    pub(crate) hour: i32,
    /// 0 to 59.
    pub(crate) minute: i32,
    /// 0 to 59.
    pub(crate) second: i32,
}

/// Civil time in this machine's zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Local {
    /// The civil time.
    pub(crate) civil: Civil,
    /// Seconds east of Greenwich.
    pub(crate) east: i32,
    /// The zone's short name.
    pub(crate) zone: String,
}

/// Since 1970, in UTC without leap seconds.
pub(crate) fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// The seconds since 1970 of a civil time, `east` seconds east of Greenwich or in this machine's
/// zone. `None` when there is no such day or time.
pub(crate) fn seconds(civil: Civil, east: Option<i32>) -> Option<i64> {
    let Civil {
        month,
        day,
        hour,
        minute,
        second,
        ..
    } = civil;
    let in_range = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..60).contains(&second);
    let day_of = rfc3339::days(civil.year.into(), month.into(), day.into());
    let utc = day_of * 86_400 + i64::from(hour * 3600 + minute * 60 + second);
    if !in_range || civil_of(utc) != civil {
        return None;
    }
    match east {
        Some(east) => Some(utc - i64::from(east)),
        // The offset at the moment it would be in UTC, corrected once by the offset found: right
        // everywhere but within a change of the offset itself.
        None => {
            let guess = utc - i64::from(local(utc).east);
            Some(utc - i64::from(local(guess).east))
        }
    }
}

/// Civil time in UTC.
pub(crate) fn civil_of(seconds: i64) -> Civil {
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = rfc3339::date(days);
    let int = |value: i64| i32::try_from(value).unwrap_or(i32::MAX);
    Civil {
        year: int(year),
        month: int(month),
        day: int(day),
        hour: int(of_day / 3600),
        minute: int(of_day / 60 % 60),
        second: int(of_day % 60),
    }
}

/// Civil time in this machine's zone, as `TZ` and `/etc/localtime` say.
pub(crate) fn local(seconds: i64) -> Local {
    // SAFETY: `tm` is a plain C structure of integers and a pointer, for which zero is valid.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are valid for the call; localtime_r keeps neither. It reads the
    // environment, which this program never changes.
    let done = unsafe { libc::localtime_r(&seconds, &mut tm) };
    if done.is_null() {
        return Local {
            civil: civil_of(seconds),
            east: 0,
            zone: "UTC".to_owned(),
        };
    }
    let zone = if tm.tm_zone.is_null() {
        String::new()
    } else {
        // SAFETY: localtime_r sets tm_zone to a terminated text that lives as long as the program
        // (glibc keeps zone names; this program never calls tzset itself).
        unsafe { std::ffi::CStr::from_ptr(tm.tm_zone) }
            .to_string_lossy()
            .into_owned()
    };
    let east = i32::try_from(tm.tm_gmtoff).unwrap_or_default();
    Local {
        civil: civil_of(seconds + i64::from(east)),
        east,
        zone,
    }
}

/// `2006-01-02T15:04:05.000000000Z07:00`, as Docker writes events.
pub(crate) fn rfc3339_nano(nanos: i64) -> String {
    let Local { civil, east, .. } = local(nanos.div_euclid(1_000_000_000));
    let offset = if east == 0 {
        "Z".to_owned()
    } else {
        offset(east, ":")
    };
    let Civil {
        year,
        month,
        day,
        hour,
        minute,
        second,
    } = civil;
    let fraction = nanos.rem_euclid(1_000_000_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:09}{offset}")
}

/// `2006-01-02 15:04:05 -0700 MST`, as Go prints a time.
pub(crate) fn go_time(seconds: i64) -> String {
    let Local { civil, east, zone } = local(seconds);
    let Civil {
        year,
        month,
        day,
        hour,
        minute,
        second,
    } = civil;
    let offset = offset(east, "");
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} {offset} {zone}")
}

fn offset(east: i32, separator: &str) -> String {
    let sign = if east < 0 { '-' } else { '+' };
    let minutes = east.abs() / 60;
    format!("{sign}{:02}{separator}{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests;
