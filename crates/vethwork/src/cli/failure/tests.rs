//! Exit statuses and sentences.

use super::Failure;
use crate::client::Error;
use hyper::StatusCode;
use std::io;

#[test]
fn the_status_of_run_is_told_from_the_sentence() {
    for (sentence, status) in [
        (
            "failed to create task: exec: \"x\": executable file not found in $PATH",
            127,
        ),
        ("exec: \"/x\": stat /x: no such file or directory", 127),
        ("exec: \"/x\": permission denied", 126),
        ("exec: \"/etc\": is a directory", 126),
        ("No such image: x:latest", 125),
    ] {
        let refused = Error::Refused {
            status: StatusCode::BAD_REQUEST,
            message: sentence.into(),
        };
        assert_eq!(Failure::Client(refused).run_status(), status, "{sentence}");
    }
    assert_eq!(Failure::Status(7).run_status(), 7);
}

#[test]
fn a_cause_is_said_once() {
    let source = io::Error::other("why");
    assert_eq!(
        Failure::Io {
            what: "what".into(),
            source
        }
        .chain(),
        "what: why"
    );
    let host = "unix:///x".parse().unwrap();
    let source = io::ErrorKind::NotFound.into();
    let unreachable = Failure::from(Error::Unreachable { host, source });
    assert_eq!(
        unreachable.chain(),
        "Cannot connect to the vethwork daemon at unix:///x. Is it running?: entity not found"
    );
}
