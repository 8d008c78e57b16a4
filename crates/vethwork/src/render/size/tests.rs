//! Sizes written and read.

use super::{bytes_of, human_size};

#[test]
fn sizes_have_three_digits() {
    for (bytes, expected) in [
        (0.0, "0B"),
        (999.0, "999B"),
        (1000.0, "1kB"),
        (1024.0, "1.02kB"),
        (12_345.0, "12.3kB"),
        (123_456_789.0, "123MB"),
        (2_750_000.0, "2.75MB"),
        (1e15, "1PB"),
    ] {
        assert_eq!(human_size(bytes), expected, "{bytes}");
    }
}

#[test]
fn sizes_are_read_in_steps_of_1024() {
    for (text, expected) in [
        ("32", Some(32)),
        ("32b", Some(32)),
        ("64m", Some(64 << 20)),
        ("1.5G", Some(3 << 29)),
        ("10MiB", Some(10 << 20)),
        ("1 kb", Some(1024)),
        ("", None),
        ("m", None),
        ("1x", None),
        ("-1", None),
        ("99999999p", None),
    ] {
        assert_eq!(bytes_of(text).ok(), expected, "{text}");
    }
}
