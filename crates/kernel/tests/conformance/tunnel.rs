//! What any executor promises of the encrypted tunnel and of networks inside it.

use crate::{
    lab::Lab,
    objects::{address, apart, bridge, encrypted, forward, ifname, network_namespace, tunnel},
};
use rustix::io::Errno;
use std::{io::ErrorKind, os::fd::OwnedFd};
use vw_hoststate::{
    Link, LinkKind, Namespace, NamespaceSource, Netns, Object, Step, WireguardKey, WireguardPeer,
};
use vw_kernel::{KernelError, TunnelKey};
use vw_model::{HostId, MacAddr, PublicKey, inner_address};
use zeroize::Zeroizing;

fn inner(number: u8) -> String {
    inner_address(HostId::from_bytes([number; 32])).to_string()
}

fn namespace() -> Object {
    Object::Namespace(Namespace {
        netns: Netns::Tunnel,
        source: NamespaceSource::New,
    })
}

/// The tunnel of user space with this host's address.
fn scene() -> Vec<Object> {
    vec![
        namespace(),
        Object::Link(encrypted(LinkKind::Tun)),
        address(Netns::Tunnel, "vw-wg", &format!("{}/48", inner(1))),
    ]
}

/// A network whose tunnel is inside.
fn network() -> Vec<Object> {
    let bridge = Link {
        mtu: 1350,
        ..apart(bridge("br0"))
    };
    let inside = Link {
        mtu: 1350,
        ..tunnel(4097, &inner(1))
    };
    vec![
        network_namespace(),
        Object::Link(bridge),
        Object::Link(inside),
        forward(MacAddr([2, 0, 0, 0, 0, 9]), &inner(2)),
    ]
}

fn whole() -> Vec<Object> {
    [scene(), network()].concat()
}

pub(crate) fn an_encrypted_tunnel_is_made_and_found_again(lab: &Lab) {
    lab.create(&whole());
    lab.create(&whole());
    assert_eq!(lab.missing(&whole()), []);
    let mut found = lab.standing();
    found.retain(|object| !matches!(object, Object::Sysctl(_)));
    assert_eq!(found.len(), whole().len(), "{found:?}");
    lab.delete(&whole());
    lab.delete(&whole());
    lab.settle();
    assert_eq!(lab.standing(), []);
    lab.create(&whole());
    assert_eq!(lab.missing(&whole()), []);
    // Each alone.
    lab.delete(&network());
    lab.delete(&scene()[1..]);
    assert_eq!(lab.missing(&scene()[..1]), []);
}

fn open(lab: &Lab) -> Result<OwnedFd, KernelError> {
    lab.kernel().open_tun(&ifname("vw-wg"))
}

pub(crate) fn a_tunnel_that_is_open_stands(lab: &Lab) {
    assert!(open(lab).is_err_and(|error| error.is_namespace_gone()));
    lab.create(&[namespace()]);
    // Nothing is made by opening.
    assert!(open(lab).is_err());
    assert_eq!(lab.missing(&[namespace()]), []);
    lab.create(&scene());
    let held = open(lab).expect("it is there");
    // As after the daemon's end, whose process of the tunnel lives on.
    lab.create(&scene());
    assert_eq!(lab.missing(&scene()), []);
    if let Lab::Real { .. } = lab {
        let busy = |error: &KernelError| match error {
            KernelError::Call { source, .. } => source.kind() == ErrorKind::ResourceBusy,
            _ => false,
        };
        assert!(open(lab).is_err_and(|error| busy(&error)));
    }
    drop(held);
    assert_eq!(lab.missing(&scene()), []);
    open(lab).expect("it is there still");
    lab.delete(&scene()[1..]);
    assert!(open(lab).is_err());
}

/// The UDP sockets of port 4789 in the namespace of a thread.
fn sockets(netns: Netns, lab: &Lab) -> Vec<usize> {
    let Lab::Real { root, .. } = lab else {
        return Vec::new();
    };
    let path = match netns {
        Netns::Tunnel => Some(root.join("netns/tunnel")),
        _ => None,
    };
    let read = move || {
        if let Some(path) = path {
            let file = std::fs::File::open(path).expect("it is pinned");
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), kind)
                .expect("it can be entered");
        }
        // VXLAN's socket belongs to no process, but is bound as any other.
        ["0.0.0.0:4789", "[::]:4789"].map(|addr| match std::net::UdpSocket::bind(addr) {
            Ok(_) => 0,
            Err(error) if Errno::from_io_error(&error) == Some(Errno::ADDRINUSE) => 1,
            Err(error) => panic!("{addr}: {error}"),
        })
    };
    std::thread::spawn(read)
        .join()
        .expect("it can be read")
        .to_vec()
}

pub(crate) fn a_tunnel_with_an_inner_address_has_its_socket_inside(lab: &Lab) {
    lab.create(&whole());
    if let Lab::Real { .. } = lab {
        assert_eq!(sockets(Netns::Host, lab), [0, 0]);
        assert_eq!(sockets(Netns::Tunnel, lab)[1], 1);
    }
    // The same number and port in the clear is another tunnel's, and its own business.
    lab.delete(&network());
    lab.settle();
    lab.create(&[network_namespace(), Object::Link(apart(bridge("br0")))]);
    lab.create(&[Object::Link(tunnel(4097, "2001:db8::1"))]);
    if let Lab::Real { .. } = lab {
        assert_eq!(sockets(Netns::Host, lab)[1], 1);
        assert_eq!(sockets(Netns::Tunnel, lab), [0, 0]);
    }
}

pub(crate) fn a_tunnel_moves_inside_and_out_again(lab: &Lab) {
    lab.create(&scene());
    lab.create(&[network_namespace(), Object::Link(apart(bridge("br0")))]);
    let (outside, inside) = (tunnel(4097, "2001:db8::1"), tunnel(4097, &inner(1)));
    lab.create(&[Object::Link(outside.clone())]);
    for (old, new) in [(&outside, &inside), (&inside, &outside)] {
        let step = Step::Replace {
            old: Object::Link(old.clone()),
            new: Object::Link(new.clone()),
        };
        lab.apply([step]).expect("it can be replaced");
        assert_eq!(
            lab.missing(&[Object::Link(new.clone())]).len(),
            removals(lab, new)
        );
        if let Lab::Real { .. } = lab {
            let is_inside = usize::from(new == &inside);
            assert_eq!(sockets(Netns::Host, lab)[1], 1 - is_inside);
            assert_eq!(sockets(Netns::Tunnel, lab)[1], is_inside);
        }
    }
}

/// What stands besides a link and would be removed.
fn removals(lab: &Lab, link: &Link) -> usize {
    let name = Object::Link(link.clone()).key();
    lab.standing()
        .iter()
        .filter(|object| object.key() != name)
        .count()
}

pub(crate) fn a_lost_tunnel_is_told_and_made_again(lab: &Lab) {
    lab.create(&whole());
    lab.lose_namespace(Netns::Tunnel);
    let expected = crate::lab::keyed(&whole());
    let observed = lab.kernel().observe(&expected).expect("it can be read");
    assert_eq!(observed.gone, [Netns::Tunnel]);
    // The network's tunnel went with its socket, or is made anew.
    lab.delete(&network());
    lab.settle();
    lab.create(&whole());
    assert_eq!(lab.missing(&whole()), []);
}

pub(crate) fn a_name_that_another_has_is_no_tunnel(lab: &Lab) {
    let stranger = Link {
        netns: Netns::Tunnel,
        ..bridge("vw-wg")
    };
    lab.create(&[namespace(), Object::Link(stranger)]);
    let step = Step::Create(scene()[1].clone());
    if let Lab::Real { .. } = lab {
        let failure = lab.apply([step]).expect_err("the name is taken");
        assert!(
            failure.source.to_string().contains("vw-wg"),
            "{}",
            failure.source
        );
    }
}

/// Whether the kernel has WireGuard; one that has not says so when it is asked for a link.
fn has_wireguard(lab: &Lab) -> bool {
    let facts = lab.kernel().tunnel_facts(&ifname("vw-wg"));
    if facts.expect("it can be read").wireguard {
        return true;
    }
    lab.create(&[namespace()]);
    let link = Object::Link(encrypted(LinkKind::Wireguard));
    let failure = lab.apply([Step::Create(link)]).expect_err("it cannot");
    let feature = |error: &KernelError| match error {
        KernelError::Missing { feature, .. } => Some(*feature),
        _ => None,
    };
    assert_eq!(feature(&failure.source), Some("WireGuard"));
    // The probe left nothing, nor did the attempt.
    assert_eq!(lab.missing(&[namespace()]), []);
    false
}

/// Two private keys and what belongs to them (X25519).
fn keys() -> Vec<TunnelKey> {
    let key = |private: u8, public: &str| {
        let public = public.parse().expect("a key");
        TunnelKey::new(public, Zeroizing::new([private; 32]))
    };
    vec![
        key(7, "E75P6uryBMf9M1j8nAByGIHRdCeBKCJ+xnTzf3/pe20="),
        key(8, "MdSras7slhE3kXA3k25gcW+sVzr+lNnahKgCBEjfwRI="),
    ]
}

fn key_object(which: usize, port: u16) -> Object {
    Object::WireguardKey(WireguardKey {
        netns: Netns::Tunnel,
        link: ifname("vw-wg"),
        public: keys()[which].public,
        port,
    })
}

/// A peer by the number of its key, and of the host whose address it has.
fn peer(key: u8, host: Option<u8>, port: u16) -> Object {
    let net = |host| format!("{}/128", inner(host)).parse().expect("a net");
    Object::WireguardPeer(WireguardPeer {
        netns: Netns::Tunnel,
        link: ifname("vw-wg"),
        public: PublicKey::from_bytes([key; 32]),
        endpoint: std::net::SocketAddr::from(([192, 0, 2, key], port)),
        allowed: host.map(net).into_iter().collect(),
    })
}

fn replace(old: &Object, new: &Object) -> Step {
    Step::Replace {
        old: old.clone(),
        new: new.clone(),
    }
}

pub(crate) fn a_tunnel_of_the_kernel_has_a_key_and_peers(lab: &Lab) {
    if !has_wireguard(lab) {
        vw_testkit::skip!("the kernel has no WireGuard");
    }
    let link = Object::Link(encrypted(LinkKind::Wireguard));
    let (two, three) = (peer(2, Some(2), 51_820), peer(3, Some(3), 51_820));
    let objects = [namespace(), link, key_object(0, 51_820), two, three];
    lab.create(&objects[..2]);
    let facts = || lab.kernel().tunnel_facts(&ifname("vw-wg")).expect("read");
    assert_eq!(facts().standing, Some((LinkKind::Wireguard, None)));
    // A key that nobody told of cannot be used.
    let unknown = lab.apply([Step::Create(objects[2].clone())]);
    assert!(unknown.is_err());
    lab.kernel().know_tunnel_keys(keys());
    lab.create(&objects);
    lab.create(&objects);
    assert_eq!(lab.missing(&objects), []);
    assert_eq!(facts().standing, Some((LinkKind::Wireguard, Some(51_820))));
    // The host's other key and another port, and a peer at another port.
    let (other, moved) = (key_object(1, 51_821), peer(3, Some(3), 9));
    let steps = [replace(&objects[2], &other), replace(&objects[4], &moved)];
    lab.apply(steps).expect("they can be changed");
    lab.delete(&objects[3..4]);
    lab.delete(&objects[3..4]);
    let now = [objects[0].clone(), objects[1].clone(), other, moved];
    assert_eq!(lab.missing(&now), []);
    lab.delete(&now[2..]);
    lab.delete(&now[2..]);
    assert_eq!(lab.missing(&now[..2]), []);
    // With its link all of it goes.
    lab.create(&objects);
    lab.delete(&objects[1..2]);
    lab.settle();
    assert_eq!(lab.missing(&objects[..1]), []);
    lab.create(&objects);
    assert_eq!(lab.missing(&objects), []);
    lab.delete(&objects);
    lab.settle();
    assert_eq!(lab.standing(), []);
    assert_eq!(facts().standing, None);
}

pub(crate) fn an_inner_address_moves_to_the_key_that_is_used_next(lab: &Lab) {
    if !has_wireguard(lab) {
        vw_testkit::skip!("the kernel has no WireGuard");
    }
    lab.kernel().know_tunnel_keys(keys());
    let link = Object::Link(encrypted(LinkKind::Wireguard));
    let ground = [namespace(), link, key_object(0, 51_820)];
    // The number of a key says which comes first in a plan.
    for (used, next) in [(2, 3), (3, 2)] {
        let before = [peer(used, Some(2), 51_820), peer(next, None, 51_820)];
        lab.create(&ground);
        lab.create(&before);
        assert_eq!(lab.missing(&[&ground[..], &before].concat()), []);
        let after = [peer(used, None, 51_820), peer(next, Some(2), 51_820)];
        let plan = vw_hoststate::Plan::ordered([
            replace(&before[0], &after[0]),
            replace(&before[1], &after[1]),
        ]);
        lab.apply(plan.steps.clone()).expect("it can be moved");
        assert_eq!(lab.missing(&[&ground[..], &after].concat()), []);
        lab.apply(plan.undo(&[true, true]).steps).expect("and back");
        assert_eq!(lab.missing(&[&ground[..], &before].concat()), []);
        // As when the record names the other key alone.
        lab.apply([
            Step::Delete(before[0].clone()),
            replace(&before[1], &after[1]),
        ])
        .expect("it can be moved");
        let left = [&ground[..], &after[1..]].concat();
        assert_eq!(lab.missing(&left), []);
        lab.delete(&left);
        lab.settle();
    }
}
