//! Ports merged as the docker CLI merges them.

use super::{Port, displayable_ports};
use expect_test::{Expect, expect};

fn check(ports: &[(&str, u16, u16, &str)], expected: Expect) {
    let ports: Vec<Port> = ports
        .iter()
        .map(|(ip, private_port, public_port, protocol)| Port {
            ip: (*ip).to_owned(),
            private_port: *private_port,
            public_port: *public_port,
            r#type: (*protocol).to_owned(),
        })
        .collect();
    expected.assert_eq(&displayable_ports(&ports));
}

#[test]
fn ports_are_merged_as_docker_merges_them() {
    check(&[], expect![""]);
    check(
        &[("", 80, 0, "tcp"), ("", 53, 0, "udp")],
        expect!["53/udp, 80/tcp"],
    );
    check(
        &[("::", 80, 8080, "tcp"), ("0.0.0.0", 80, 8080, "tcp")],
        expect!["0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"],
    );
    check(
        &[
            ("0.0.0.0", 81, 81, "tcp"),
            ("0.0.0.0", 80, 80, "tcp"),
            ("0.0.0.0", 90, 90, "tcp"),
        ],
        expect!["0.0.0.0:80-81->80-81/tcp, 0.0.0.0:90->90/tcp"],
    );
    check(
        &[
            ("", 9, 0, "tcp"),
            ("", 10, 0, "tcp"),
            ("", 10, 0, "udp"),
            ("1.2.3.4", 9, 99, "tcp"),
        ],
        expect!["9-10/tcp, 10/udp, 1.2.3.4:99->9/tcp"],
    );
    check(
        &[("", 65535, 0, "tcp"), ("", 0, 0, "tcp")],
        expect!["0/tcp, 65535/tcp"],
    );
}
