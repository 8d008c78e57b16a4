//! Hosts in and outside clusters, with and without rules.

use super::*;
use crate::Underlay;
use vw_model::HostId;

fn host(addr: &str) -> RemoteHost {
    RemoteHost {
        id: HostId::from_bytes([1; 32]),
        name: "b".to_owned(),
        tunnel: addr.parse().unwrap(),
        keys: None,
        unpublished: Default::default(),
        away: false,
    }
}

#[test]
fn a_hosts_tunnels_are_let_in_where_rules_keep_others_out() {
    let mut cx = DriverContext::default();
    assert!(plan_host(&host("192.0.2.2"), &cx).is_empty(), "no cluster");
    cx.underlay = Some(Underlay {
        addr: [192, 0, 2, 1].into(),
        prefix: 24,
        link: "wire".parse().unwrap(),
        mtu: 1500,
        merges: false,
        port: None,
        inner: None,
        carrier: Default::default(),
        link_local: None,
    });
    let wants = |addr: &str, cx: &DriverContext| {
        let fragment = plan_host(&host(addr), cx);
        fragment
            .iter()
            .map(|(_, object)| object.clone())
            .collect::<Vec<_>>()
    };
    let element = |addr: &str| vec![Object::Element(peer(addr.parse().unwrap()))];
    assert_eq!(wants("192.0.2.2", &cx), element("192.0.2.2"));
    assert_eq!(wants("2001:db8::2", &cx), element("2001:db8::2"));
    cx.ip6tables = false;
    assert!(wants("2001:db8::2", &cx).is_empty());
    cx.iptables = false;
    assert!(wants("192.0.2.2", &cx).is_empty());
}
