//! Moments and durations in Go's forms.

use super::{go_duration, moment, rfc3339, unix};
use proptest::prelude::*;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn at(nanos: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanos)
}

#[test]
fn moments_are_written_as_go_writes_them() {
    for (nanos, text) in [
        (0, "1970-01-01T00:00:00Z"),
        (1_709_208_000_500_000_000, "2024-02-29T12:00:00.5Z"),
        (1_709_208_000_000_000_001, "2024-02-29T12:00:00.000000001Z"),
    ] {
        assert_eq!(rfc3339(at(nanos)), text);
    }
    assert_eq!(
        rfc3339(UNIX_EPOCH - Duration::from_secs(1)),
        "1969-12-31T23:59:59Z"
    );
}

#[test]
fn moments_are_read_in_every_form() {
    let now = at(10_000_000_000_000);
    for (text, seconds) in [
        ("0", 0),
        ("1700000000", 1_700_000_000),
        ("1700000000.250000000", 1_700_000_000),
        ("2024-02-29T12:00:00Z", 1_709_208_000),
        ("2024-02-29T14:00:00+02:00", 1_709_208_000),
        ("2024-02-29T12:00:00", 1_709_208_000),
        ("2024-02-29T12:00", 1_709_208_000),
        ("2024-02-29", 1_709_164_800),
        ("2024-02-29Z", 1_709_164_800),
        ("10m", 9_400),
        ("1h30m", 4_600),
        ("1.5h", 4_600),
    ] {
        assert_eq!(moment(text, now).map(unix), Ok(seconds), "{text}");
    }
    for bad in [
        "",
        "x",
        "1x",
        "2024",
        "2024-13-01",
        "2024-02-29T25:00",
        "m",
        ".",
        "é",
        "10",
    ] {
        let fine = bad == "10" || bad == "2024";
        assert_eq!(moment(bad, now).is_ok(), fine, "{bad:?}");
    }
}

#[test]
fn durations_are_gos() {
    assert_eq!(go_duration("300ms"), Some(300_000_000));
    assert_eq!(go_duration("-1s"), Some(-1_000_000_000));
    assert_eq!(go_duration("0s"), Some(0));
    assert_eq!(go_duration("1"), None);
    assert_eq!(go_duration(""), None);
}

proptest! {
    #[test]
    fn what_is_written_is_read(nanos in 0_u64..9_000_000_000_000_000_000) {
        prop_assert_eq!(moment(&rfc3339(at(nanos)), UNIX_EPOCH), Ok(at(nanos)));
    }

    #[test]
    fn nothing_makes_it_panic(text in "[0-9TZ:.+hms-]{0,30}|\\PC{0,20}") {
        let _ = moment(&text, UNIX_EPOCH);
    }
}
