//! What is refused, and how it is said.

use super::*;
use expect_test::expect;
use proptest::prelude::*;

#[test]
fn refused_networks() {
    refused(
        &bridge(&[], &[]),
        &cx(),
        expect!["InvalidArgument no-family: IPv4 or IPv6 must be enabled"],
    );
    let old = DriverContext {
        ipv6: false,
        ..cx()
    };
    refused(
        &bridge(&[V6], &[]),
        &old,
        expect![
            "Unsupported ipv6-missing: network web cannot have IPv6: this kernel runs without it (ipv6.disable=1)"
        ],
    );
    refused(
        &bridge(&[V4, "10.1.0.0/24"], &[]),
        &cx(),
        expect!["Forbidden pools-several: bridge driver doesn't support multiple subnets"],
    );
    refused(
        &bridge(&["224.0.0.0/24"], &[]),
        &cx(),
        expect!["InvalidArgument pool-invalid: multicast subnet '224.0.0.0/24' is not allowed"],
    );
    refused(
        &bridge(&["fe80::/80"], &[]),
        &cx(),
        expect![
            "InvalidArgument pool-invalid: 'fe80::/80' clashes with the Link-Local prefix 'fe80::/64'"
        ],
    );
    refused(
        &bridge(&["fe80::/10"], &[]),
        &cx(),
        expect![
            "InvalidArgument pool-invalid: 'fe80::/10' clashes with the Link-Local prefix 'fe80::/64'"
        ],
    );
    assert!(Bridge.validate(&bridge(&["fe80::/64"], &[]), &cx()).is_ok());
}

#[test]
fn a_family_without_a_pool_is_refused_when_planned() {
    let mut network = bridge(&[V4], &[]);
    network.enable_ipv6 = true;
    Bridge.validate(&network, &cx()).unwrap();
    let error = Bridge.plan_network(&network, &cx()).unwrap_err();
    expect!["ipv6 pool is empty: network web needs one"].assert_eq(&error.message);
    network.ipam.pools.push(pool(V6));
    assert!(Bridge.plan_network(&network, &cx()).is_ok());
}

#[test]
fn refused_network_options() {
    let given = [
        ("bridge.name", "a b"),
        ("bridge.name", "vw0"),
        ("bridge.enable_ip_masquerade", "yes"),
        ("bridge.enable_icc", ""),
        ("bridge.host_binding_ipv4", "localhost"),
        ("bridge.gateway_mode_ipv4", "bridged"),
        ("bridge.gateway_mode_ipv6", "isolated"),
        ("bridge.inhibit_ipv4", "2"),
        ("bridge.default_bridge", "true"),
        ("driver.mtu", "big"),
        ("driver.mtu", "-1"),
        ("driver.mtu", "1279"),
        ("driver.mtu", "65536"),
        ("container_iface_prefix", "eth1"),
        ("container_iface_prefix", ""),
        ("container_iface_prefix", "abcdefghijklm"),
        ("host_ipv4", "::1"),
        ("host_ipv6", "127.0.0.1"),
        ("bridge.trusted_host_interfaces", "eth1"),
    ];
    let refusal = |(key, value): (&str, &str)| {
        let key = format!("com.docker.network.{key}");
        let network = bridge(&[V4, V6], &[(&key, value)]);
        let error = Bridge.validate(&network, &cx()).unwrap_err();
        format!("{}: {error}\n", error.reason)
    };
    expect![[r#"
        option-invalid: failed to parse com.docker.network.bridge.name value: a b (invalid interface name "a b": use 1 to 15 bytes without '/', ':', '%' or white space, other than '.', '..', 'all' and 'default')
        bridge-name-reserved: bridge name vw0 is taken: names that begin with vw are our own
        option-invalid: failed to parse com.docker.network.bridge.enable_ip_masquerade value: yes (strconv.ParseBool: parsing "yes": invalid syntax)
        option-invalid: failed to parse com.docker.network.bridge.enable_icc value:  (strconv.ParseBool: parsing "": invalid syntax)
        option-invalid: failed to parse com.docker.network.bridge.host_binding_ipv4 value: localhost (nil ip)
        option-invalid: failed to parse com.docker.network.bridge.gateway_mode_ipv4 value: bridged (unknown gateway mode bridged)
        gateway-mode-needs-internal: gateway mode 'isolated' can only be used for an internal network
        option-invalid: failed to parse com.docker.network.bridge.inhibit_ipv4 value: 2 (strconv.ParseBool: parsing "2": invalid syntax)
        option-invalid: option com.docker.network.bridge.default_bridge belongs to the predefined network bridge
        option-invalid: failed to parse com.docker.network.driver.mtu value: big (strconv.Atoi: parsing "big": invalid syntax)
        mtu-invalid: invalid MTU number: -1: use 1280 to 65535 on this network
        mtu-invalid: invalid MTU number: 1279: use 1280 to 65535 on this network
        mtu-invalid: invalid MTU number: 65536: use 1280 to 65535 on this network
        option-invalid: failed to parse com.docker.network.container_iface_prefix value: eth1 (use 1 to 12 bytes that do not end in a digit)
        option-invalid: failed to parse com.docker.network.container_iface_prefix value:  (use 1 to 12 bytes that do not end in a digit)
        option-invalid: failed to parse com.docker.network.container_iface_prefix value: abcdefghijklm (invalid interface name "abcdefghijklm999": use 1 to 15 bytes without '/', ':', '%' or white space, other than '.', '..', 'all' and 'default')
        option-invalid: failed to parse com.docker.network.host_ipv4 value: ::1 (nil ip)
        option-invalid: failed to parse com.docker.network.host_ipv6 value: 127.0.0.1 (nil ip)
        option-unknown: unknown option com.docker.network.bridge.trusted_host_interfaces for the driver bridge: known are com.docker.network.bridge.name, com.docker.network.bridge.enable_ip_masquerade, com.docker.network.bridge.enable_icc, com.docker.network.bridge.host_binding_ipv4, com.docker.network.bridge.gateway_mode_ipv4, com.docker.network.bridge.gateway_mode_ipv6, com.docker.network.bridge.inhibit_ipv4, com.docker.network.bridge.default_bridge, com.docker.network.driver.mtu, com.docker.network.container_iface_prefix, com.docker.network.host_ipv4, com.docker.network.host_ipv6
    "#]].assert_eq(&given.map(refusal).concat());
}

#[test]
fn refused_endpoint_settings() {
    let network = bridge(&[V4], &[]);
    let check = |settings: EndpointSettings, expected: Expect| {
        let error = Bridge.validate_endpoint(&network, &settings).unwrap_err();
        expected.assert_eq(&format!("{}: {error}", error.reason));
    };
    let multicast = EndpointSettings {
        mac: Some("01:00:5e:00:00:01".parse().unwrap()),
        ..EndpointSettings::default()
    };
    check(
        multicast,
        expect![
            "mac-invalid: invalid MAC address: 01:00:5e:00:00:01: an interface needs a unicast one"
        ],
    );
    let unspecified = EndpointSettings {
        link_local: vec![[0; 4].into()],
        ..EndpointSettings::default()
    };
    check(
        unspecified,
        expect!["link-local-invalid: invalid link-local IP address: 0.0.0.0"],
    );
}

#[test]
fn refused_endpoint_options() {
    let network = bridge(&[V4], &[]);
    let check = |key: &str, value: &str, expected: Expect| {
        let settings = EndpointSettings {
            driver_opts: options(&[(key, value)]),
            ..EndpointSettings::default()
        };
        let error = Bridge.validate_endpoint(&network, &settings).unwrap_err();
        expected.assert_eq(&format!("{}: {error}", error.reason));
    };
    check(
        "com.docker.network.endpoint.ifname",
        "eth 0",
        expect![[
            r#"option-invalid: failed to parse com.docker.network.endpoint.ifname value: eth 0 (invalid interface name "eth 0": use 1 to 15 bytes without '/', ':', '%' or white space, other than '.', '..', 'all' and 'default')"#
        ]],
    );
    check(
        "com.docker.network.endpoint.macaddress",
        "02:00:00:00:00:01",
        expect![
            "option-unknown: unknown option com.docker.network.endpoint.macaddress for an endpoint of the driver bridge: known are com.docker.network.endpoint.sysctls, com.docker.network.endpoint.ifname, vethwork.service, vethwork.weight"
        ],
    );
    check(
        "vethwork.x",
        "1",
        expect![
            "option-unknown: unknown option vethwork.x for an endpoint of the driver bridge: known are com.docker.network.endpoint.sysctls, com.docker.network.endpoint.ifname, vethwork.service, vethwork.weight"
        ],
    );
    check(
        "com.docker.network.endpoint.sysctls",
        "net.ipv4.conf.eth0.log_martians=1",
        expect![
            "endpoint-sysctl-invalid: unrecognised network interface sysctl 'net.ipv4.conf.eth0.log_martians=1'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'"
        ],
    );
    for text in [
        "",
        "net.ipv4.conf.IFNAME.log_martians",
        "net.ipv4.conf.IFNAME.log_martians=",
        "net.ipv4.conf.IFNAME=1",
        "net.core.conf.IFNAME.x=1",
        "kernel.ipv4.conf.IFNAME.x=1",
        "net.ipv4.../../kernel.IFNAME.x=1",
        "net.ipv4.conf.IFNAME../../all/forwarding=1",
        "net.ipv4.conf.IFNAME.a/b=1",
        "net.ipv4.conf.IFNAME.ok=1,",
    ] {
        let given: Options = options(&[("com.docker.network.endpoint.sysctls", text)]);
        assert!(EndpointOptions::read(&given, ENDPOINT).is_err(), "{text:?}");
    }
}

proptest! {
    #[test]
    fn parameters_stay_with_their_interface(text in "(net\\.ipv[46]\\.)?[a-zA-Z0-9_./=,]{0,40}") {
        let given = options(&[("com.docker.network.endpoint.sysctls", &text)]);
        let network = bridge(&[V4], &[]);
        let endpoint = endpoint(&network, &[]);
        for sysctl in EndpointOptions::read(&given, ENDPOINT).iter().flat_map(|asked| asked.sysctls(&endpoint)) {
            let parts: Vec<_> = sysctl.path.split('/').collect();
            prop_assert!(matches!(parts[..], ["net", "ipv4" | "ipv6" | "mpls", _, "eth0", _]));
            prop_assert!(!sysctl.path.contains('.'));
        }
    }
}
