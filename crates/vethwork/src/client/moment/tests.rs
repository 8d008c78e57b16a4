//! Durations and dates as Go and Docker read them.

use super::{date, go_duration, moment};
use std::time::Duration;

#[test]
fn durations_are_gos() {
    for (text, expected) in [
        ("1h30m", Some(5_400_000)),
        ("1.5h", Some(5_400_000)),
        ("300ms", Some(300)),
        ("0", Some(0)),
        ("0s", Some(0)),
        ("10", None),
        ("", None),
        ("1d", None),
        ("s", None),
        ("1..2s", None),
    ] {
        assert_eq!(
            go_duration(text),
            expected.map(Duration::from_millis),
            "{text}"
        );
    }
}

#[test]
fn dates_with_a_zone_are_exact() {
    for (text, expected) in [
        ("2024-01-02T03:04:05Z", Some((1_704_164_645, 0))),
        ("2024-01-02T03:04:05.5Z", Some((1_704_164_645, 500_000_000))),
        ("2024-01-02T05:04:05+02:00", Some((1_704_164_645, 0))),
        ("2024-01-02T01:34:05-01:30", Some((1_704_164_645, 0))),
        ("2024-01-02Z", Some((1_704_153_600, 0))),
        ("2024-02-29T00:00Z", Some((1_709_164_800, 0))),
        ("2024-13-01Z", None),
        ("2024-02-30Z", None),
        ("24-01-01Z", None),
        ("2024-01-01T25:00:00Z", None),
        ("2024-01-01T1:2:3:4Z", None),
        ("yesterday", None),
    ] {
        assert_eq!(date(text), expected, "{text}");
    }
}

#[test]
fn moments_become_seconds() {
    assert_eq!(moment("1704164645.25").unwrap(), "1704164645.25");
    assert_eq!(
        moment("2024-01-02T03:04:05.25Z").unwrap(),
        "1704164645.250000000"
    );
    assert!(moment("soon").is_err());
}
