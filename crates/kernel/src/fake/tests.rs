//! The fake's manners, on examples.

use super::*;
use proptest::{collection::btree_map, prelude::*, sample::select};
use vw_hoststate::{
    Address, BridgeOptions, Link, LinkKind, Namespace, NamespaceSource, Peer, PortOptions, Step,
    Sysctl, diff,
};
use vw_model::MacAddr;

type World = Objects;

fn name(text: &str) -> IfName {
    text.parse().expect("a name")
}

fn sandbox(n: u8) -> SandboxId {
    SandboxId::from_bytes([n; 32])
}

/// What a sandbox has of a network: nothing, or a pair and an address.
fn attachment(n: u8, mtu: u32, host: u8) -> Vec<Object> {
    let netns = Netns::Sandbox(sandbox(n));
    let peer = Peer {
        netns,
        name: name("eth0"),
        mac: MacAddr([2, 0, 0, 0, 0, n]),
    };
    let port = PortOptions {
        bridge: name("vw0"),
        isolated: false,
        hairpin: false,
    };
    vec![
        Object::Namespace(Namespace {
            netns: Netns::Sandbox(sandbox(n)),
            source: NamespaceSource::New,
        }),
        link(&format!("vw{n}"), LinkKind::Veth(peer), mtu, Some(port)),
        Object::Address(Address {
            netns,
            link: name("eth0"),
            addr: format!("10.0.0.{host}/24").parse().expect("an address"),
        }),
    ]
}

fn link(text: &str, kind: LinkKind, mtu: u32, port: Option<PortOptions>) -> Object {
    Object::Link(Link {
        netns: Netns::Host,
        name: name(text),
        kind,
        mac: None,
        mtu,
        port,
        alias: String::new(),
    })
}

fn world() -> impl Strategy<Value = World> {
    let sandboxes = btree_map(1..5_u8, (select(vec![1400, 1500]), 2..9_u8), 0..4);
    sandboxes.prop_map(|sandboxes| {
        let options = BridgeOptions {
            mcast_snooping: false,
        };
        let mut objects = vec![
            link("vw0", LinkKind::Bridge(options), 1500, None),
            Object::Sysctl(Sysctl {
                netns: Netns::Host,
                path: "net/ipv4/ip_forward".into(),
                value: "1".into(),
                previous: Some("0".into()),
            }),
        ];
        for (n, (mtu, host)) in sandboxes {
            objects.extend(attachment(n, mtu, host));
        }
        let keyed = objects.into_iter().map(|object| (object.key(), object));
        keyed.collect()
    })
}

fn reach(kernel: &FakeKernel, world: &World) -> Result<(), Failure> {
    let observed = kernel.observe(world).expect("it can be read").objects;
    let plan = diff(&observed, world);
    kernel.apply(&plan).inspect_err(|failure| {
        let undo = plan.undo(&failure.done);
        kernel.apply(&undo).expect("it can be undone");
    })
}

fn is_reached(kernel: &FakeKernel, world: &World) -> bool {
    let observed = kernel.observe(world).expect("it can be read").objects;
    diff(&observed, world).is_empty()
}

proptest! {
    #[test]
    fn any_world_is_reached_from_any_other(a in world(), b in world()) {
        let kernel = FakeKernel::new();
        reach(&kernel, &a).expect("nothing fails");
        prop_assert!(is_reached(&kernel, &a));
        reach(&kernel, &b).expect("nothing fails");
        prop_assert!(is_reached(&kernel, &b));
    }

    #[test]
    fn a_failure_undone_is_as_if_it_had_not_been(a in world(), b in world(), n in 1..20_usize) {
        let kernel = FakeKernel::new();
        reach(&kernel, &a).expect("nothing fails");
        kernel.fail_at(n);
        if reach(&kernel, &b).is_err() {
            prop_assert!(is_reached(&kernel, &a));
        }
        kernel.fail_never();
        reach(&kernel, &b).expect("nothing fails");
        prop_assert!(is_reached(&kernel, &b));
    }
}

#[test]
fn a_claim_ends_with_its_holder() {
    let kernel = FakeKernel::new();
    let addr: SocketAddr = "0.0.0.0:80".parse().expect("an address");
    let claim = kernel.claim_port(Protocol::Tcp, addr).expect("it is free");
    assert_eq!(kernel.claimed(), [(Protocol::Tcp, addr)]);
    drop(claim);
    assert_eq!(kernel.claimed(), []);
    kernel.occupy(Protocol::Tcp, addr);
    kernel
        .claim_port(Protocol::Tcp, addr)
        .expect_err("a stranger has it");
    kernel.vacate(Protocol::Tcp, addr);
    kernel.claim_port(Protocol::Tcp, addr).expect("it is free");
}

#[test]
fn losing_a_link_loses_what_lies_on_it() {
    let kernel = FakeKernel::new();
    let bridge = LinkKind::Bridge(BridgeOptions {
        mcast_snooping: false,
    });
    let mut objects = vec![link("vw0", bridge, 1500, None)];
    objects.extend(attachment(1, 1500, 2));
    let plan = Plan::ordered(objects.into_iter().map(Step::Create));
    kernel.apply(&plan).expect("nothing fails");
    kernel.lose(|key| matches!(key, Key::Link(_, link) if link.as_str() == "vw1"));
    let left: Vec<Key> = kernel.objects().into_keys().collect();
    let bridge = Key::Link(Netns::Host, name("vw0"));
    assert_eq!(left, [Key::Namespace(Netns::Sandbox(sandbox(1))), bridge]);
}
