//! Tables are what `nft` makes of their text, and are mended around what others own.

use super::super::{Change, Nft, Skeleton};
use super::{Ns, bridge, published, spec};
use std::{
    net::{TcpListener, TcpStream, UdpSocket},
    time::Duration,
};
use vw_firewall::spec::{Base, ChainKind, ChainSpec, Contents, Hook};
use vw_firewall::{HostTable, SetName, TableSpec, network, port, sandbox_dns, service_table};

fn by_nft(spec: &TableSpec) -> Option<String> {
    let ns = Ns::new()?;
    ns.sh(&format!("nft -f - <<'END'\n{spec}\nEND"));
    Some(listed(&ns, spec))
}

fn listed(ns: &Ns, spec: &TableSpec) -> String {
    ns.sh(&format!("nft list table {} {}", spec.family, spec.name))
}

/// Of a port in the key of a map of slots, `nft` shows now the one word for it, now the other.
fn plain(listed: &str) -> String {
    let lines = listed.lines().map(|line| match line.contains("_slots") {
        true => line.replace("tcp dport", "th dport"),
        false => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn is_what_nft_makes_of_its_text() {
    for spec in [
        spec(),
        HostTable::default().rules(),
        HostTable::rules6(),
        sandbox_dns(1053, 1054),
        service_table(),
    ] {
        let Some(expected) = by_nft(&spec) else {
            return;
        };
        let Some(ns) = Ns::new() else { return };
        ns.run(|| Nft::open().unwrap().ensure(&spec).unwrap());
        let found = listed(&ns, &spec);
        assert_eq!(plain(&found), plain(&expected));
        // What `nft` shows can be fed to it again: an administrator's backup works.
        ns.sh("nft list ruleset | nft -c -f -");
    }
}

#[test]
fn of_one_family_stands_beside_the_other_of_its_name() {
    let Some(ns) = Ns::new() else { return };
    let mut nft = ns.run(|| Nft::open().unwrap());
    let (both, six) = (spec(), HostTable::rules6());
    let mut shows = |both_stands, six_stands| {
        assert_eq!(nft.check(&both).unwrap(), both_stands);
        assert_eq!(nft.check(&six).unwrap(), six_stands);
        nft.ensure(&six).unwrap();
        nft.ensure(&both).unwrap();
    };
    shows(Skeleton::Absent, Skeleton::Absent);
    shows(Skeleton::Intact, Skeleton::Intact);
    ns.sh("nft insert rule ip6 vethwork to_localhost accept");
    shows(Skeleton::Intact, Skeleton::Altered);
    ns.sh("nft delete table ip6 vethwork");
    shows(Skeleton::Intact, Skeleton::Absent);
    ns.sh("nft delete table inet vethwork");
    shows(Skeleton::Absent, Skeleton::Intact);
    nft.remove(&six).unwrap();
    assert_eq!(nft.check(&both).unwrap(), Skeleton::Intact);
    assert_eq!(nft.check(&six).unwrap(), Skeleton::Absent);
}

#[test]
fn that_is_refused_leaves_none_that_was_made_for_it() {
    let Some(ns) = Ns::new() else { return };
    let mut nft = ns.run(|| Nft::open().unwrap());
    let (six, refused) = (
        HostTable::rules6(),
        // It has a chain that hooks in where no chain of its kind may.
        TableSpec {
            chains: vec![misplaced()],
            ..spec()
        },
    );
    let both = [six.clone(), refused.clone()];
    nft.ensure_all(&both).unwrap_err();
    assert_eq!(nft.check(&six).unwrap(), Skeleton::Absent);
    nft.ensure(&six).unwrap();
    nft.ensure_all(&both).unwrap_err();
    assert_eq!(nft.check(&six).unwrap(), Skeleton::Intact);
    assert_eq!(nft.check(&refused).unwrap(), Skeleton::Absent);
}

fn misplaced() -> ChainSpec {
    let base = Some(Base {
        kind: ChainKind::Nat,
        hook: Hook::Forward,
        priority: 0,
    });
    let rules = Vec::new();
    ChainSpec {
        name: "misplaced",
        contents: Contents::Ours { base, rules },
    }
}

/// A table from before `ip6 vethwork`, which did all.
#[test]
fn of_before_there_were_two_gives_up_what_is_in_the_other() {
    let Some(ns) = Ns::new() else { return };
    let mut nft = ns.run(|| Nft::open().unwrap());
    let six = HostTable::rules6();
    let mut former = spec();
    former.chains.extend(six.chains.clone());
    nft.ensure(&former).unwrap();
    let now = [six, spec()];
    assert_eq!(nft.check(&now[1]).unwrap(), Skeleton::Altered);
    nft.ensure_all(&now).unwrap();
    for spec in &now {
        assert_eq!(nft.check(spec).unwrap(), Skeleton::Intact);
    }
    assert!(!listed(&ns, &now[1]).contains("to_localhost"));
}

#[test]
fn is_kept_when_intact_and_removed_once() {
    let Some(ns) = Ns::new() else { return };
    let mut nft = ns.run(|| Nft::open().unwrap());
    let spec = spec();
    assert_eq!(nft.check(&spec).unwrap(), Skeleton::Absent);
    nft.ensure(&spec).unwrap();
    assert_eq!(nft.check(&spec).unwrap(), Skeleton::Intact);
    let handles = ns.sh("nft -a list table inet vethwork");
    nft.ensure(&spec).unwrap();
    assert_eq!(ns.sh("nft -a list table inet vethwork"), handles);
    nft.remove(&spec).unwrap();
    nft.remove(&spec).unwrap();
    assert_eq!(nft.check(&spec).unwrap(), Skeleton::Absent);
    assert_eq!(nft.elements().unwrap(), []);
}

#[test]
fn is_mended_around_users_rules_and_elements() {
    let damages = [
        "nft flush chain inet vethwork guard",
        "nft delete chain inet vethwork mark_leaving 2>/dev/null || nft flush chain inet vethwork forward",
        "nft insert rule inet vethwork to_nat accept",
        "nft add rule inet vethwork postrouting counter",
        "nft 'chain inet vethwork forward { policy drop; }'",
        "nft flush chain inet vethwork guard; nft delete chain inet vethwork guard",
        "nft flush chain inet vethwork guard; nft delete chain inet vethwork guard; nft 'add chain inet vethwork guard { type filter hook prerouting priority 7; }'",
        "nft flush chain inet vethwork publish; nft delete set inet vethwork open4 2>/dev/null || nft delete map inet vethwork ports4; nft 'add map inet vethwork ports4 { type ipv4_addr : ipv4_addr; }'",
        "nft flush table inet vethwork; nft 'add rule inet vethwork user ip saddr 192.0.2.9 drop; add rule inet vethwork mine drop'",
    ];
    for damage in damages {
        let Some(ns) = Ns::new() else { return };
        let mut nft = ns.run(|| Nft::open().unwrap());
        nft.ensure(&spec()).unwrap();
        let mut elements = network(&bridge("vw-a"));
        elements.extend(port(&published("0.0.0.0:80", "10.1.0.2:80")).unwrap());
        elements.sort();
        let changes: Vec<Change<'_>> = elements.iter().map(Change::Add).collect();
        nft.change(&changes).unwrap();
        ns.sh("nft 'add rule inet vethwork user ip saddr 192.0.2.9 drop; add chain inet vethwork mine; add rule inet vethwork mine drop'");
        assert_eq!(nft.check(&spec()).unwrap(), Skeleton::Intact);
        ns.sh(damage);
        assert_eq!(nft.check(&spec()).unwrap(), Skeleton::Altered, "{damage}");
        nft.ensure(&spec()).unwrap();
        assert_eq!(nft.check(&spec()).unwrap(), Skeleton::Intact, "{damage}");
        let user = ns.sh("nft list chain inet vethwork user");
        assert!(user.contains("ip saddr 192.0.2.9 drop"), "{damage}: {user}");
        assert!(ns.sh("nft list chain inet vethwork mine").contains("drop"));
        let mut found = nft.elements().unwrap();
        found.sort();
        assert_eq!(found, elements, "{damage}");
    }
}

#[test]
fn of_another_version_is_replaced_in_place() {
    let Some(ns) = Ns::new() else { return };
    let mut nft = ns.run(|| Nft::open().unwrap());
    let (with, without) = (spec(), HostTable::default().rules());
    nft.ensure(&with).unwrap();
    assert_eq!(nft.check(&without).unwrap(), Skeleton::Altered);
    nft.ensure(&without).unwrap();
    assert_eq!(nft.check(&without).unwrap(), Skeleton::Intact);
    assert!(
        !ns.sh("nft list table inet vethwork")
            .contains("mark_leaving")
    );
    nft.ensure(&with).unwrap();
    assert_eq!(nft.check(&with).unwrap(), Skeleton::Intact);
}

/// One from before there were sets of the keys of maps.
const FORMER: &str = "add table inet vethwork; \
    add map inet vethwork translators { type ifname : ipv6_addr; }; \
    add element inet vethwork translators { \"vw_translator\" : fd00::6 }; \
    add map inet vethwork ports_any4 { type inet_proto . inet_service : ipv4_addr . inet_service; }; \
    add element inet vethwork ports_any4 { tcp . 80 : 10.0.0.2 . 8080 };";

#[test]
fn of_a_version_without_some_sets_has_what_belongs_there_at_once() {
    let Some(ns) = Ns::new() else { return };
    let mut nft = ns.run(|| Nft::open().unwrap());
    ns.sh(&format!("nft '{FORMER}'"));
    let of = |nft: &mut Nft, set| {
        let found = nft.elements().unwrap().into_iter();
        found.filter(|element| element.set == set).count()
    };
    // What is no element of a set of ours is made anew.
    assert_eq!(of(&mut nft, SetName::Translators), 0);
    assert_eq!(of(&mut nft, SetName::PortsAny4), 1);
    nft.ensure(&spec()).unwrap();
    assert_eq!(nft.check(&spec()).unwrap(), Skeleton::Intact);
    assert_eq!(of(&mut nft, SetName::PortsAny4), 1);
    assert_eq!(of(&mut nft, SetName::PublishedAny4), 1);
}

#[test]
fn of_a_sandbox_leads_queries_to_the_resolver() {
    let Some(ns) = Ns::new() else { return };
    let (udp, tcp) = ns.run(|| {
        let udp = UdpSocket::bind("127.0.0.11:0").unwrap();
        (udp, TcpListener::bind("127.0.0.11:0").unwrap())
    });
    // A server of the user's own on every address stays what it is.
    let users = ns.run(|| UdpSocket::bind("0.0.0.0:53").unwrap());
    let ports = (
        udp.local_addr().unwrap().port(),
        tcp.local_addr().unwrap().port(),
    );
    let spec = sandbox_dns(ports.0, ports.1);
    ns.run(|| Nft::open().unwrap().ensure(&spec).unwrap());
    let client = ns.run(|| UdpSocket::bind("127.0.0.1:0").unwrap());
    let mut buf = [0; 16];
    let patience = Duration::from_secs(2);
    for (server, at) in [(&udp, "127.0.0.11:53"), (&users, "127.0.0.1:53")] {
        client.set_read_timeout(Some(patience)).unwrap();
        server.set_read_timeout(Some(patience)).unwrap();
        client.send_to(b"who?", at).unwrap();
        let (len, from) = server.recv_from(&mut buf).unwrap();
        server.send_to(&buf[..len], from).unwrap();
        let (len, from) = client.recv_from(&mut buf).unwrap();
        assert_eq!((&buf[..len], from), (&b"who?"[..], at.parse().unwrap()));
    }
    let client = ns.run(|| TcpStream::connect_timeout(&"127.0.0.11:53".parse().unwrap(), patience));
    assert_eq!(
        client.unwrap().peer_addr().unwrap(),
        "127.0.0.11:53".parse().unwrap()
    );
}
