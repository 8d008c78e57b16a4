//! What is promised of names with a meaning of their own, on examples.

use super::{REGISTERED, Service, reverse};
use crate::Name;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv6Addr};
use vw_model::Protocol;

fn reversed(addr: IpAddr) -> String {
    match addr {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let digits = format!("{:032x}", v6.to_bits());
            let labels: Vec<_> = digits.chars().rev().map(String::from).collect();
            format!("{}.ip6.arpa", labels.join("."))
        }
    }
}

fn parse(text: &str) -> Option<IpAddr> {
    reverse(Name::from_text(text).unwrap().as_wire())
}

proptest! {
    #[test]
    fn every_address_reads_back(v4: [u8; 4], v6: u128) {
        for addr in [IpAddr::from(v4), Ipv6Addr::from_bits(v6).into()] {
            prop_assert_eq!(parse(&reversed(addr)), Some(addr));
        }
    }
}

#[test]
fn what_is_no_whole_address() {
    let v6 = reversed(Ipv6Addr::LOCALHOST.into());
    for text in [
        "in-addr.arpa",
        "0.0.127.in-addr.arpa",
        "1.0.0.0.127.in-addr.arpa",
        "256.0.0.127.in-addr.arpa",
        "+1.0.0.127.in-addr.arpa",
        "01.0.0.127.in-addr.arpa",
        "1.0.0.127.in-addr.arpa.mynet",
        &v6[2..],
        &format!("0.{v6}"),
        &v6.replacen('1', "11", 1),
        &v6.replacen('1', "g", 1),
    ] {
        assert_eq!(parse(text), None, "{text}");
    }
}

#[test]
fn services_by_number_and_name() {
    let check = |text: &str| {
        let name = Name::from_text(text).unwrap();
        let service = Service::parse(name.as_wire());
        service.map(|service| (service.number(), service.protocol, service.host.to_vec()))
    };
    let host = |text: &str| Name::from_text(text).unwrap().as_wire().to_vec();
    let want = |port, protocol| Some((port, protocol, host("web.mynet")));
    assert_eq!(check("_80._tcp.web.mynet"), want(Some(80), Protocol::Tcp));
    assert_eq!(
        check("_HTTPS._TCP.web.mynet"),
        want(Some(443), Protocol::Tcp)
    );
    assert_eq!(
        check("_domain._udp.web.mynet"),
        want(Some(53), Protocol::Udp)
    );
    assert_eq!(check("_99999._sctp.web.mynet"), want(None, Protocol::Sctp));
    assert_eq!(check("_nothing._tcp.web.mynet"), want(None, Protocol::Tcp));
    assert_eq!(check("_80.tcp.web"), None);
    assert_eq!(check("_80"), None);
    assert_eq!(check("80._tcp.web"), None);
    assert!(REGISTERED.is_sorted());
}
