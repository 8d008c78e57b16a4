//! Which port is tried when.

use super::*;
use vw_kernel::fake::FakeKernel;

/// What is had where others have `taken`, and what was tried.
fn had(kept: Option<u16>, taken: &[u16]) -> (Result<u16>, Vec<u16>) {
    let mut tried = Vec::new();
    let take = |port| {
        tried.push(port);
        Ok((!taken.contains(&port)).then_some(()))
    };
    let addr = [192, 0, 2, 1].into();
    let had = encryption_port(&FakeKernel::new(), addr, kept, take).map(|(port, ())| port);
    (had, tried)
}

#[test]
fn the_port_that_others_know_is_tried_first_and_then_all_in_order() {
    let rows: [(_, &[u16], _, &[u16]); 5] = [
        (None, &[], 51_820, &[51_820]),
        (None, &[51_820, 51_821], 51_822, &[51_820, 51_821, 51_822]),
        (Some(51_822), &[51_820], 51_822, &[51_822]),
        (
            Some(51_821),
            &[51_820, 51_821],
            51_822,
            &[51_821, 51_820, 51_822],
        ),
        // Of a former version, which took any.
        (Some(40_000), &[], 51_820, &[51_820]),
    ];
    for (kept, taken, expected, order) in rows {
        let (had, tried) = had(kept, taken);
        assert_eq!((had.unwrap(), &tried[..]), (expected, order));
    }
}

#[test]
fn where_all_are_taken_none_is_had_and_the_refusal_says_which() {
    let all: Vec<u16> = ENCRYPTION_PORTS.collect();
    let (had, tried) = had(None, &all);
    assert_eq!(tried, all);
    let refused = had.unwrap_err().to_string();
    assert!(
        refused.contains("no UDP port from 51820 to 51883 is free"),
        "{refused}"
    );
    assert!(
        refused.contains("something on this host has 51820"),
        "{refused}"
    );
}
