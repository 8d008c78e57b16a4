//! Civil time both ways.

use super::{Civil, civil_of, offset, seconds};
use proptest::prelude::*;

proptest! {
    #[test]
    fn civil_time_goes_both_ways(at in -62_135_596_800_i64..253_402_300_800) {
        prop_assert_eq!(seconds(civil_of(at), Some(0)), Some(at));
    }
}

#[test]
fn days_that_are_not_are_none() {
    let civil = |year, month, day| Civil {
        year,
        month,
        day,
        hour: 0,
        minute: 0,
        second: 0,
    };
    for (date, there) in [
        (civil(2023, 2, 29), false),
        (civil(2024, 2, 29), true),
        (civil(2024, 4, 31), false),
        (civil(2024, 0, 1), false),
        (civil(1900, 2, 29), false),
        (civil(2000, 2, 29), true),
    ] {
        assert_eq!(seconds(date, Some(0)).is_some(), there, "{date:?}");
    }
}

#[test]
fn offsets_have_a_sign_and_minutes() {
    assert_eq!(offset(-5400, ":"), "-01:30");
    assert_eq!(offset(7200, ""), "+0200");
}
