//! What stands for the encrypted tunnel itself, and what one of the kernel is told of hosts.

use super::*;
use crate::Carrier;
use vw_hoststate::{Fragment, LinkKind};
use vw_model::{PublicKey, RemoteHost, TunnelKeys};

#[test]
fn the_tunnel_itself_is_one_link_apart() {
    let inner = inner_address(HostId::from_bytes([1; 32]));
    for (carrier, kind) in [
        (Carrier::UserSpace, LinkKind::Tun),
        (Carrier::Kernel, LinkKind::Wireguard),
    ] {
        let plan = plan_tunnel(inner, 1440, carrier).unwrap();
        let word = format!(" {kind:?}\n").to_lowercase();
        assert_eq!(
            shown(&plan).replace(&word, " KIND\n"),
            "\
            tunnel: namespace New\n\
            tunnel: link vw-wg mtu 1440 KIND\n\
            tunnel: address fd76:6574:6877:101:101:101:101:101/48 dev vw-wg\n"
        );
    }
}

#[test]
fn an_encrypted_network_asks_for_the_link_that_this_host_can_have() {
    let network = overlay(&[V4], &[("encrypted", "")]);
    for (carrier, kind) in [(Carrier::UserSpace, "tun"), (Carrier::Kernel, "wireguard")] {
        let mut cx = sealed("192.0.2.1", 1500);
        cx.underlay = cx.underlay.map(|underlay| Underlay {
            carrier,
            ..underlay
        });
        let shared = shown(&Overlay.plan_shared(&network, &cx).unwrap());
        let link = format!("tunnel: link vw-wg mtu 1440 {kind}\n");
        assert!(shared.contains(&link), "{shared}");
    }
}

fn public(number: u8) -> PublicKey {
    PublicKey::from_bytes([number; 32])
}

fn host(number: u8, used: u8, next: Option<u8>) -> RemoteHost {
    RemoteHost {
        id: HostId::from_bytes([number; 32]),
        name: format!("host-{number}"),
        tunnel: [192, 0, 2, number].into(),
        keys: Some(TunnelKeys {
            public: public(used),
            next: next.map(public),
            port: 51_820 + u16::from(number),
            taken: BTreeSet::new(),
            idle: false,
            woke: 0,
        }),
        unpublished: Default::default(),
        away: false,
    }
}

/// Each peer's key, by its number, with its place and its addresses.
fn peers(plan: &Fragment) -> Vec<String> {
    let peers = plan.iter().filter_map(|(_, object)| match object {
        Object::WireguardPeer(peer) => Some(format!(
            "{} at {}: {:?}",
            peer.public.as_bytes()[0],
            peer.endpoint,
            peer.allowed
        )),
        _ => None,
    });
    peers.collect()
}

fn plan_of(others: &[RemoteHost], agreed: &[u8]) -> Fragment {
    let agreed = agreed.iter().copied().map(public).collect();
    let plan = |host| plan_tunnel_peer(host, [192, 0, 2, 1].into(), &agreed).unwrap();
    let plans = others.iter().map(plan);
    plans.flat_map(Vec::from).collect()
}

fn planned_peers(others: &[RemoteHost], agreed: &[u8]) -> Vec<String> {
    peers(&plan_of(others, agreed))
}

#[test]
fn a_host_is_a_peer_by_the_key_it_uses_and_by_the_next() {
    let silent = RemoteHost {
        keys: None,
        ..host(4, 0, None)
    };
    let of_another_version = RemoteHost {
        tunnel: "2001:db8::5".parse().unwrap(),
        ..host(5, 50, None)
    };
    let others = [
        host(2, 20, None),
        host(3, 30, Some(31)),
        silent,
        of_another_version,
    ];
    assert_eq!(
        planned_peers(&others, &[20, 30]),
        [
            "20 at 192.0.2.2:51822: {fd76:6574:6877:202:202:202:202:202/128}",
            "30 at 192.0.2.3:51823: {fd76:6574:6877:303:303:303:303:303/128}",
            "31 at 192.0.2.3:51823: {}",
        ]
    );
}

#[test]
fn the_next_key_has_the_address_once_a_session_stands_by_it() {
    let others = [host(3, 30, Some(31))];
    assert_eq!(
        planned_peers(&others, &[30, 31]),
        [
            "30 at 192.0.2.3:51823: {}",
            "31 at 192.0.2.3:51823: {fd76:6574:6877:303:303:303:303:303/128}",
        ]
    );
}

#[test]
fn a_change_of_one_hosts_key_touches_its_peers_alone() {
    let plan = |used, next| {
        let others = [host(2, 20, None), host(3, used, next)];
        let plan = plan_of(&others, &[]);
        let objects = plan
            .iter()
            .map(|(key, object)| (key.clone(), object.clone()));
        objects.collect()
    };
    let steps = |from, to| {
        let plan = vw_hoststate::diff(&from, &to);
        let told = plan.steps.iter().map(|step| {
            let Object::WireguardPeer(peer) = step.object() else {
                panic!("{step:?}");
            };
            let verb = format!("{step:?}");
            let verb = verb.split(['(', ' ']).next().unwrap_or_default();
            format!(
                "{verb} {} {}",
                peer.public.as_bytes()[0],
                peer.allowed.len()
            )
        });
        told.collect::<Vec<_>>()
    };
    let (before, told, used) = (plan(30, None), plan(30, Some(31)), plan(31, None));
    assert_eq!(steps(before, plan(30, Some(31))), ["Create 31 0"]);
    assert_eq!(steps(told, used), ["Delete 30 1", "Replace 31 1"]);
}
