//! Elements come and go whole, may be asked for again, and conflict by name.

use super::super::{Change, Nft};
use super::{Ns, bridge, published, spec};
use std::io::ErrorKind;
use vw_firewall::{Element, FamilyPolicy, GatewayMode, NetworkPolicy, network, port};

/// Elements of every set.
fn samples() -> Vec<Element> {
    let mut routed = bridge("vw-0123456789ab");
    routed.v4.snat = Some([192, 0, 2, 7].into());
    routed.v6.snat = Some("2001:db8::7".parse().unwrap());
    let internal = NetworkPolicy {
        internal: true,
        ..bridge("vw-i")
    };
    let ports = [
        published("192.0.2.1:80", "10.1.0.2:8080"),
        published("0.0.0.0:81", "10.1.0.2:8081"),
        published("[2001:db8::1]:82", "[fd00::2]:8082"),
        published("[::]:83", "[fd00::2]:8083"),
    ];
    let mut elements = network(&bridge("vw-a"));
    elements.extend(network(&routed));
    elements.extend(network(&internal));
    for mut one in ports {
        elements.extend(port(&one).unwrap());
        one.mode = GatewayMode::Routed;
        elements.extend(port(&one).unwrap());
    }
    let open = NetworkPolicy {
        v4: FamilyPolicy {
            mode: GatewayMode::NatUnprotected,
            ..FamilyPolicy::default()
        },
        v6: FamilyPolicy {
            mode: GatewayMode::Routed,
            ..FamilyPolicy::default()
        },
        ..bridge("vw-o")
    };
    elements.extend(network(&open));
    elements.sort();
    elements
}

fn added(elements: &[Element]) -> Vec<Change<'_>> {
    elements.iter().map(Change::Add).collect()
}

fn stand(nft: &mut Nft) -> Vec<Element> {
    let mut found = nft.elements().unwrap();
    found.sort();
    found
}

#[test]
fn read_back_as_they_were_added_however_often() {
    let Some(ns) = Ns::new() else { return };
    let mut nft = ns.run(|| Nft::open().unwrap());
    nft.ensure(&spec()).unwrap();
    let elements = samples();
    for _ in 0..2 {
        nft.change(&added(&elements)).unwrap();
        assert_eq!(stand(&mut nft), elements);
    }
    let removed: Vec<Change<'_>> = elements.iter().map(Change::Remove).collect();
    nft.change(&removed[..3]).unwrap();
    nft.change(&removed).unwrap();
    nft.change(&removed).unwrap();
    assert_eq!(stand(&mut nft), []);
}

#[test]
fn with_another_value_conflict_and_nothing_changes() {
    let Some(ns) = Ns::new() else { return };
    let mut nft = ns.run(|| Nft::open().unwrap());
    nft.ensure(&spec()).unwrap();
    let taken = port(&published("0.0.0.0:80", "10.1.0.2:80")).unwrap();
    let other = port(&published("0.0.0.0:80", "10.1.0.3:80")).unwrap();
    let free = port(&published("0.0.0.0:81", "10.1.0.3:80")).unwrap();
    nft.change(&added(&taken)).unwrap();
    let changes = [Change::Add(&free[0]), Change::Add(&other[0])];
    let refused = nft.change(&changes).unwrap_err();
    assert_eq!(refused.place, Some(1));
    assert_eq!(refused.source.kind(), ErrorKind::AlreadyExists);
    assert_eq!(stand(&mut nft), taken);
    // In place of the old one, in one transaction.
    let replace = [Change::Remove(&taken[0]), Change::Add(&other[0])];
    nft.change(&replace).unwrap();
    assert_eq!(stand(&mut nft), other);
}

#[test]
fn conflict_in_a_large_batch_is_named() {
    let Some(ns) = Ns::new() else { return };
    let mut nft = ns.run(|| Nft::open().unwrap());
    nft.ensure(&spec()).unwrap();
    let port_at = |port_number: u16, host: u8| {
        let target = format!("10.1.0.{host}:80");
        port(&published(&format!("0.0.0.0:{port_number}"), &target)).unwrap()
    };
    let taken = port_at(700, 9);
    nft.change(&added(&taken)).unwrap();
    let mut many: Vec<Element> = (1..=1000).flat_map(|number| port_at(number, 2)).collect();
    // Set by set, as in a plan.
    many.sort();
    let refused = nft.change(&added(&many)).unwrap_err();
    assert_eq!(refused.place, Some(699));
    assert_eq!(stand(&mut nft), taken);
}

#[test]
fn need_the_table() {
    let Some(ns) = Ns::new() else { return };
    let mut nft = ns.run(|| Nft::open().unwrap());
    let elements = samples();
    let refused = nft.change(&added(&elements)).unwrap_err();
    assert_eq!(refused.source.kind(), ErrorKind::NotFound);
    nft.change(&[Change::Remove(&elements[0])]).unwrap();
}
