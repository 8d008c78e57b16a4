//! What any executor promises of the encrypted tunnel and of networks inside it.

use crate::{
    lab::Lab,
    objects::{address, apart, bridge, encrypted, forward, ifname, network_namespace, tunnel},
};
use rustix::io::Errno;
use std::{io::ErrorKind, os::fd::OwnedFd};
use vw_hoststate::{
    Link, LinkKind, Namespace, NamespaceSource, Netns, Object, Step, WireguardPeer,
};
use vw_kernel::KernelError;
use vw_model::{HostId, MacAddr, PublicKey, inner_address};

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

pub(crate) fn a_tunnel_of_the_kernel_has_peers(lab: &Lab) {
    let link = Object::Link(encrypted(LinkKind::Wireguard));
    lab.create(&[namespace()]);
    if let Err(failure) = lab.apply([Step::Create(link.clone())]) {
        assert!(
            matches!(
                failure.source,
                KernelError::Missing {
                    feature: "WireGuard",
                    ..
                }
            ),
            "{}",
            failure.source
        );
        vw_testkit::skip!("the kernel has no WireGuard");
    }
    let peer = |number: u8, port: u16| {
        Object::WireguardPeer(WireguardPeer {
            netns: Netns::Tunnel,
            link: ifname("vw-wg"),
            public: PublicKey::from_bytes([number; 32]),
            endpoint: std::net::SocketAddr::from(([192, 0, 2, number], port)),
            allowed: [format!("{}/128", inner(number)).parse().expect("a net")].into(),
        })
    };
    let objects = [namespace(), link, peer(2, 51_820), peer(3, 51_820)];
    lab.create(&objects);
    let key = lab
        .kernel()
        .set_tunnel_key(&ifname("vw-wg"), &[7; 32], 51_820);
    key.expect("it takes a key");
    lab.create(&objects);
    assert_eq!(lab.missing(&objects), []);
    let step = Step::Replace {
        old: peer(3, 51_820),
        new: peer(3, 9),
    };
    lab.apply([step]).expect("a peer can be changed");
    lab.delete(&objects[2..3]);
    lab.delete(&objects[2..3]);
    let objects = [objects[0].clone(), objects[1].clone(), peer(3, 9)];
    assert_eq!(lab.missing(&objects), []);
}
