//! Directives to settings, and every refusal by name.

use super::DaemonSettings;
use crate::daemon::flags::{Directives, Flags};
use clap::{Args, Command, FromArgMatches};
use expect_test::{Expect, expect};

fn directives(line: &str) -> Result<Directives, String> {
    let command = Flags::augment_args(Command::new("daemon").no_binary_name(true));
    let matches = command
        .try_get_matches_from(line.split_whitespace())
        .map_err(|error| error.to_string())?;
    Ok(Flags::from_arg_matches(&matches).unwrap().directives)
}

/// The settings that differ from the defaults, or the refusal.
fn check(line: &str, expected: Expect) {
    let shown = |settings: &DaemonSettings| {
        format!("{settings:#?}")
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let defaults = shown(&DaemonSettings::check(Directives::default()).unwrap());
    let text = match directives(line).and_then(DaemonSettings::check) {
        Ok(settings) => {
            let lines = shown(&settings);
            let differ = lines.iter().filter(|line| !defaults.contains(line));
            differ.map(|line| line.trim()).collect::<Vec<_>>().join(" ")
        }
        Err(error) => format!("ERROR {}", error.lines().next().unwrap_or_default()),
    };
    expected.assert_eq(&text);
}

#[test]
fn the_defaults_are_dockerds_but_for_names() {
    let settings = DaemonSettings::check(Directives::default()).unwrap();
    expect![[r#"
        DaemonSettings {
            hosts: [
                Unix(
                    "/run/vethwork/vethwork.sock",
                ),
            ],
            group: Some(
                "vethwork",
            ),
            data_root: "/var/lib/vethwork",
            exec_root: "/run/vethwork",
            pidfile: None,
            debug: false,
            log_level: Level(
                Info,
            ),
            labels: {},
            bridge: Some(
                BridgeConfig {
                    name: None,
                    bip: None,
                    bip6: None,
                    fixed_cidr: None,
                    fixed_cidr6: None,
                    gateway: None,
                    gateway6: None,
                    ipv6: false,
                },
            ),
            pools: [],
            network_options: {},
            mtu: None,
            icc: true,
            host_binding: None,
            ip_forward: true,
            ip_masq: true,
            iptables: true,
            ip6tables: true,
            adjust_foreign: true,
            accept_mark: 1073741824,
            dns: DnsSettings {
                servers: [],
                search: [],
                options: [],
            },
            host_gateway: [],
            cluster: None,
            leaves_cluster: false,
            notices: [],
        }
    "#]]
    .assert_debug_eq(&settings);
}

#[test]
fn directives_become_settings() {
    check("-D", expect!["debug: true, Debug,"]);
    check("--log-level error", expect!["Error,"]);
    check("--bridge none", expect!["bridge: None,"]);
    check("--bridge lan", expect![[r#"name: Some( "lan", ),"#]]);
    check(
        "--bip 10.1.0.1/24 --fixed-cidr 10.1.0.128/25 --default-gateway 10.1.0.9",
        expect![
            "bip: Some( 10.1.0.1/24, ), fixed_cidr: Some( 10.1.0.128/25, ), gateway: Some( 10.1.0.9, ),"
        ],
    );
    check(
        "--ipv6 --bip6 fd00::1/64 --fixed-cidr-v6 fd00::/80",
        expect!["bip6: Some( fd00::1/64, ), fixed_cidr6: Some( fd00::/80, ), ipv6: true,"],
    );
    check(
        "--iptables=false",
        expect!["iptables: false, ip6tables: false, accept_mark: 0,"],
    );
    check("--ip6tables=false", expect!["ip6tables: false,"]);
    check(
        "--firewall-backend none",
        expect!["iptables: false, ip6tables: false, accept_mark: 0,"],
    );
    check("--ip 0.0.0.0", expect![]);
    check(
        "--ip 127.0.0.1 --mtu 1400 --icc=false --ip-masq=false --ip-forward=false",
        expect![
            "mtu: Some( 1400, icc: false, host_binding: Some( 127.0.0.1, ip_forward: false, ip_masq: false,"
        ],
    );
    check(
        "--dns 1.1.1.1 --dns-search x --dns-opt ndots:1 --host-gateway-ip 1.2.3.4",
        expect![[
            r#"servers: [ 1.1.1.1, ], search: [ "x", ], options: [ "ndots:1", ], host_gateway: [ 1.2.3.4,"#
        ]],
    );
    check(
        "--label a=b --default-network-opt bridge=com.docker.network.driver.mtu=1",
        expect![[
            r#"labels: { "a": "b", network_options: { "com.docker.network.driver.mtu": "1","#
        ]],
    );
    check(
        "--default-address-pool base=10.0.0.0/8,size=24",
        expect!["pools: [ DefaultPool { base: 10.0.0.0/8, size: 24,"],
    );
    check(
        "--foreign-firewall warn --live-restore --userland-proxy",
        expect![[
            r#"adjust_foreign: false, notices: [ "userland-proxy: none is needed, published ports reach their containers by rules","#
        ]],
    );
    check(
        "-H tcp://[::1]:99 --group= --data-root /a --exec-root /b --pidfile /c",
        expect![[
            r#"Tcp( "[::1]:99", group: None, data_root: "/a", exec_root: "/b", pidfile: Some( "/c","#
        ]],
    );
}

#[test]
fn impossible_values_are_refused_by_name() {
    check(
        "--mtu 67",
        expect!["ERROR invalid default MTU: 67: use 68 to 65535"],
    );
    check(
        "--mtu -1",
        expect!["ERROR invalid default MTU: -1: use 68 to 65535"],
    );
    check(
        "--bip 10.1.0.0/24",
        expect!["ERROR bip 10.1.0.0/24 is a subnet: give the bridge's address in it"],
    );
    check(
        "--bip fd00::1/64",
        expect!["ERROR invalid value for bip: fd00::1/64 is not IPv4"],
    );
    check(
        "--bip 10.1.0.1",
        expect!["ERROR invalid value for bip: 10.1.0.1: invalid IP address syntax"],
    );
    check(
        "-b br0 --bip 10.1.0.1/24",
        expect![
            "ERROR You specified -b & --bip, mutually exclusive options. Please specify only one"
        ],
    );
    check(
        "--bip 10.1.0.1/24 --fixed-cidr 10.2.0.0/25",
        expect!["ERROR fixed-cidr 10.2.0.0/25 does not lie within bip 10.1.0.1/24"],
    );
    check(
        "--default-gateway x",
        expect!["ERROR invalid value for default-gateway: x: invalid IP address syntax"],
    );
    check(
        "--dns dns.example",
        expect!["ERROR invalid value for dns: dns.example: invalid IP address syntax"],
    );
    check(
        "--ip x",
        expect!["ERROR invalid value for ip: x: invalid IP address syntax"],
    );
}

#[test]
fn malformed_values_are_refused_by_name() {
    check(
        "--host-gateway-ip 1.2.3.4 --host-gateway-ip 1.2.3.5",
        expect!["ERROR only one IPv4 and one IPv6 host gateway IP address can be specified"],
    );
    check(
        "--log-level loud",
        expect!["ERROR invalid logging level: loud: use debug, info, warn, error or fatal"],
    );
    check("--label a", expect!["ERROR bad attribute format: a"]);
    check(
        "--label a=1 --label a=2",
        expect!["ERROR conflict labels for a=2"],
    );
    check(
        "--data-root x",
        expect!["ERROR data-root must be an absolute path: x"],
    );
    check(
        "-H fd://",
        expect![
            "ERROR hosts: fd:// is not supported: sockets of the service manager are used by themselves where it hands them over"
        ],
    );
    check(
        "-H /run/x",
        expect![
            "ERROR hosts: unable to parse host address (/run/x): use unix:///PATH or tcp://ADDRESS[:PORT]"
        ],
    );
    check(
        "--default-address-pool base=10.0.0.0/24,size=16",
        expect![
            "ERROR default-address-pools: invalid default address pool 10.0.0.0/24 with size 16: the size must be at least the base's prefix length and at most 32"
        ],
    );
    check(
        "--default-address-pool base=x,size=16",
        expect!["ERROR invalid value for default-address-pools: x: invalid IP address syntax"],
    );
    check(
        "--default-network-opt overlay=a=b",
        expect![[
            r#"ERROR default-network-opts: there is no driver "overlay" that takes options: use bridge"#
        ]],
    );
    check(
        "--firewall-backend nope",
        expect![[r#"ERROR invalid firewall-backend "nope": use nftables, iptables or none"#]],
    );
    check(
        "--foreign-firewall nope",
        expect![[r#"ERROR invalid foreign-firewall "nope": use adjust or warn"#]],
    );
}

#[test]
fn what_has_no_effect_yet_is_refused_by_name() {
    check(
        "--live-restore=false",
        expect![
            "ERROR live-restore=false is not supported: containers always live on while the daemon is down"
        ],
    );
    check(
        "--firewall-backend iptables",
        expect![
            "ERROR firewall-backend iptables is not supported: rules are made with nftables, beside those of iptables; use nftables or none"
        ],
    );
    check(
        "--cluster-advertise eth0",
        expect![
            "ERROR cluster-advertise needs cluster-store: give the URL of the store that the hosts share"
        ],
    );
    check(
        "--cluster-store-opt a=b",
        expect![
            "ERROR cluster-store-opts needs cluster-store: give the URL of the store that the hosts share"
        ],
    );
    check(
        "--cluster-store etcd://x --cluster-store-opt name=a --cluster-store-opt name=b",
        expect!["ERROR cluster-store-opts: name: it is given twice"],
    );
    check(
        "--cluster-store etcd://x --cluster-advertise [::1",
        expect![[
            r#"ERROR invalid cluster-advertise "[::1": use an address or an interface of this host, [:PORT] after it"#
        ]],
    );
    check(
        "--docker-plugin",
        expect![
            "ERROR docker-plugin is not supported: Docker's remote driver protocol is not in this version"
        ],
    );
    check(
        "--metrics-addr :9",
        expect!["ERROR metrics-addr is not supported: metrics are not in this version"],
    );
}
