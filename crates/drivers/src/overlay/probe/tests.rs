//! What stands for the networks by which hosts try the way.

use super::*;
use std::net::{IpAddr, Ipv6Addr};
use vw_hoststate::Key;
use vw_model::inner_address;

fn host(number: u8, tunnel: &str) -> RemoteHost {
    RemoteHost {
        id: HostId::from_bytes([number; 32]),
        name: String::new(),
        tunnel: tunnel.parse().unwrap(),
        keys: None,
        unpublished: Default::default(),
        away: false,
    }
}

fn cx(addr: &str, port: Option<u16>, inner: Option<Ipv6Addr>) -> DriverContext {
    DriverContext {
        underlay: Some(Underlay {
            addr: addr.parse().unwrap(),
            prefix: 24,
            link: "wire".parse().unwrap(),
            mtu: 1500,
            merges: false,
            port,
            inner,
            carrier: Default::default(),
            link_local: None,
        }),
        ..DriverContext::default()
    }
}

/// The device, and the ports that rules guard: none, as others may use them for networks of theirs.
fn parts(plan: &Fragment) -> (Link, usize) {
    let links = plan.iter().filter_map(|(_, object)| match object {
        Object::Link(link) => Some(link.clone()),
        _ => None,
    });
    let guarded = plan
        .iter()
        .filter(|(key, _)| matches!(key, Key::Policy(..)));
    (links.last().expect("it has one"), guarded.count())
}

#[test]
fn one_in_clear_text_is_at_the_port_of_tunnels_and_one_inside_the_tunnel_has_inner_ends() {
    let this = HostId::from_bytes([1; 32]);
    let inner = inner_address(this);
    let cx = cx("192.0.2.1", Some(7777), Some(inner));
    let clear = ProbeNetwork::clear(&cx).unwrap().unwrap();
    let (link, guarded) = parts(&clear.plan(this));
    let options = |port, local| VxlanOptions {
        vni: 0,
        port,
        local,
        gro: true,
    };
    assert_eq!(
        link.kind,
        LinkKind::Vxlan(options(7777, [192, 0, 2, 1].into()))
    );
    assert_eq!(
        (link.mtu, link.mac, guarded),
        (1450, Some(station_address(this)), 0)
    );
    let encrypted = ProbeNetwork::encrypted(&cx).unwrap().unwrap();
    let (link, guarded) = parts(&encrypted.plan(this));
    assert_eq!(link.kind, LinkKind::Vxlan(options(4789, inner.into())));
    assert_eq!((link.mtu, guarded), (1370, 0));
    let other = host(2, "192.0.2.2");
    let ends = [&clear, &encrypted].map(|network| match network.plan_host(&other) {
        Some(Object::Forward(forward)) => {
            assert_eq!(forward.mac, station_address(other.id));
            forward.dst
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(
        ends,
        [
            IpAddr::from([192, 0, 2, 2]),
            IpAddr::from(inner_address(other.id))
        ]
    );
    // One of the other IP version is not reached.
    assert_eq!(clear.plan_host(&host(3, "2001:db8::3")), None);
}

#[test]
fn outside_a_cluster_and_without_a_tunnel_there_is_none() {
    let outside = DriverContext::default();
    assert_eq!(ProbeNetwork::clear(&outside).unwrap(), None);
    let cx = cx("2001:db8::1", None, None);
    let clear = ProbeNetwork::clear(&cx).unwrap().unwrap();
    assert_eq!((clear.port, clear.mtu), (4789, 1430));
    assert_eq!(ProbeNetwork::encrypted(&cx).unwrap(), None);
}
