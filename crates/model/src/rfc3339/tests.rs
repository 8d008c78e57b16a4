//! Moments as texts, there and back.

use super::{date, days, format, format_short, nanos, parse, parse_start, system_time};
use proptest::prelude::*;

#[test]
fn known_moments() {
    for (long, short, moment) in [
        ("1970-01-01T00:00:00.000000000Z", "1970-01-01T00:00:00Z", 0),
        (
            "2024-02-29T12:00:00.500000000Z",
            "2024-02-29T12:00:00.5Z",
            1_709_208_000_500_000_000,
        ),
        (
            "2024-02-29T12:00:00.000000001Z",
            "2024-02-29T12:00:00.000000001Z",
            1_709_208_000_000_000_001,
        ),
        (
            "1969-12-31T23:59:59.000000000Z",
            "1969-12-31T23:59:59Z",
            -1_000_000_000,
        ),
    ] {
        assert_eq!(format(moment), long);
        assert_eq!(format_short(moment), short);
        for text in [long, short] {
            assert_eq!(parse(text), Some(moment), "{text}");
            assert_eq!(parse_start(text), Some(moment), "{text}");
        }
    }
}

#[test]
fn offsets_are_from_greenwich_and_long_fractions_are_cut() {
    let noon = 1_709_208_000_000_000_000;
    for (text, moment) in [
        ("2024-02-29T14:00:00+02:00", noon),
        ("2024-02-29T06:30:00-05:30", noon),
        ("2024-02-29T12:00:00.0000000019Z", noon + 1),
    ] {
        assert_eq!(parse(text), Some(moment), "{text}");
    }
}

#[test]
fn only_a_start_may_end_early() {
    let day = 1_709_164_800_000_000_000;
    for (text, moment) in [
        ("2024-02-29", day),
        ("2024-02-29Z", day),
        ("2024-02-29T12:00", day + 43_200_000_000_000),
        ("2024-02-29T12:00Z", day + 43_200_000_000_000),
        ("2024-02-29T12:00:00", day + 43_200_000_000_000),
        ("2024-02-29T12:00:00.5", day + 43_200_500_000_000),
    ] {
        assert_eq!(parse(text), None, "{text}");
        assert_eq!(parse_start(text), Some(moment), "{text}");
    }
}

#[test]
fn what_is_no_moment_is_refused() {
    for text in [
        "",
        "2024",
        "x024-02-29T14:00:00Z",
        "2024-13-01T00:00:00Z",
        "2024-02-00T00:00:00Z",
        "2024-02-29T25:00:00Z",
        "2024-02-29T12:00:00.xZ",
        "2024-02-29T12:00:00+0:000",
        "é",
    ] {
        assert_eq!(parse_start(text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn there_and_back(moment in -1_000_000_000_000_000_000_i128..9_000_000_000_000_000_000) {
        prop_assert_eq!(parse(&format(moment)), Some(moment));
        prop_assert_eq!(parse(&format_short(moment)), Some(moment));
        prop_assert_eq!(system_time(moment).map(nanos), Some(moment));
    }

    #[test]
    fn a_day_is_one_date(day in -1_000_000_i64..1_000_000) {
        let (year, month, of_month) = date(day);
        prop_assert_eq!(days(year, month, of_month), day);
    }

    #[test]
    fn nothing_makes_it_panic(text in "[0-9TZ:.+-]{0,40}|\\PC{0,40}") {
        let _ = (parse(&text), parse_start(&text));
    }
}
