//! Objects for tests: a small world in which keys meet often, and a kernel that is a map.

use crate::{
    Address, BridgeOptions, Forward, Fragment, Link, LinkKind, Namespace, NamespaceSource,
    Neighbor, Netns, Object, Objects, Owner, Peer, Plan, PortOptions, Route, RouteKind, Shortcut,
    Shortcuts, Station, Step, Sysctl, Table,
};
use proptest::{collection::vec, prelude::*};
use vw_firewall::{Chain, Datum, Element, HostTable, SetName};
use vw_model::{EndpointId, IfName, MacAddr, NetworkId, Protocol, SandboxId};

/// What stands in a kernel.
pub(crate) type World = Objects;

pub(crate) fn name(text: &str) -> IfName {
    text.parse().unwrap()
}

pub(crate) fn sandbox(n: u8) -> SandboxId {
    SandboxId::from_bytes([n; 32])
}

pub(crate) fn bridge(text: &str, mtu: u32) -> Object {
    Object::Link(Link {
        netns: Netns::Host,
        name: name(text),
        kind: LinkKind::Bridge(BridgeOptions {
            mcast_snooping: false,
        }),
        mac: None,
        mtu,
        port: None,
        alias: String::new(),
    })
}

pub(crate) fn pair(text: &str, on: &str, mac: Option<MacAddr>) -> Object {
    Object::Link(Link {
        netns: Netns::Host,
        name: name(text),
        kind: LinkKind::Veth(Peer {
            netns: Netns::Sandbox(sandbox(1)),
            name: name("eth0"),
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
        }),
        mac,
        mtu: 1500,
        port: Some(PortOptions {
            bridge: name(on),
            isolated: false,
            hairpin: false,
        }),
        alias: String::new(),
    })
}

pub(crate) fn sysctl(path: &str, value: &str, previous: Option<&str>) -> Object {
    Object::Sysctl(Sysctl {
        netns: Netns::Host,
        path: path.to_owned(),
        value: value.to_owned(),
        previous: previous.map(str::to_owned),
    })
}

pub(crate) fn route(dst: &str, via: Option<&str>) -> Object {
    Object::Route(Route {
        netns: Netns::Sandbox(sandbox(1)),
        dst: dst.parse().unwrap(),
        kind: RouteKind::Unicast,
        via: via.map(|via| via.parse().unwrap()),
        link: Some(name("eth0")),
        metric: 0,
        mtu: None,
    })
}

pub(crate) fn address(link: &str, addr: &str) -> Object {
    Object::Address(Address {
        netns: Netns::Host,
        link: name(link),
        addr: addr.parse().unwrap(),
    })
}

pub(crate) fn neighbor(mac: u8) -> Object {
    Object::Neighbor(Neighbor {
        netns: Netns::Host,
        link: name("vw0"),
        addr: "10.0.0.9".parse().unwrap(),
        mac: MacAddr([2, 0, 0, 0, 0, mac]),
    })
}

pub(crate) fn forward(mac: u8, dst: u8) -> Object {
    Object::Forward(Forward {
        netns: Netns::Network(NetworkId::from_bytes([1; 32])),
        link: name("vxlan0"),
        mac: MacAddr([2, 0, 0, 0, 0, mac]),
        dst: [192, 0, 2, dst].into(),
    })
}

pub(crate) fn shortcuts() -> Object {
    Object::Shortcuts(Shortcuts {
        netns: Netns::Network(NetworkId::from_bytes([1; 32])),
        link: name("vxlan0"),
    })
}

pub(crate) fn shortcut(mac: u8, station: Station) -> Object {
    Object::Shortcut(Shortcut {
        netns: Netns::Network(NetworkId::from_bytes([1; 32])),
        mac: MacAddr([2, 0, 0, 0, 0, mac]),
        link: name("vxlan0"),
        station,
    })
}

pub(crate) fn namespace(n: u8, source: NamespaceSource) -> Object {
    Object::Namespace(Namespace {
        netns: Netns::Sandbox(sandbox(n)),
        source,
    })
}

pub(crate) fn table(accept_mark: u32) -> Object {
    Object::Table(Table::Host(HostTable {
        accept_mark,
        tunnels: None,
    }))
}

pub(crate) fn policy(bridge: &str, chain: Chain) -> Object {
    Object::Element(Element {
        set: SetName::ForwardTo,
        key: vec![Datum::Interface(name(bridge))],
        value: vec![Datum::Jump(chain)],
    })
}

pub(crate) fn port(host: u16, container: u16) -> Object {
    Object::Element(Element {
        set: SetName::PortsAny4,
        key: vec![Datum::Protocol(Protocol::Tcp), Datum::Port(host)],
        value: vec![Datum::V4([10, 0, 0, 2].into()), Datum::Port(container)],
    })
}

/// Any object of the small world.
pub(crate) fn object() -> impl Strategy<Value = Object> {
    let links = || prop::sample::select(vec!["vw0", "vw1", "zz"]);
    let mac = prop::option::of((0_u8..2).prop_map(|last| MacAddr([2, 0, 0, 0, 1, last])));
    let previous = prop::option::of(prop::sample::select(vec!["0", "1"]));
    let via = prop::option::of(prop::sample::select(vec!["10.0.0.1", "10.0.0.254"]));
    let source = prop_oneof![
        Just(NamespaceSource::New),
        (1_u32..3).prop_map(|pid| NamespaceSource::Process { pid, start_time: 7 }),
    ];
    prop_oneof![
        (1_u8..3, source).prop_map(|(n, source)| namespace(n, source)),
        (0_u32..2).prop_map(table),
        (links(), any::<bool>()).prop_map(|(link, nat)| {
            policy(link, if nat { Chain::ToNat } else { Chain::ToRouted })
        }),
        (links(), 1499_u32..1501).prop_map(|(link, mtu)| bridge(link, mtu)),
        (links(), links(), mac).prop_map(|(link, on, mac)| pair(link, on, mac)),
        (prop::sample::select(vec!["a", "b"]), 0_u8..2, previous)
            .prop_map(|(path, value, previous)| sysctl(path, &value.to_string(), previous)),
        (links(), 1_u8..3).prop_map(|(link, n)| address(link, &format!("10.0.0.{n}/24"))),
        (prop::sample::select(vec!["0.0.0.0/0", "10.1.0.0/16"]), via)
            .prop_map(|(dst, via)| route(dst, via)),
        (0_u8..2).prop_map(neighbor),
        (0_u8..2, 0_u8..2).prop_map(|(mac, dst)| forward(mac, dst)),
        Just(shortcuts()),
        (
            0_u8..2,
            prop::sample::select(vec![Station::Here, Station::Elsewhere])
        )
            .prop_map(|(mac, station)| shortcut(mac, station)),
        (1_u16..4, 80_u16..82).prop_map(|(host, container)| port(host, container)),
    ]
}

/// Any fragment of the small world.
pub(crate) fn fragment() -> impl Strategy<Value = Fragment> {
    vec(object(), 0..8).prop_map(Fragment::from)
}

/// Any world.
pub(crate) fn world() -> impl Strategy<Value = World> {
    let keyed = |object: Object| (object.key(), object);
    vec(object(), 0..12).prop_map(move |objects| objects.into_iter().map(keyed).collect())
}

/// One of four owners.
pub(crate) fn owner() -> impl Strategy<Value = Owner> {
    prop::sample::select(vec![
        Owner::Host,
        Owner::Network(NetworkId::from_bytes([1; 32])),
        Owner::Sandbox(sandbox(1)),
        Owner::Attachment(EndpointId::from_bytes([1; 32])),
    ])
}

/// Carries out a step, and insists that the world is as the step expects it.
pub(crate) fn carry_out(world: &mut World, step: &Step) {
    let former = match step {
        Step::Create(new) | Step::Replace { new, .. } => world.insert(step.key(), new.clone()),
        Step::Delete(_) => world.remove(&step.key()),
    };
    let expected = match step {
        Step::Create(_) => None,
        Step::Replace { old, .. } | Step::Delete(old) => Some(old.clone()),
    };
    assert_eq!(former, expected, "{step:?}");
}

/// Carries out a whole plan.
pub(crate) fn apply(world: &mut World, plan: &Plan) {
    plan.steps.iter().for_each(|step| carry_out(world, step));
}

/// One line a step, for golden texts.
pub(crate) fn lines(plan: &Plan) -> String {
    let line = |step: &Step| {
        let verb = match step {
            Step::Create(_) => "create",
            Step::Replace { .. } => "replace",
            Step::Delete(_) => "delete",
        };
        format!("{verb} {:?}\n", step.key())
    };
    plan.steps.iter().map(line).collect()
}
