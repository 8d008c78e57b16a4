//! What overlay networks, endpoints and other hosts become, and what is refused.

use super::*;
use crate::sample::{endpoint, network, options, pool, shown, shown_attachment};
use expect_test::{Expect, expect};
use proptest::prelude::*;
use std::{collections::BTreeSet, net::IpAddr};
use vw_hoststate::Key;
use vw_model::{EndpointId, HostId, MacAddr, NetworkId, SandboxId, inner_address, link_address};

const V4: &str = "10.0.0.0/24";
const V6: &str = "fd00::/64";
const VNI: &str = "com.docker.network.driver.overlay.vxlanid_list";
const MULTICAST: &str = "vethwork.overlay.multicast";

mod route;
mod wireguard;

fn cx(addr: &str, mtu: u32) -> DriverContext {
    let addr: IpAddr = addr.parse().unwrap();
    DriverContext {
        underlay: Some(Underlay {
            addr,
            prefix: if addr.is_ipv4() { 24 } else { 64 },
            link: "wire".parse().unwrap(),
            mtu,
            merges: false,
            port: None,
            inner: None,
            carrier: Default::default(),
            link_local: Some(link_address(HostId::from_bytes([1; 32]))),
        }),
        ..DriverContext::default()
    }
}

fn over4() -> DriverContext {
    cx("192.0.2.1", 1500)
}

/// A host that has an encrypted tunnel.
fn sealed(addr: &str, mtu: u32) -> DriverContext {
    let mut cx = cx(addr, mtu);
    let inner = Some(inner_address(HostId::from_bytes([1; 32])));
    cx.underlay = cx.underlay.map(|underlay| Underlay { inner, ..underlay });
    cx
}

fn over6() -> DriverContext {
    cx("2001:db8::1", 1500)
}

/// A network with the number 4097.
fn overlay(subnets: &[&str], given: &[(&str, &str)]) -> NetworkSpec {
    let mut network = network("overlay", subnets, &[&[(VNI, "4097")], given].concat());
    network.scope = Scope::Global;
    network
}

fn planned(network: &NetworkSpec, cx: &DriverContext, expected: Expect) {
    Overlay.validate(network, cx).unwrap();
    expected.assert_eq(&shown(&Overlay.plan_network(network, cx).unwrap()));
}

fn refused(network: &NetworkSpec, cx: &DriverContext, expected: Expect) {
    let error = Overlay.validate(network, cx).unwrap_err();
    expected.assert_eq(&format!("{:?} {}: {error}", error.kind, error.reason));
}

fn remote(tunnel: &str, addresses: &[&str]) -> RemoteEndpoint {
    RemoteEndpoint {
        id: EndpointId::from_bytes([1; 32]),
        network: NetworkId::from_bytes([0xab; 32]),
        host: HostId::from_bytes([2; 32]),
        tunnel: tunnel.parse().unwrap(),
        mac: MacAddr([0x02, 0x42, 10, 0, 0, 9]),
        addresses: addresses.iter().map(|addr| addr.parse().unwrap()).collect(),
        names: vec!["db".to_owned()],
        ports: Vec::new(),
        service: None,
        away: false,
        sandbox: SandboxId::from_bytes([3; 32]),
    }
}

#[test]
fn a_network_is_a_bridge_and_a_tunnel_out_of_sight() {
    planned(
        &overlay(&[V4], &[]),
        &over4(),
        expect![[r#"
            network: namespace New
            rule: TunnelPorts [Port(4789)] []
            network: link br0 mtu 1450 mac 02:76:ab:ab:ab:ab bridge mcast_snooping false alias vethwork:network:abababababababababababababababababababababababababababababababab
            network: link vxlan0 mtu 1450 vxlan 4097 port 4789 local 192.0.2.1 on br0 isolated false hairpin false alias vethwork:network:abababababababababababababababababababababababababababababababab
            network: net/ipv6/conf/br0/disable_ipv6 = 1
            network: shortcuts from vxlan0
        "#]],
    );
}

#[test]
fn over_ipv6_the_tunnel_takes_more() {
    planned(
        &overlay(&[V4, V6], &[]),
        &over6(),
        expect![[r#"
            network: namespace New
            rule: TunnelPorts [Port(4789)] []
            network: link br0 mtu 1430 mac 02:76:ab:ab:ab:ab bridge mcast_snooping false alias vethwork:network:abababababababababababababababababababababababababababababababab
            network: link vxlan0 mtu 1430 vxlan 4097 port 4789 local 2001:db8::1 on br0 isolated false hairpin false alias vethwork:network:abababababababababababababababababababababababababababababababab
            network: net/ipv6/conf/br0/disable_ipv6 = 1
            network: shortcuts from vxlan0
        "#]],
    );
}

#[test]
fn port_mtu_and_switches_are_those_of_the_network_and_the_host() {
    let network = overlay(
        &[V4],
        &[
            ("vethwork.overlay.port", "8472"),
            ("com.docker.network.driver.mtu", "1200"),
        ],
    );
    let filtered = DriverContext {
        br_netfilter: true,
        iptables: false,
        ..over4()
    };
    planned(
        &network,
        &filtered,
        expect![[r#"
            network: namespace New
            network: link br0 mtu 1200 mac 02:76:ab:ab:ab:ab bridge mcast_snooping false alias vethwork:network:abababababababababababababababababababababababababababababababab
            network: link vxlan0 mtu 1200 vxlan 4097 port 8472 local 192.0.2.1 on br0 isolated false hairpin false alias vethwork:network:abababababababababababababababababababababababababababababababab
            network: net/bridge/bridge-nf-call-arptables = 0
            network: net/bridge/bridge-nf-call-ip6tables = 0
            network: net/bridge/bridge-nf-call-iptables = 0
            network: shortcuts from vxlan0
        "#]],
    );
}

#[test]
fn an_endpoint_is_a_port_there_and_has_no_way_out() {
    let network = overlay(&[V4, V6], &[]);
    let endpoint = endpoint(&network, &["10.0.0.2/24", "fd00::2/64"]);
    let plan = Overlay.plan_attachment(&network, &endpoint, &over4());
    expect![[r#"
        network: link vwcdcdcdcdcd mtu 1450 veth to sandbox eth0 mac 02:42:0a:00:00:02 on br0 isolated false hairpin false
        sandbox: net/ipv6/conf/eth0/accept_ra = 0
        sandbox: net/ipv6/conf/eth0/disable_ipv6 = 0
        sandbox: address 10.0.0.2/24 dev eth0
        sandbox: address fd00::2/64 dev eth0
        sandbox: address fe80::42:aff:fe00:2/64 dev eth0
        network: shortcut to 02:42:0a:00:00:02 by vwcdcdcdcdcd Here
    "#]].assert_eq(&shown_attachment(&plan.unwrap()));
}

#[test]
fn all_subnets_of_a_network_are_one_link() {
    let network = overlay(&["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", V6], &[]);
    let endpoint = endpoint(&network, &["10.0.1.2/24"]);
    let plan = Overlay.plan_attachment(&network, &endpoint, &over4());
    expect![[r#"
        network: link vwcdcdcdcdcd mtu 1450 veth to sandbox eth0 mac 02:42:0a:00:00:02 on br0 isolated false hairpin false
        sandbox: net/ipv6/conf/eth0/disable_ipv6 = 1
        sandbox: address 10.0.1.2/24 dev eth0
        sandbox: route 10.0.0.0/24 dev eth0 metric 0
        sandbox: route 10.0.2.0/24 dev eth0 metric 0
        network: shortcut to 02:42:0a:00:00:02 by vwcdcdcdcdcd Here
    "#]].assert_eq(&shown_attachment(&plan.unwrap()));
}

#[test]
fn an_endpoint_elsewhere_is_a_way_and_its_addresses() {
    let both = overlay(&[V4, V6], &[]);
    let there = remote("192.0.2.2", &["10.0.0.9/24", "fd00::9/64"]);
    let plan = |network: &NetworkSpec| {
        let plan = Overlay.plan_remote(network, &there, &over4());
        shown(&plan.unwrap())
    };
    expect![[r#"
        network: forward 02:42:0a:00:00:09 dev vxlan0 to 192.0.2.2
        network: neighbour 10.0.0.9 dev vxlan0 mac 02:42:0a:00:00:09
        network: neighbour fd00::9 dev vxlan0 mac 02:42:0a:00:00:09
        network: neighbour fe80::42:aff:fe00:9 dev vxlan0 mac 02:42:0a:00:00:09
        network: shortcut to 02:42:0a:00:00:09 by vxlan0 Elsewhere
    "#]]
    .assert_eq(&plan(&both));
    // An address of a family that the network lacks is nobody's here.
    expect![[r#"
        network: forward 02:42:0a:00:00:09 dev vxlan0 to 192.0.2.2
        network: neighbour 10.0.0.9 dev vxlan0 mac 02:42:0a:00:00:09
        network: shortcut to 02:42:0a:00:00:09 by vxlan0 Elsewhere
    "#]]
    .assert_eq(&plan(&overlay(&[V4], &[])));
}

#[test]
fn without_shortcuts_all_goes_by_the_bridge() {
    let cx = DriverContext {
        no_shortcuts: Some("no".to_owned()),
        ..over4()
    };
    let network = overlay(&[V4], &[]);
    let there = remote("192.0.2.2", &["10.0.0.9/24"]);
    let endpoint = endpoint(&network, &["10.0.0.2/24"]);
    let attached = Overlay.plan_attachment(&network, &endpoint, &cx).unwrap();
    let plans = [
        Overlay.plan_network(&network, &cx).unwrap(),
        attached.fragment,
        Overlay.plan_remote(&network, &there, &cx).unwrap(),
    ];
    let is_shortcut = |key: &Key| matches!(key, Key::Shortcuts(..) | Key::Shortcut(..));
    let mut planned = plans.iter().flat_map(|plan| plan.iter());
    assert!(!planned.any(|(key, _)| is_shortcut(key)));
}

#[test]
fn groups_reach_other_hosts_where_that_was_asked_for() {
    let plan = |given: &[(&str, &str)]| {
        let network = overlay(&[V4], given);
        let there = remote("192.0.2.2", &["10.0.0.9/24"]);
        let all = shown(&Overlay.plan_remote(&network, &there, &over4()).unwrap());
        let to_many = |line: &&str| line.contains("00:00:00:00:00:00");
        all.lines().filter(to_many).collect::<String>()
    };
    assert_eq!(plan(&[]), "");
    assert_eq!(plan(&[(MULTICAST, "false")]), "");
    expect!["network: forward 00:00:00:00:00:00 dev vxlan0 to 192.0.2.2"]
        .assert_eq(&plan(&[(MULTICAST, "true")]));
}

#[test]
fn hosts_of_another_ip_version_are_out_of_reach() {
    let network = overlay(&[V4], &[(MULTICAST, "true")]);
    let error = Overlay.plan_remote(&network, &remote("2001:db8::2", &["10.0.0.9/24"]), &over4());
    let error = error.unwrap_err();
    expect!["Conflict underlay-family-mismatch: host 2001:db8::2 cannot be reached from 192.0.2.1: all hosts of a cluster must advertise addresses of one IP version"].assert_eq(&format!("{:?} {}: {error}", error.kind, error.reason));
    let error = Overlay.plan_remote(&network, &remote("192.0.2.2", &["10.0.0.9/24"]), &over6());
    assert_eq!(error.unwrap_err().reason, "underlay-family-mismatch");
    // Encrypted, where addresses inside the tunnel say nothing of it.
    let hidden = overlay(&[V4], &[("encrypted", "")]);
    let error = Overlay.plan_remote(
        &hidden,
        &remote("2001:db8::2", &["10.0.0.9/24"]),
        &sealed("192.0.2.1", 1500),
    );
    assert_eq!(error.unwrap_err().reason, "underlay-family-mismatch");
    let mut group = remote("192.0.2.2", &["10.0.0.9/24"]);
    group.mac = MacAddr([0x01, 0, 0x5e, 0, 0, 1]);
    let error = Overlay.plan_remote(&network, &group, &over4());
    assert_eq!(error.unwrap_err().reason, "mac-invalid");
}

#[test]
fn the_gateway_bridge_is_the_way_out_but_of_internal_networks() {
    let mut network = overlay(&[V4], &[]);
    assert!(Overlay.companion(&network));
    assert!(!Overlay.needs_router(&network, Family::V4));
    assert_eq!(Overlay.gateway(&network, Family::V4), None);
    network.internal = true;
    assert!(!Overlay.companion(&network));
}

#[test]
fn a_number_is_needed_for_the_plan_alone() {
    let network = network("overlay", &[V4], &[]);
    Overlay.validate(&network, &over4()).unwrap();
    let error = Overlay.plan_network(&network, &over4()).unwrap_err();
    assert_eq!(error.reason, "vxlan-id-missing");
}

#[test]
fn a_daemon_alone_has_none() {
    let expected = expect![[
        r#"Unavailable cluster-missing: datastore for scope "global" is not initialized: network web reaches other hosts, and this daemon is in no cluster; start it with --cluster-store and --cluster-advertise"#
    ]];
    refused(&overlay(&[V4], &[]), &DriverContext::default(), expected);
}

#[test]
fn options_that_cannot_be_are_refused() {
    let said = |given: &[(&str, &str)]| {
        let network = overlay(&[V4], given);
        let error = Overlay.validate(&network, &over4()).unwrap_err();
        format!("{:?} {}: {error}\n", error.kind, error.reason)
    };
    let all: String = [
        [(VNI, "0")],
        [(VNI, "16777216")],
        [(VNI, "4097,4098")],
        [("vethwork.overlay.port", "0")],
        [("vethwork.overlay.port", "70000")],
        [(MULTICAST, "perhaps")],
        [("com.docker.network.driver.mtu", "20")],
        [("encrypted", "")],
        [("encrypted", "true")],
        [("encrypted", "perhaps")],
        [("overlay.mode", "bus")],
        [("com.docker.network.bridge.name", "br7")],
    ]
    .iter()
    .map(|given| said(given))
    .collect();
    expect![[r#"
        InvalidArgument option-invalid: failed to parse com.docker.network.driver.overlay.vxlanid_list value: 0 (use one number from 1 to 16777215)
        InvalidArgument option-invalid: failed to parse com.docker.network.driver.overlay.vxlanid_list value: 16777216 (use one number from 1 to 16777215)
        InvalidArgument option-invalid: failed to parse com.docker.network.driver.overlay.vxlanid_list value: 4097,4098 (a network has one VXLAN id, whatever its subnets)
        InvalidArgument option-invalid: failed to parse vethwork.overlay.port value: 0 (use a port from 1 to 65535)
        InvalidArgument option-invalid: failed to parse vethwork.overlay.port value: 70000 (use a port from 1 to 65535)
        InvalidArgument option-invalid: failed to parse vethwork.overlay.multicast value: perhaps (strconv.ParseBool: parsing "perhaps": invalid syntax)
        InvalidArgument mtu-invalid: invalid MTU number: 20: use 68 to 65535 on this network
        Unavailable encryption-missing: network web cannot be encrypted: this host has no encrypted tunnel, which needs IPv6 in the kernel, WireGuard there or /dev/net/tun, and a file of keys that can be used (`vethwork info` warns of one that cannot); load the module `wireguard` or `tun` and start the daemon again, or leave the option encrypted out
        Unavailable encryption-missing: network web cannot be encrypted: this host has no encrypted tunnel, which needs IPv6 in the kernel, WireGuard there or /dev/net/tun, and a file of keys that can be used (`vethwork info` warns of one that cannot); load the module `wireguard` or `tun` and start the daemon again, or leave the option encrypted out
        InvalidArgument option-invalid: failed to parse encrypted value: perhaps (strconv.ParseBool: parsing "perhaps": invalid syntax)
        InvalidArgument option-invalid: failed to parse overlay.mode value: bus (use vxlan or route)
        InvalidArgument option-unknown: unknown option com.docker.network.bridge.name for the driver overlay: known are com.docker.network.driver.overlay.vxlanid_list, com.docker.network.driver.mtu, vethwork.overlay.port, vethwork.overlay.multicast, vethwork.overlay.mode
    "#]].assert_eq(&all);
    let kept = overlay(&[V4], &[("encrypted", "false"), ("my.own", "word")]);
    Overlay.validate(&kept, &over4()).unwrap();
}

#[test]
fn subnets_that_cannot_be_are_refused() {
    let overlapping = overlay(&["10.0.0.0/24", "10.0.1.0/24", "10.0.0.0/16"], &[]);
    refused(
        &overlapping,
        &over4(),
        expect![
            "InvalidArgument pool-invalid: subnets 10.0.0.0/24 and 10.0.0.0/16 of network web overlap"
        ],
    );
    refused(
        &overlay(&["224.0.0.0/24"], &[]),
        &over4(),
        expect!["InvalidArgument pool-invalid: multicast subnet '224.0.0.0/24' is not allowed"],
    );
    refused(
        &overlay(&["fe80::/32"], &[]),
        &over4(),
        expect![
            "InvalidArgument pool-invalid: 'fe80::/32' clashes with the Link-Local prefix 'fe80::/64'"
        ],
    );
    refused(
        &overlay(&[], &[]),
        &over4(),
        expect!["InvalidArgument no-family: IPv4 or IPv6 must be enabled"],
    );
    let narrow = cx("2001:db8::1", 1300);
    refused(
        &overlay(&[V6], &[]),
        &narrow,
        expect![
            "InvalidArgument mtu-invalid: network web cannot have IPv6: the link of 2001:db8::1 leaves it an MTU of 1230, and IPv6 needs 1280; raise the link's MTU, or set com.docker.network.driver.mtu and let packets be fragmented"
        ],
    );
    let mut missing = overlay(&[V4], &[]);
    missing.ipam.pools.clear();
    missing.enable_ipv6 = true;
    missing.ipam.pools.push(pool(V6));
    let error = Overlay.plan_network(&missing, &over4()).unwrap_err();
    assert_eq!(error.reason, "pool-missing");
}

#[test]
fn an_endpoint_has_the_options_of_every_port() {
    let network = overlay(&[V4], &[]);
    let settings = |given: &[(&str, &str)]| EndpointSettings {
        driver_opts: options(given),
        ..EndpointSettings::default()
    };
    let named = settings(&[("com.docker.network.endpoint.ifname", "lan")]);
    Overlay.validate_endpoint(&network, &named).unwrap();
    let name = Overlay.interface_name(&named).unwrap();
    assert_eq!(name.map(|name| name.to_string()).as_deref(), Some("lan"));
    let unknown = settings(&[("com.docker.network.endpoint.speed", "9")]);
    let error = Overlay.validate_endpoint(&network, &unknown).unwrap_err();
    expect!["unknown option com.docker.network.endpoint.speed for an endpoint of the driver overlay: known are com.docker.network.endpoint.sysctls, com.docker.network.endpoint.ifname, vethwork.service, vethwork.weight"].assert_eq(&error.to_string());
}

proptest! {
    /// Endpoints on other hosts share nothing that one's end would take from another.
    #[test]
    fn remote_endpoints_have_keys_of_their_own(hosts in prop::collection::vec(2_u8..250, 1..20)) {
        let network = overlay(&["10.0.0.0/16", V6], &[]);
        let mut seen: BTreeSet<Key> = BTreeSet::new();
        for (at, host) in hosts.iter().enumerate() {
            let mut remote = remote(&format!("192.0.2.{host}"), &[]);
            remote.mac.0[5] = at as u8;
            remote.addresses = vec![
                format!("10.0.1.{at}/16").parse().unwrap(),
                format!("fd00::1:{at}/64").parse().unwrap(),
            ];
            let plan = Overlay.plan_remote(&network, &remote, &over4()).unwrap();
            prop_assert_eq!(plan.iter().len(), 5);
            for (key, _) in plan.iter() {
                prop_assert!(seen.insert(key.clone()), "{:?}", key);
            }
        }
    }
}

#[test]
fn segments_are_joined_once_on_their_way_in() {
    let gro = |given: &[(&str, &str)], merges| {
        let mut cx = sealed("192.0.2.1", 1500);
        cx.underlay = cx.underlay.map(|underlay| Underlay { merges, ..underlay });
        let plan = Overlay.plan_network(&overlay(&[V4], given), &cx).unwrap();
        !shown(&plan).contains(" without gro ")
    };
    assert!(gro(&[], false) && !gro(&[], true));
    let encrypted = [("encrypted", "")];
    assert!(gro(&encrypted, false) && gro(&encrypted, true));
}

#[test]
fn an_encrypted_network_has_inner_addresses_alone() {
    for given in [[("encrypted", "")], [("encrypted", "true")]] {
        planned(
            &overlay(&[V4], &given),
            &sealed("192.0.2.1", 1500),
            expect![[r#"
                network: namespace New
                network: link br0 mtu 1370 mac 02:76:ab:ab:ab:ab bridge mcast_snooping false alias vethwork:network:abababababababababababababababababababababababababababababababab
                network: link vxlan0 mtu 1370 vxlan 4097 port 4789 local fd76:6574:6877:101:101:101:101:101 on br0 isolated false hairpin false alias vethwork:network:abababababababababababababababababababababababababababababababab
                network: net/ipv6/conf/br0/disable_ipv6 = 1
                network: shortcuts from vxlan0
            "#]],
        );
    }
    let network = overlay(&[V4], &[("encrypted", ""), (MULTICAST, "true")]);
    let cx = sealed("192.0.2.1", 1500);
    let there = remote("192.0.2.2", &["10.0.0.9/24"]);
    let endpoint = shown(&Overlay.plan_remote(&network, &there, &cx).unwrap());
    expect![[r#"
        network: forward 00:00:00:00:00:00 dev vxlan0 to fd76:6574:6877:202:202:202:202:202
        network: forward 02:42:0a:00:00:09 dev vxlan0 to fd76:6574:6877:202:202:202:202:202
        network: neighbour 10.0.0.9 dev vxlan0 mac 02:42:0a:00:00:09
        network: shortcut to 02:42:0a:00:00:09 by vxlan0 Elsewhere
    "#]]
    .assert_eq(&endpoint);
    // As long as one stands: what all of them rest on.
    let shared = |network| shown(&Overlay.plan_shared(&network, &cx).unwrap());
    expect![[r#"
        tunnel: namespace New
        tunnel: link vw-wg mtu 1440 tun
        tunnel: address fd76:6574:6877:101:101:101:101:101/48 dev vw-wg
    "#]]
    .assert_eq(&shared(network));
    assert_eq!(shared(overlay(&[V4], &[])), "");
}

#[test]
fn an_encrypted_network_has_what_encryption_leaves_it() {
    for (addr, mtu, expected) in [
        ("192.0.2.1", 1500, 1370),
        ("2001:db8::1", 1500, 1350),
        ("192.0.2.1", 9000, 8870),
        ("192.0.2.1", 1410, 1280),
    ] {
        let cx = sealed(addr, mtu);
        let network = overlay(&[V4, V6], &[("encrypted", "")]);
        Overlay.validate(&network, &cx).unwrap();
        let plan = shown(&Overlay.plan_network(&network, &cx).unwrap());
        assert!(
            plan.contains(&format!("link br0 mtu {expected} ")),
            "{addr} {mtu}: {plan}"
        );
        assert_eq!(tunnel_mtu(&cx.underlay.unwrap()), expected + 70);
    }
}

#[test]
fn what_cannot_be_encrypted_is_refused() {
    let network = overlay(&[V4], &[("encrypted", "")]);
    refused(
        &network,
        &over4(),
        expect![
            "Unavailable encryption-missing: network web cannot be encrypted: this host has no encrypted tunnel, which needs IPv6 in the kernel, WireGuard there or /dev/net/tun, and a file of keys that can be used (`vethwork info` warns of one that cannot); load the module `wireguard` or `tun` and start the daemon again, or leave the option encrypted out"
        ],
    );
    refused(
        &network,
        &sealed("192.0.2.1", 1339),
        expect![
            "InvalidArgument mtu-invalid: network web cannot be encrypted: the link of 192.0.2.1 leaves the encrypted tunnel an MTU of 1279, and it needs 1280; raise the link's MTU"
        ],
    );
    Overlay
        .validate(&network, &sealed("192.0.2.1", 1340))
        .unwrap();
    refused(
        &network,
        &sealed("2001:db8::1", 1359),
        expect![
            "InvalidArgument mtu-invalid: network web cannot be encrypted: the link of 2001:db8::1 leaves the encrypted tunnel an MTU of 1279, and it needs 1280; raise the link's MTU"
        ],
    );
    Overlay
        .validate(&network, &sealed("2001:db8::1", 1360))
        .unwrap();
    Overlay
        .validate(&overlay(&[V4], &[("encrypted", "false")]), &over4())
        .unwrap();
}

#[test]
fn what_a_network_leaves_open_is_named_for_all_hosts() {
    let completed = |mut network: NetworkSpec, port| {
        let mut cx = cx("192.0.2.1", 9000);
        cx.underlay = cx.underlay.map(|underlay| Underlay { port, ..underlay });
        Overlay.complete(&mut network, &cx);
        network.options
    };
    let plain = completed(network("overlay", &[V4], &[]), None);
    assert_eq!(plain["com.docker.network.driver.mtu"], "8950");
    assert!(!plain.contains_key("vethwork.overlay.port"));
    let ported = completed(network("overlay", &[V4], &[]), Some(4790));
    assert_eq!(ported["vethwork.overlay.port"], "4790");
    let mut named = network("overlay", &[V4], &[]);
    let options = [
        ("com.docker.network.driver.mtu", "1400"),
        ("vethwork.overlay.port", "4000"),
    ];
    named
        .options
        .extend(options.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let kept = completed(named.clone(), Some(4790));
    assert_eq!(kept, named.options);
}

#[test]
fn a_network_that_is_wider_than_the_link_is_told() {
    let made = [("com.docker.network.driver.mtu", "8950")];
    let network = overlay(&[V4], &made);
    let told = Overlay.drawback(&network, &over4()).unwrap();
    for part in [
        "has an MTU of 8950, of which wire",
        "leaves 1450:",
        "of wire to 9000",
    ] {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(Overlay.drawback(&network, &cx("192.0.2.1", 9000)), None);
    assert_eq!(Overlay.drawback(&overlay(&[V4], &[]), &over4()), None);
    let routed = overlay(&[V4], &[made[0], (options::MODE, "route")]);
    assert_eq!(Overlay.drawback(&routed, &over4()), None);
}

#[test]
fn no_new_tunnel_ends_where_hosts_have_something_else() {
    let rows = [
        ("4788", Some("try the way to one another at 4788")),
        ("51819", None),
        ("51820", Some("at one of 51820 to 51883")),
        ("51883", Some("at one of 51820 to 51883")),
        ("51884", None),
    ];
    for (port, why) in rows {
        let options = [("vethwork.overlay.port", port)];
        let mut network = network("overlay", &[V4], &options);
        let refused = Overlay.validate(&network, &over4()).err();
        let told = refused.map(|error| error.to_string()).unwrap_or_default();
        let asked = why.is_some_and(|why| told.contains(&format!("{why}: use another port")));
        assert_eq!(
            (asked, told.is_empty()),
            (why.is_some(), why.is_none()),
            "{port}: {told}"
        );
        // One that was made before stands on, but where every host has the port for something else.
        Overlay.complete(&mut network, &over4());
        let vni = "com.docker.network.driver.overlay.vxlanid_list".to_owned();
        network.options.insert(vni, "7".to_owned());
        let planned = Overlay.plan_network(&network, &over4());
        assert_eq!(planned.is_ok(), port != "4788", "{port}");
    }
}
