//! `docs/firewall.md`: made here, and compared.

use super::policy::{family, lines, nat, published};
use crate::*;
use expect_test::expect_file;
use std::fmt::Write;

/// An example: a title, what it means, and its elements.
type Example = (&'static str, &'static str, Vec<Element>);

fn networks() -> Vec<Example> {
    use GatewayMode::{Nat, NatUnprotected, Routed};
    const BRIDGE: &str = "vw-0123456789ab";
    let of = |change: &dyn Fn(&mut NetworkPolicy)| {
        let mut policy = nat(BRIDGE);
        change(&mut policy);
        network(&policy)
    };
    let modes = |v4, v6| of(&|policy| (policy.v4, policy.v6) = (family(v4), family(v6)));
    vec![
        (
            "A bridge network",
            "Reached by published ports alone; what leaves it takes the host's address. An IPv4-only network has the IPv6 elements but `masquerade6` too, so that nothing is open by accident.",
            of(&|_| {}),
        ),
        (
            "Internal (`--internal`)",
            "Neighbours alone, in both directions. The host and its containers reach one another by the bridge's own address, which passes no forward chain; gateway mode `isolated` takes that address away.",
            of(&|policy| policy.internal = true),
        ),
        (
            "Without inter-container communication (`enable_icc=false`)",
            "No element in `neighbors`. Bridged frames are stopped by port isolation before any rule; this stops what a container sends to the gateway in order to have it routed back.",
            of(&|policy| policy.icc = false),
        ),
        (
            "Routed (`gateway_mode_ipv4=routed`, `gateway_mode_ipv6=routed`)",
            "Nothing is translated; published ports are open on the container's own address, and ICMP.",
            modes(Routed, Routed),
        ),
        (
            "Unprotected (`nat-unprotected`)",
            "As a bridge network, and every port is open to those who route to it, but not to our other networks.",
            modes(NatUnprotected, NatUnprotected),
        ),
        (
            "IPv4 translated, IPv6 routed",
            "Each family has its own mode.",
            modes(Nat, Routed),
        ),
        (
            "With a source address of its own (`host_ipv4`)",
            "Instead of the outgoing interface's address.",
            of(&|policy| policy.v4.snat = Some([192, 0, 2, 7].into())),
        ),
        (
            "Without masquerading (`enable_ip_masquerade=false`)",
            "What leaves it keeps its source address; other routers must know the way back.",
            of(&|policy| (policy.v4.masquerade, policy.v6.masquerade) = (false, false)),
        ),
    ]
}

fn ports() -> Vec<Example> {
    let one = |host, target, mode| port(&published(host, target, mode)).unwrap();
    let (v4, v6) = ("172.18.0.2", "fd00::2");
    let mut both = one("0.0.0.0:8080", v4, GatewayMode::Nat);
    both.extend(one("[::]:8080", v6, GatewayMode::Nat));
    vec![
        (
            "On every address (`-p 8080:80`)",
            "For each family that the container has, where the port leads, and that it is published.",
            both,
        ),
        (
            "On one address (`-p 192.0.2.1:8080:80`)",
            "",
            one("192.0.2.1:8080", v4, GatewayMode::Nat),
        ),
        (
            "On localhost (`-p 127.0.0.1:8080:80`, `-p [::1]:8080:80`)",
            "From this host alone: the chain `guard` drops such destinations from anywhere else before they are translated. The bridge has `route_localnet` set, and what stands for `::1` is local on it, so that replies find back.",
            [
                one("127.0.0.1:8080", v4, GatewayMode::Nat),
                one("[::1]:8080", v6, GatewayMode::Nat),
            ]
            .concat(),
        ),
        (
            "Of a container without IPv6 (`-p 8080:80`)",
            "Over IPv6 to what stands for its address, by the link that translates, which is there as long as a port needs it.",
            [
                one("0.0.0.0:8080", v4, GatewayMode::Nat),
                one(
                    "[::]:8080",
                    &mapped([172, 18, 0, 2].into()).to_string(),
                    GatewayMode::Nat,
                ),
                translator(&TRANSLATOR.parse().unwrap()),
            ]
            .concat(),
        ),
        (
            "On a routed network",
            "The host's side does not count.",
            one("0.0.0.0:8080", v4, GatewayMode::Routed),
        ),
        (
            "Of a container that is also on a network which does not masquerade",
            "Ports lead to it by the network of its default route. It would answer neighbours on the other one directly, past the translation: they are masqueraded on the way to its address there. All others on networks that do not masquerade are seen by it.",
            [v4, v6]
                .map(|addr| {
                    let bridge = "vw-0123456789ab".parse().unwrap();
                    beside(&bridge, addr.parse().unwrap())
                })
                .to_vec(),
        ),
    ]
}

fn tunnels() -> Vec<Example> {
    let ends: [std::net::IpAddr; 2] = ["10.64.0.9", "fd00::9"].map(|addr| addr.parse().unwrap());
    let addrs = ["192.0.2.2", "2001:db8::2"].map(|addr| addr.parse().unwrap());
    vec![
        (
            "An overlay network (`-d overlay`)",
            "The port that its tunnel ends at (`vethwork.overlay.port`), which networks may share.",
            vec![tunnel_port(4789)],
        ),
        (
            "Another host of the cluster",
            "By the address that it advertises.",
            addrs.map(peer).to_vec(),
        ),
        (
            "An endpoint on another host, of a routed network (`-o vethwork.overlay.mode=route`)",
            "By its address, the bridge of its network here and the link that leads to its host. What bears its address as the source and does not come that way is dropped, and so is what is sent to it from anywhere but its network; between hosts of the network nothing is translated.",
            ends.into_iter()
                .flat_map(|end| {
                    remote(
                        &"vw-0123456789ab".parse().unwrap(),
                        &"eth0".parse().unwrap(),
                        end,
                    )
                })
                .collect(),
        ),
    ]
}

fn page() -> String {
    let mut out = String::from(HEAD);
    let show = |out: &mut String, examples: Vec<Example>| {
        for (title, text, elements) in examples {
            let _ = writeln!(out, "\n### {title}\n");
            if !text.is_empty() {
                let _ = writeln!(out, "{text}\n");
            }
            let _ = writeln!(out, "```\n{}```", lines(&elements));
        }
    };
    show(&mut out, networks());
    out.push_str(PORTS);
    show(&mut out, ports());
    out.push_str(TUNNELS);
    show(&mut out, tunnels());
    let host = HostTable {
        accept_mark: 0x1000_0000,
        tunnels: Some([192, 0, 2, 1].into()),
    };
    let _ = write!(
        out,
        "{TABLE}```\n{}\n{}```\n",
        host.rules(),
        HostTable::rules6()
    );
    let _ = write!(out, "{SANDBOX}```\n{}```\n", sandbox_dns(40_053, 40_153));
    out
}

#[test]
fn is_as_documented() {
    expect_file!["../../../../docs/firewall.md"].assert_eq(&page());
}

const HEAD: &str = include_str!("firewall-head.md");
const PORTS: &str = include_str!("firewall-ports.md");
const TUNNELS: &str = include_str!("firewall-tunnels.md");
const TABLE: &str = include_str!("firewall-table.md");
const SANDBOX: &str = include_str!("firewall-sandbox.md");
