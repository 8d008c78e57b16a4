//! What a daemon that began anew waits for.

use super::{super::super::flags::Directives, *};
use std::cell::Cell;

fn host(addresses: &[(&str, &str)]) -> HostFacts {
    let address = |(link, net): &(&str, &str)| ((*link).to_owned(), net.parse().unwrap());
    HostFacts {
        addresses: addresses.iter().map(address).collect(),
        ..HostFacts::default()
    }
}

fn cluster() -> ClusterSettings {
    let directives = Directives {
        cluster_store: Some("etcd://192.0.2.10".to_owned()),
        cluster_advertise: Some("eth0".to_owned()),
        ..Directives::default()
    };
    ClusterSettings::check(&directives).unwrap().unwrap()
}

#[test]
fn who_began_anew_knows_it_and_no_child_of_it_does() {
    let next = cluster().underlay(&host(&[("eth0", "192.0.2.7/24")]));
    let next = next.unwrap();
    let (_, told) = variable(&next);
    let process = std::process::id();
    let goal = Goal {
        addr: next.addr,
        link: next.link,
    };
    assert_eq!(Goal::read(&told, process), Some(goal));
    assert_eq!(Goal::read(&told, process + 1), None);
    for bad in ["", "7", "7 192.0.2.7", "7 nowhere eth0", "x 192.0.2.7 eth0"] {
        assert_eq!(Goal::read(bad, 7), None, "{bad}");
    }
}

#[test]
fn it_waits_for_an_address_of_the_link_and_no_longer_than_it_may() {
    let cluster = cluster();
    let goal = Goal::read("7 192.0.2.7 eth0", 7).unwrap();
    // It goes, one of another version comes, one that is not to stay, and then one that will do.
    let mut passing = host(&[("eth0", "192.0.2.8/24")]);
    passing.passing.insert("192.0.2.8".parse().unwrap());
    let seen = [
        host(&[]),
        host(&[("eth1", "192.0.2.9/24")]),
        host(&[("eth0", "2001:db8::7/64")]),
        passing,
        host(&[("eth0", "2001:db8::7/64"), ("eth0", "192.0.2.8/24")]),
        host(&[("eth0", "192.0.2.9/24")]),
    ];
    for (left, looks) in [(PATIENCE, 5), (Duration::ZERO, 1)] {
        let looked = Cell::new(0);
        let look = || {
            looked.set(looked.get() + 1);
            Ok(seen[looked.get() - 1].clone())
        };
        let found = goal.await_in(&cluster, Instant::now() + left, look, |_| Ok(()));
        assert_eq!(looked.get(), looks);
        assert_eq!(found.unwrap().addresses, seen[looks - 1].addresses);
    }
}
