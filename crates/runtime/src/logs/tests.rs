//! What is promised of reading logs, on examples.

use super::{LogOptions, LogReader, record, tail};
use expect_test::{Expect, expect};
use std::{
    fs::File,
    io::{BufReader, Seek, SeekFrom, Write},
};
use vw_model::rfc3339;

const LOG: &str = "\
2026-01-02T03:04:05.000000001+00:00 stdout F one
2026-01-02T03:04:06.000000000+00:00 stderr F two
2026-01-02T03:04:07.000000000+00:00 stdout P thr
2026-01-02T03:04:07.500000000+00:00 stdout F ee
garbage
2026-01-02T03:04:08.000000000+00:00 stdout F 
2026-01-02T03:04:09.000000000+00:00 stdout P $ ";

fn file(text: &str) -> File {
    let path = std::env::temp_dir().join(format!(
        "vw-log-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    file
}

fn check(options: &LogOptions, since: &str, until: &str, expected: Expect) {
    let mut file = file(LOG);
    if let Some(lines) = options.tail {
        let from = tail::offset(&file, lines).unwrap();
        file.seek(SeekFrom::Start(from)).unwrap();
    }
    let reader = LogReader {
        file: BufReader::new(file),
        pending: Vec::new(),
        since: rfc3339::parse(since),
        until: rfc3339::parse(until),
        stdout: options.stdout,
        stderr: options.stderr,
        follow: None,
    };
    let mut text = String::new();
    for entry in reader {
        let entry = entry.unwrap();
        let data = String::from_utf8(entry.data.clone()).unwrap();
        text.push_str(&format!(
            "{} {:?} {data:?}\n",
            entry.timestamp(),
            entry.stream
        ));
    }
    expected.assert_eq(&text);
}

#[test]
fn all() {
    check(
        &LogOptions::default(),
        "",
        "",
        expect![[r#"
            2026-01-02T03:04:05.000000001Z Stdout "one\n"
            2026-01-02T03:04:06.000000000Z Stderr "two\n"
            2026-01-02T03:04:07.000000000Z Stdout "thr"
            2026-01-02T03:04:07.500000000Z Stdout "ee\n"
            2026-01-02T03:04:08.000000000Z Stdout "\n"
        "#]],
    );
}

#[test]
fn one_stream_within_a_time() {
    let options = LogOptions {
        stderr: false,
        ..LogOptions::default()
    };
    check(
        &options,
        "2026-01-02T03:04:06Z",
        "2026-01-02T03:04:07.2Z",
        expect![[r#"
            2026-01-02T03:04:07.000000000Z Stdout "thr"
        "#]],
    );
}

#[test]
fn tails() {
    // The last record is not finished: it counts as a line, and shows once it is one.
    for (lines, expected) in [
        (0, expect![""]),
        (
            2,
            expect![[r#"
                2026-01-02T03:04:08.000000000Z Stdout "\n"
            "#]],
        ),
        (
            3,
            expect![[r#"
                2026-01-02T03:04:07.000000000Z Stdout "thr"
                2026-01-02T03:04:07.500000000Z Stdout "ee\n"
                2026-01-02T03:04:08.000000000Z Stdout "\n"
            "#]],
        ),
    ] {
        let options = LogOptions {
            tail: Some(lines),
            ..LogOptions::default()
        };
        check(&options, "", "", expected);
    }
}

#[test]
fn a_tail_across_blocks() {
    let long = "x".repeat(100_000);
    let record = |text: &str| format!("2026-01-02T03:04:05.000000001+00:00 stdout F {text}\n");
    let text = record(&long) + &record("a") + &record(&long) + &record("b");
    let file = file(&text);
    for (lines, from) in [(1, 3), (2, 2), (3, 1), (4, 0), (9, 0)] {
        let expected: usize = text.split_inclusive('\n').take(from).map(str::len).sum();
        assert_eq!(
            tail::offset(&file, lines).unwrap(),
            expected as u64,
            "{lines}"
        );
    }
}

#[test]
fn what_is_no_record() {
    for line in [
        "",
        "x",
        "2026-01-02T03:04:05Z stdout F",
        "2026-01-02T03:04:05Z stdin F x",
        "2026-01-02T03:04:05Z stdout X x",
    ] {
        assert_eq!(record::parse(line.as_bytes()), None, "{line}");
    }
}
