//! Drivers by name.

use super::*;
use expect_test::expect;
use std::collections::BTreeSet;

#[test]
fn drivers_are_found_by_their_own_name() {
    for name in names() {
        assert_eq!(find(name).unwrap().name(), name);
    }
    assert_eq!(names().collect::<BTreeSet<_>>().len(), DRIVERS.len());
    assert!(names().is_sorted());
}

#[test]
fn an_unknown_driver_is_said_so() {
    let error = find("weave").err().unwrap();
    assert_eq!(error.reason, "driver-unknown");
    expect![[r#"plugin "weave" not found: the drivers are bridge, host, null, overlay"#]]
        .assert_eq(&error.message);
}
