//! Two hosts ask each other, over paths of every width.

use super::*;
use vw_testkit::{Host, Lab, require_root};

#[test]
fn halving_ends_where_both_meet() {
    assert_eq!(between(1450, None), None);
    assert_eq!(between(1200, Some(1450)), Some(1325));
    assert_eq!(between(1300, Some(1301)), None);
}

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

/// A prober of the host with this number at an address of that, which knows the other one.
fn prober(host: &Host, addr: IpAddr, other: (HostId, IpAddr)) -> Prober {
    let prober = Prober::default();
    let wire = host.enter(|| Wire::datagrams(addr)).unwrap();
    prober.open(Way::Beside, wire).unwrap();
    prober.answer([other]);
    prober
}

#[test]
fn the_path_is_as_wide_as_its_narrowest_link() {
    require_root!();
    let [first, second, nobody] = [1, 2, 3].map(|number| HostId::from_bytes([number; 32]));
    for (mtu, passes) in [(1500, 1450), (1400, 1350), (1281, 1231)] {
        let lab = Lab::new();
        let (a, b) = hosts(&lab, mtu);
        let (at, to): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 130].into());
        let asker = prober(&a, at, (second, to));
        let other = prober(&b, to, (first, at));
        asker.answer([(second, to), (nobody, [192, 0, 2, 131].into())]);
        let told = Told {
            clear: Some(4789),
            encrypted: true,
        };
        other.tell(told);
        let ask = |hosts: &[HostId]| asker.ask(Way::Beside, hosts, 1450).unwrap();
        let found = ask(&[second, nobody]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[&second].mtu, passes, "over a link of {mtu}");
        assert_eq!(found[&second].told, told);
        assert!(found[&second].latency < Duration::from_millis(200));
        // A way that loses the first packet of all is a good one.
        let rules = "add table inet lose; \
                     add chain inet lose in { type filter hook input priority 0; }; \
                     add rule inet lose in udp dport 4788 quota until 2000 bytes drop";
        b.run(["nft", rules]).must();
        assert!(ask(&[second]).contains_key(&second), "asked again");
        b.run(["nft", "delete", "table", "inet", "lose"]).must();
        other.answer([]);
        assert!(ask(&[second]).is_empty(), "a stranger gets no answer");
        other.answer([(first, at)]);
        assert!(ask(&[second]).contains_key(&second));
        other.close(Way::Beside);
        assert!(!other.is_open(Way::Beside));
        assert!(ask(&[second]).is_empty(), "it listens no more");
        drop(prober(&b, to, (first, at)));
        assert_eq!(asker.ask(Way::Clear, &[second], 1450), None);
    }
}
