//! Whose connections end with a plan, on examples.

use super::given_up;
use vw_hoststate::{Address, Link, LinkKind, Netns, Object, Peer, Plan, Step};
use vw_model::{MacAddr, NetworkId, SandboxId};

const INSIDE: Netns = Netns::Sandbox(SandboxId::from_bytes([7; 32]));

/// An endpoint goes, whose link leads to there.
fn leaves(outer: Netns) -> Plan {
    let pair = Link {
        netns: outer,
        name: "vw0".parse().expect("a name"),
        kind: LinkKind::Veth(Peer {
            netns: INSIDE,
            name: "eth0".parse().expect("a name"),
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
        }),
        mac: None,
        mtu: 1500,
        port: None,
        alias: String::new(),
    };
    let address = |text: &str| {
        Step::Delete(Object::Address(Address {
            netns: INSIDE,
            link: "eth0".parse().expect("a name"),
            addr: text.parse().expect("an address"),
        }))
    };
    let addresses = ["10.7.0.2/24", "fd00::2/64", "fe80::2/64"].map(address);
    let pair = [Step::Delete(Object::Link(pair))];
    Plan {
        steps: addresses.into_iter().chain(pair).collect(),
    }
}

#[test]
fn connections_of_who_leaves_a_network_of_this_host_are_forgotten() {
    let gone = given_up(&leaves(Netns::Host));
    let gone: Vec<String> = gone.iter().map(ToString::to_string).collect();
    assert_eq!(gone, ["10.7.0.2", "fd00::2"]);
}

#[test]
fn those_to_a_services_address_in_its_balancer_are_not() {
    let address = |text: &str| {
        Step::Delete(Object::Address(Address {
            netns: INSIDE,
            link: "eth0".parse().expect("a name"),
            addr: text.parse().expect("an address"),
        }))
    };
    let steps = ["10.7.0.3/32", "fd00::3/128"].map(address);
    let plan = Plan {
        steps: steps.into(),
    };
    assert!(given_up(&plan).is_empty());
}

#[test]
fn those_of_the_same_address_on_a_network_of_its_own_are_not() {
    let network = Netns::Network(NetworkId::from_bytes([9; 32]));
    assert!(given_up(&leaves(network)).is_empty());
}
