//! When a daemon begins anew for its address.

use super::{super::cluster::ClusterSettings, super::flags::Directives, *};

const WAS: &str = "192.0.2.1/24";

fn reached(advertise: &str) -> Reached {
    let directives = Directives {
        cluster_store: Some("etcd://192.0.2.10".to_owned()),
        cluster_advertise: (!advertise.is_empty()).then(|| advertise.to_owned()),
        ..Directives::default()
    };
    let cluster = ClusterSettings::check(&directives).unwrap().unwrap();
    let underlay = cluster.underlay(&facts(&[("eth0", WAS)])).unwrap();
    Reached {
        cluster,
        underlay,
        anew: Anew::default(),
    }
}

fn facts(addresses: &[(&str, &str)]) -> HostFacts {
    let address = |(link, net): &(&str, &str)| ((*link).to_owned(), net.parse().unwrap());
    let addresses: Vec<(String, vw_model::IpNet)> = addresses.iter().map(address).collect();
    HostFacts {
        default_source: addresses
            .iter()
            .map(|(_, net)| net.addr())
            .take(1)
            .collect(),
        addresses,
        ..HostFacts::default()
    }
}

#[test]
fn it_begins_anew_only_where_its_address_is_gone_and_another_is_named_by_its_flags() {
    type Addresses<'a> = &'a [(&'a str, &'a str)];
    let cases: &[(&str, Addresses<'_>, bool, Look)] = &[
        ("eth0", &[("eth0", WAS)], false, Look::Done),
        (
            "eth0",
            &[("eth0", "192.0.2.7/24"), ("eth0", WAS)],
            false,
            Look::Done,
        ),
        // As when the link becomes a port of a bridge, which takes over its address.
        ("eth0", &[("br0", WAS)], false, Look::Done),
        ("eth0", &[("eth0", "192.0.2.7/24")], true, Look::Done),
        (
            "eth0:7777",
            &[("eth0", "198.51.100.7/24")],
            true,
            Look::Done,
        ),
        ("", &[("eth1", "192.0.2.7/24")], true, Look::Done),
        // What comes in its place may come later, and without another address.
        ("eth0", &[("eth1", "192.0.2.7/24")], false, Look::Again),
        ("eth0", &[("eth0", "169.254.0.7/16")], false, Look::Again),
        ("", &[], false, Look::Again),
        // The others could not reach that.
        ("eth0", &[("eth0", "2001:db8::7/64")], false, Look::Again),
        // Somebody said by which one.
        ("192.0.2.1", &[("eth0", "192.0.2.7/24")], false, Look::Done),
    ];
    for (advertise, addresses, anew, look) in cases {
        let reached = reached(advertise);
        let looked = reached.look(&facts(addresses));
        let found = (reached.anew.is_said(), looked);
        assert_eq!(found, (*anew, *look), "{advertise:?} with {addresses:?}");
    }
}
