//! Which networks a sandbox may be on together.

use super::*;
use crate::find;
use expect_test::{Expect, expect};

fn of(drivers: &[&str]) -> Vec<Capabilities> {
    let one = |name: &&str| find(name).unwrap().capabilities();
    drivers.iter().map(one).collect()
}

fn check(joining: &str, host: bool, present: &[&str], expected: Expect) {
    let joining = find(joining).unwrap().capabilities();
    let said = match may_join(joining, host, &of(present)) {
        Ok(()) => "may".to_owned(),
        Err(error) => format!("{}: {error}", error.reason),
    };
    expected.assert_eq(&said);
}

#[test]
fn company() {
    check("bridge", false, &[], expect!["may"]);
    check("bridge", false, &["bridge", "bridge"], expect!["may"]);
    check("null", false, &[], expect!["may"]);
    check("host", true, &[], expect!["may"]);
    check(
        "host",
        false,
        &[],
        expect![
            "host-network-at-run-time: cannot connect container to host network - container must be created in host network mode"
        ],
    );
    check(
        "host",
        false,
        &["bridge"],
        expect![
            "host-network-at-run-time: cannot connect container to host network - container must be created in host network mode"
        ],
    );
    check(
        "bridge",
        true,
        &["host"],
        expect![
            "namespace-shared: container sharing network namespace with another container or host cannot be connected to any other network"
        ],
    );
    check(
        "null",
        true,
        &["host"],
        expect![
            "namespace-shared: container sharing network namespace with another container or host cannot be connected to any other network"
        ],
    );
    check(
        "bridge",
        false,
        &["null"],
        expect![
            "none-network-beside-others: container cannot be connected to multiple networks with one of the networks in private (none) mode"
        ],
    );
    check(
        "null",
        false,
        &["bridge"],
        expect![
            "none-network-beside-others: container cannot be connected to multiple networks with one of the networks in private (none) mode"
        ],
    );
}

#[test]
fn leaving() {
    assert!(may_leave(of(&["bridge"])[0]).is_ok());
    assert!(may_leave(of(&["null"])[0]).is_ok());
    let refused = may_leave(of(&["host"])[0]).unwrap_err();
    expect!["container cannot be disconnected from host network or connected to host network"]
        .assert_eq(&refused.message);
}
