//! What is said of a link that is no longer as it was.

use super::*;
use expect_test::expect;

fn said(addresses: &[(&str, &str)], mtu: u32) -> String {
    let underlay = Underlay {
        addr: [192, 0, 2, 1].into(),
        prefix: 24,
        link: "eth0".parse().unwrap(),
        mtu: 1500,
        merges: false,
        port: None,
        inner: None,
        carrier: Default::default(),
        link_local: None,
    };
    let address = |(link, net): &(&str, &str)| ((*link).to_owned(), net.parse().unwrap());
    let facts = HostFacts {
        addresses: addresses.iter().map(address).collect(),
        mtus: [("eth0".to_owned(), mtu)].into(),
        ..HostFacts::default()
    };
    let gone = gone(&underlay, &facts);
    let said = gone.or_else(|| wider_or_narrower(&underlay, &facts));
    said.unwrap_or_default()
}

#[test]
fn the_remedy_fits_what_changed() {
    assert_eq!(said(&[("eth0", "192.0.2.1/24")], 1500), "");
    // As when the link becomes a port of a bridge, which takes over its address.
    assert_eq!(said(&[("br0", "192.0.2.1/24")], 1500), "");
    let moved = [("eth0", "fe80::1/64"), ("eth0", "192.0.2.7/24")];
    expect!["this host no longer has the address 192.0.2.1, by which the other hosts reach it: eth0 has 192.0.2.7 now; give it back, or start the daemon again with --cluster-advertise eth0"].assert_eq(&said(&moved, 1400));
    expect!["this host no longer has the address 192.0.2.1, by which the other hosts reach it: eth0 has none that they could reach now; give it back"].assert_eq(&said(&[("lo", "127.0.0.1/8")], 1500));
    expect!["the MTU of eth0, the link to the other hosts, is 1400 now and was 1500 when the daemon started: start it again, so that networks made from then on have that"].assert_eq(&said(&[("eth0", "192.0.2.1/24")], 1400));
}
