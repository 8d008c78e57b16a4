//! docker/go-units' own cases.

use super::human_duration;
use std::time::Duration;

#[test]
fn durations_read_as_dockers() {
    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;
    // From docker/go-units' own test.
    for (seconds, expected) in [
        (0, "Less than a second"),
        (1, "1 second"),
        (45, "45 seconds"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (61, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (3 * 60 + 40, "3 minutes"),
        (59 * 60 + 59, "59 minutes"),
        (HOUR, "About an hour"),
        (HOUR + 29 * 60, "About an hour"),
        (HOUR + 31 * 60, "2 hours"),
        (3 * HOUR + 59 * 60, "4 hours"),
        (24 * HOUR, "24 hours"),
        (36 * HOUR, "36 hours"),
        (2 * DAY, "2 days"),
        (7 * DAY, "7 days"),
        (13 * DAY + 5 * HOUR, "13 days"),
        (14 * DAY, "2 weeks"),
        (30 * DAY, "4 weeks"),
        (59 * DAY, "8 weeks"),
        (60 * DAY, "2 months"),
        (364 * DAY, "12 months"),
        (730 * DAY, "2 years"),
        (35 * 365 * DAY, "35 years"),
    ] {
        assert_eq!(
            human_duration(Duration::from_secs(seconds)),
            expected,
            "{seconds}"
        );
    }
}
