//! What is known of kernels that cannot be asked.

use super::*;

#[test]
fn who_may_not_be_asked_is_silent_and_who_cannot_be_for_a_while_is_not() {
    let hosts = BTreeSet::from([IpAddr::from([192, 0, 2, 2])]);
    let asked = |kind: io::ErrorKind| said(Err(kind.into()), &hosts).asked;
    assert_eq!(asked(io::ErrorKind::PermissionDenied), hosts);
    assert!(asked(io::ErrorKind::AddrNotAvailable).is_empty());
}
