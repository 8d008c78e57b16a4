//! Which ports are inside.

use super::Inner;
use std::collections::BTreeSet;
use vw_model::HostPort;

fn at(text: &str) -> HostPort {
    HostPort::try_from(text.to_owned()).expect("a port of a host")
}

#[track_caller]
fn check(inner: &mut Inner, wanted: &[(&str, u16)]) {
    for (text, port) in wanted {
        assert_eq!(inner.of(at(text)), *port, "{text}");
    }
}

fn settle(inner: &mut Inner, wanted: &[&str]) {
    let before = inner.all().clone();
    let wanted: BTreeSet<HostPort> = wanted.iter().map(|text| at(text)).collect();
    inner.settle(&before, &wanted);
}

#[test]
fn a_number_is_its_own_inside_unless_another_address_has_it() {
    let mut inner = Inner::default();
    let all = [
        ("80/tcp", 80),
        ("80/udp", 80),
        ("192.0.2.1:8080/tcp", 8080),
        ("192.0.2.2:8080/tcp", 65535),
        ("[2001:db8::1]:8080/tcp", 65534),
        ("65535/tcp", 65533),
    ];
    check(&mut inner, &all);
    settle(&mut inner, &all.map(|(text, _)| text));
    check(&mut inner, &all);
    let mut again = Inner::new(inner.all().clone());
    check(&mut again, &all);
    // Who stays keeps its own, whoever goes.
    settle(&mut inner, &["192.0.2.2:8080/tcp"]);
    check(
        &mut inner,
        &[("192.0.2.2:8080/tcp", 65535), ("8080/tcp", 8080)],
    );
}

#[test]
fn one_that_is_wanted_meanwhile_is_not_given_up() {
    let mut inner = Inner::default();
    let before = inner.all().clone();
    check(&mut inner, &[("80/tcp", 80)]);
    inner.settle(&before, &BTreeSet::new());
    check(&mut inner, &[("192.0.2.1:80/tcp", 65535)]);
}
