//! RFC 3339 in UTC: what image configurations and container logs carry.
//!
//! Owns only the conversion; no time zones, no leap seconds (POSIX time has none).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: i64 = 86_400;

/// Nanoseconds since the epoch.
pub(crate) type Nanos = i128;

/// A moment as nanoseconds since the epoch.
pub(crate) fn nanos(time: SystemTime) -> Nanos {
    let signed = |duration: Duration| i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => signed(after),
        Err(before) => -signed(before.duration()),
    }
}

/// Writes a moment as `2006-01-02T15:04:05.000000000Z`.
pub(crate) fn format(nanos: Nanos) -> String {
    let second = i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or(0);
    let fraction = nanos.rem_euclid(1_000_000_000);
    let (year, month, day) = civil(second.div_euclid(DAY));
    let of_day = second.rem_euclid(DAY);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:09}Z")
}

/// Reads `2006-01-02T15:04:05[.fraction](Z|±hh:mm)`.
pub(crate) fn parse(text: &str) -> Option<Nanos> {
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then_some(())?;
        digits.parse().ok()
    };
    let days = days(number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let of_day = number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    let rest = text.get(19..)?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?),
        None => ("", rest),
    };
    let fraction: i128 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let offset = match zone.as_bytes() {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), ..] if zone.len() == 6 => {
            let hours: i64 = zone.get(1..3)?.parse().ok()?;
            let minutes: i64 = zone.get(4..6)?.parse().ok()?;
            let seconds = hours * 3600 + minutes * 60;
            if *sign == b'+' { seconds } else { -seconds }
        }
        _ => return None,
    };
    Some(i128::from(days * DAY + of_day - offset) * 1_000_000_000 + fraction)
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

#[cfg(test)]
mod tests {
    use super::{format, parse};
    use proptest::prelude::*;

    #[test]
    fn known_moments() {
        for (text, nanos) in [
            ("1970-01-01T00:00:00.000000000Z", 0),
            ("2024-02-29T12:00:00.500000000Z", 1_709_208_000_500_000_000),
            ("1969-12-31T23:59:59.000000000Z", -1_000_000_000),
        ] {
            assert_eq!(format(nanos), text);
            assert_eq!(parse(text), Some(nanos));
        }
        assert_eq!(
            parse("2024-02-29T14:00:00+02:00"),
            Some(1_709_208_000_000_000_000)
        );
        for bad in [
            "",
            "2024",
            "2024-02-29T14:00:00",
            "2024-02-29T14:00:00.5",
            "x024-02-29T14:00:00Z",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn there_and_back(nanos in -1_000_000_000_000_000_000_i128..9_000_000_000_000_000_000) {
            prop_assert_eq!(parse(&format(nanos)), Some(nanos));
        }

        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }
    }
}
