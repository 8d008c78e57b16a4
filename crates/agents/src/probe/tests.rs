//! Two hosts ask each other, over paths of every width.

use super::*;
use vw_testkit::{Host, Lab, require_root};

#[test]
fn halving_ends_where_both_meet() {
    assert_eq!(between(1450, None), None);
    assert_eq!(between(1200, Some(1450)), Some(1325));
    assert_eq!(between(1300, Some(1301)), None);
}

#[test]
fn a_packet_is_read_as_it_was_written_and_nothing_else_is_one() {
    let packet = Packet {
        kind: Kind::Answer,
        number: 42,
    };
    for length in [0, HEADER_AND_MORE] {
        assert_eq!(Packet::parse(&packet.bytes(length)), Some(packet));
    }
    assert_eq!(packet.bytes(HEADER_AND_MORE).len(), HEADER_AND_MORE);
    for strange in [
        &b""[..],
        b"vwprobe1",
        b"vwprobe1\x02\0\0\0\0\0\0\0\0",
        b"other",
    ] {
        assert_eq!(Packet::parse(strange), None);
    }
}

const HEADER_AND_MORE: usize = 100;

/// Two hosts with a router between them, whose second link takes `mtu` bytes.
fn hosts(lab: &Lab, mtu: u32) -> (Host, Host) {
    let (a, router, b) = (lab.host("a"), lab.host("router"), lab.host("b"));
    lab.link(&a, "wire", &router, "left");
    lab.link(&b, "wire", &router, "right");
    a.ip("addr add 192.0.2.1/25 dev wire");
    router.ip("addr add 192.0.2.2/25 dev left");
    router.ip("addr add 192.0.2.129/25 dev right");
    b.ip("addr add 192.0.2.130/25 dev wire");
    a.ip("route add default via 192.0.2.2");
    b.ip("route add default via 192.0.2.129");
    router.sh("echo 1 >/proc/sys/net/ipv4/ip_forward").must();
    router.ip(&format!("link set right mtu {mtu}"));
    b.ip(&format!("link set wire mtu {mtu}"));
    (a, b)
}

#[test]
fn the_path_is_as_wide_as_its_narrowest_link() {
    require_root!();
    for (mtu, passes) in [(1500, 1450), (1400, 1350), (1281, 1231)] {
        let lab = Lab::new();
        let (a, b) = hosts(&lab, mtu);
        let (at, to): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 130].into());
        let asker = a.enter(|| Prober::start(at)).unwrap();
        let other = b.enter(|| Prober::start(to)).unwrap();
        asker.answer([to]);
        other.answer([at]);
        let nobody = [192, 0, 2, 131].into();
        let found = asker.ask(&[to, nobody], 1450);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[&to].mtu, passes, "over a link of {mtu}");
        assert!(found[&to].latency < PATIENCE);
        // A way that loses the first packet of all is a good one.
        let rules = "add table inet lose; \
                     add chain inet lose in { type filter hook input priority 0; }; \
                     add rule inet lose in udp dport 4788 quota until 2000 bytes drop";
        b.run(["nft", rules]).must();
        assert!(asker.ask(&[to], 1450).contains_key(&to), "asked again");
        b.run(["nft", "delete", "table", "inet", "lose"]).must();
        other.answer([]);
        assert!(
            asker.ask(&[to], 1450).is_empty(),
            "a stranger gets no answer"
        );
    }
}
