//! The `-p` grammar against what Docker's `nat.ParsePortSpec` makes of the same texts.

use super::*;
use expect_test::{Expect, expect};
use proptest::prelude::*;

fn shown(text: &str) -> String {
    let requests = match PortRequest::parse(text) {
        Ok(requests) => requests,
        Err(error) => return format!("{}: {error}", error.reason),
    };
    let one = |request: &PortRequest| {
        let ip = request.host_ip.map_or("*".to_owned(), |ip| ip.to_string());
        let host = request
            .host
            .map_or("any".to_owned(), |host| host.to_string());
        format!("{ip} {host} -> {}", request.container)
    };
    requests.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn check(texts: &[&str], expected: Expect) {
    let lines = texts
        .iter()
        .map(|text| format!("{text:?}: {}\n", shown(text)));
    expected.assert_eq(&lines.collect::<String>());
}

#[test]
fn accepted_forms() {
    check(
        &[
            "80",
            "80/",
            "80/UDP",
            "0080",
            "8080:80",
            ":80",
            "0:80",
            "8080:80/sctp",
            "127.0.0.1:8080:80",
            "127.0.0.1::80/udp",
            "127.0.0.1:0:80",
            "::80",
            "[::1]:8080:80",
            "[::1]::80",
            "[]:8080:80",
            "::1:8080:80",
            "::::80",
            "[::ffff:10.0.0.1]:8080:80",
            "2001:db8::68::333",
        ],
        expect![[r#"
            "80": * any -> 80/tcp
            "80/": * any -> 80/tcp
            "80/UDP": * any -> 80/udp
            "0080": * any -> 80/tcp
            "8080:80": * 8080 -> 80/tcp
            ":80": * any -> 80/tcp
            "0:80": * any -> 80/tcp
            "8080:80/sctp": * 8080 -> 80/sctp
            "127.0.0.1:8080:80": 127.0.0.1 8080 -> 80/tcp
            "127.0.0.1::80/udp": 127.0.0.1 any -> 80/udp
            "127.0.0.1:0:80": 127.0.0.1 any -> 80/tcp
            "::80": * any -> 80/tcp
            "[::1]:8080:80": ::1 8080 -> 80/tcp
            "[::1]::80": ::1 any -> 80/tcp
            "[]:8080:80": * 8080 -> 80/tcp
            "::1:8080:80": ::1 8080 -> 80/tcp
            "::::80": :: any -> 80/tcp
            "[::ffff:10.0.0.1]:8080:80": 10.0.0.1 8080 -> 80/tcp
            "2001:db8::68::333": 2001:db8::68 any -> 333/tcp
        "#]],
    );
}

#[test]
fn ranges() {
    check(
        &[
            "80-82",
            "8000-8002:80-82/udp",
            "10.0.0.1:8000-8001:80-81",
            "8000-8010:80",
            "80-80:1-1",
            "65534-65535:1-2",
        ],
        expect![[r#"
            "80-82": * any -> 80/tcp, * any -> 81/tcp, * any -> 82/tcp
            "8000-8002:80-82/udp": * 8000 -> 80/udp, * 8001 -> 81/udp, * 8002 -> 82/udp
            "10.0.0.1:8000-8001:80-81": 10.0.0.1 8000 -> 80/tcp, 10.0.0.1 8001 -> 81/tcp
            "8000-8010:80": * 8000-8010 -> 80/tcp
            "80-80:1-1": * 80 -> 1/tcp
            "65534-65535:1-2": * 65534 -> 1/tcp, * 65535 -> 2/tcp
        "#]],
    );
}

#[test]
fn refused_forms() {
    check(
        &[
            "",
            ":",
            "8080:",
            "/udp",
            "80/icmp",
            "80/tcp/udp",
            "80/udp:80",
            "0",
            "0-3",
            "65536",
            "-1",
            "+80",
            " 80",
            "80-79",
            "80-",
            "a:80",
            "-1:-1",
            "0-5:80",
            "0:80-82",
            "8000-8003:80-82",
            "8000:80-82",
            "localhost:8080:80",
            "[::1:8080:80",
            "fe80::1%eth0:8080:80",
            "192.168.1.100",
        ],
        expect![[r#"
            "": port-missing: no port specified: <empty>
            ":": port-missing: no port specified: :<empty>
            "8080:": port-missing: no port specified: 8080:<empty>
            "/udp": port-missing: no port specified: /udp<empty>
            "80/icmp": protocol-invalid: invalid proto: icmp: use tcp, udp or sctp
            "80/tcp/udp": protocol-invalid: invalid proto: tcp/udp: use tcp, udp or sctp
            "80/udp:80": port-invalid: invalid hostPort: 80/udp: use a number from 1 to 65535, or a range
            "0": port-invalid: invalid containerPort: 0: use a number from 1 to 65535, or a range
            "0-3": port-invalid: invalid containerPort: 0-3: use a number from 1 to 65535, or a range
            "65536": port-invalid: invalid containerPort: 65536: use a number from 1 to 65535, or a range
            "-1": port-invalid: invalid containerPort: -1: use a number from 1 to 65535, or a range
            "+80": port-invalid: invalid containerPort: +80: use a number from 1 to 65535, or a range
            " 80": port-invalid: invalid containerPort:  80: use a number from 1 to 65535, or a range
            "80-79": port-invalid: invalid containerPort: 80-79: use a number from 1 to 65535, or a range
            "80-": port-invalid: invalid containerPort: 80-: use a number from 1 to 65535, or a range
            "a:80": port-invalid: invalid hostPort: a: use a number from 1 to 65535, or a range
            "-1:-1": port-invalid: invalid containerPort: -1: use a number from 1 to 65535, or a range
            "0-5:80": port-invalid: invalid hostPort: 0-5: use a number from 1 to 65535, or a range
            "0:80-82": port-ranges-differ: invalid ranges specified for container and host Ports: 80-82 and 0
            "8000-8003:80-82": port-ranges-differ: invalid ranges specified for container and host Ports: 80-82 and 8000-8003
            "8000:80-82": port-ranges-differ: invalid ranges specified for container and host Ports: 80-82 and 8000
            "localhost:8080:80": port-host-ip-invalid: invalid IP address: localhost: publish on an address of this host, not a name
            "[::1:8080:80": port-host-ip-invalid: invalid IP address: [::1: publish on an address of this host, not a name
            "fe80::1%eth0:8080:80": port-host-ip-invalid: invalid IP address: fe80::1%eth0: publish on an address of this host, not a name
            "192.168.1.100": port-invalid: invalid containerPort: 192.168.1.100: use a number from 1 to 65535, or a range
        "#]],
    );
}

#[test]
fn port_keys() {
    for (text, shown) in [("80", "80/tcp"), ("53/udp", "53/udp"), ("7/", "7/tcp")] {
        assert_eq!(text.parse::<PortKey>().unwrap().to_string(), shown);
    }
    for text in ["", "0", "80-81", "80/x", "/tcp", "tcp/80"] {
        assert!(text.parse::<PortKey>().is_err(), "{text:?}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "[0-9:\\[\\]./a-f%+-]{0,24}") {
        let _ = PortRequest::parse(&text);
    }

    #[test]
    fn a_range_asks_for_every_port_once(first in 1_u16..=65535, more in 0_u16..300, host in 1_u16..=65535) {
        let last = first.saturating_add(more);
        let count = last - first;
        prop_assume!(host.checked_add(count).is_some());
        let text = format!("{host}-{}:{first}-{last}", host + count);
        let requests = PortRequest::parse(&text).unwrap();
        prop_assert_eq!(requests.len(), usize::from(count) + 1);
        for (step, request) in (0..).zip(&requests) {
            let port = host + step;
            prop_assert_eq!(request.container.port, first + step);
            prop_assert_eq!(request.host, Some(PortRange { first: port, last: port }));
        }
    }

    #[test]
    fn keys_survive_their_text(port in 1_u16..=65535, protocol in 0_usize..3) {
        let protocol = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp][protocol];
        let key = PortKey { port, protocol };
        prop_assert_eq!(key.to_string().parse::<PortKey>().unwrap(), key);
    }
}
