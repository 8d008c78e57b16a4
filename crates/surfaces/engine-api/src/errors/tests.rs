//! Kinds and the table against Docker's status codes.

use super::{ApiError, ROWS, listed, status_of};
use vw_model::{Error, Kind};

#[test]
fn every_kind_has_dockers_status() {
    for (kind, status) in [
        (Kind::InvalidArgument, 400),
        (Kind::NotFound, 404),
        (Kind::Conflict, 409),
        (Kind::Forbidden, 403),
        (Kind::NotModified, 304),
        (Kind::Unsupported, 501),
        (Kind::Unavailable, 503),
        (Kind::Exhausted, 503),
        (Kind::Internal, 500),
    ] {
        assert_eq!(status_of(kind).as_u16(), status, "{kind:?}");
    }
}

#[test]
fn rows_override_kinds() {
    let port = Error::conflict(
        "port-allocated",
        "Bind for 0.0.0.0:80 failed: port is already allocated",
    );
    let refusal = ApiError::of("start", &port);
    assert_eq!(refusal.status, 500);
    let pools = Error::new(
        Kind::Exhausted,
        "pools-exhausted",
        "all predefined address pools have been fully subnetted",
    );
    assert_eq!(ApiError::of("network create", &pools).status, 400);
    let apart = Error::new(Kind::Forbidden, "not-connected", "not connected");
    assert_eq!(ApiError::of("network disconnect", &apart).status, 500);
    assert_eq!(ApiError::of("network connect", &apart).status, 403);
}

#[test]
fn one_row_at_most_fits() {
    for (at, row) in ROWS.iter().enumerate() {
        let same =
            |other: &&super::Row| other.operation == row.operation && other.reason == row.reason;
        assert_eq!(
            ROWS.iter().position(|other| same(&other)),
            Some(at),
            "{}",
            row.reason
        );
    }
}

#[test]
fn causes_are_told_once() {
    let error = Error::internal("x", "cannot do it").because("the disk is full");
    assert_eq!(
        ApiError::of("any", &error).message,
        "cannot do it: the disk is full"
    );
    assert_eq!(listed(&["a".to_owned()]), "a");
    assert_eq!(listed(&["a".to_owned(), "b".to_owned()]), "* a\n* b");
}
