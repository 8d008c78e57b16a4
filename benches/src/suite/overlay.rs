//! TCP between two hosts over an overlay network, in clear text, encrypted and routed, against a
//! VXLAN made with `ip`, and against the segment that all use.

use crate::{
    Result,
    report::{Aim, OURS, Table},
    scene::Scene,
    segment::{Segment, until_known},
    suite::traffic::{Pair, ROUNDS, show, show_peer},
};
use serde_json::{Map, Value, json};
use vw_testkit::{Host, Lab};

pub(crate) const NAME: &str = "overlay";

/// What a mode is called behind its rows, and the option that chooses it.
type Mode = (&'static str, Option<(&'static str, &'static str)>);

const MODES: [Mode; 3] = [
    ("", None),
    (", encrypted", Some(("encrypted", ""))),
    (", routed", Some(("overlay.mode", "route"))),
];

/// The first where daemons make no rules, as nobody does for the VXLAN by `ip`.
const BARE: Mode = (", no rules", None);

/// What Docker, Podman or Kubernetes have on every host: a NAT rule, and with it connection
/// tracking of all that comes and goes.
const NAT: &str = "add table ip nat
add chain ip nat postrouting { type nat hook postrouting priority 100; }
add rule ip nat postrouting ip saddr 172.17.0.0/16 oifname \"eth0\" masquerade
add table ip filter
add chain ip filter forward { type filter hook forward priority 0; }
add rule ip filter forward ct state established,related accept
";

/// What keeps bridged packets from a host's IP hooks, where the kernel has them pass there, as it does
/// in a new namespace.
const NO_CALL: &str = "for name in iptables ip6tables arptables; do
at=/proc/sys/net/bridge/bridge-nf-call-$name; if [ -e $at ]; then echo 0 > $at; fi; done";

pub(crate) fn run() -> Result<Table> {
    let segment = Segment::new(10)?;
    let mut table = Table::new(NAME, "TCP between two hosts on one segment");
    let (mut first, mut second) = (segment.daemon(0)?, segment.daemon(1)?);
    let without = |number| segment.daemon_with(number, &["--iptables=false"]);
    let (mut third, mut fourth) = (without(6)?, without(7)?);
    let mut modes = Vec::new();
    for (at, (mode, option)) in MODES.into_iter().chain([BARE]).enumerate() {
        let hosts = match mode == BARE.0 {
            false => (&mut first, &mut second),
            true => (&mut third, &mut fourth),
        };
        match network(&segment.lab, hosts, at, option) {
            Ok(pair) => modes.push((mode, pair)),
            Err(error) => table.note(format!("without{}: {error}", mode.trim_start_matches(','))),
        }
    }
    let [mut made, mut tracked, mut past] = by_hand(&segment)?;
    let [p1, p2] = [2, 3].map(|number| segment.host(number).clone());
    let mut bare = Pair::new("the segment", p1, p2);
    let mut pairs: Vec<&mut Pair> = modes.iter_mut().map(|(_, pair)| pair).collect();
    pairs.extend([&mut made, &mut tracked, &mut past, &mut bare]);
    for pair in &mut pairs {
        until_known(|| pair.reached())?;
    }
    for round in 0..ROUNDS {
        // Who follows whom changes.
        if round % 2 == 0 {
            pairs.iter_mut().try_for_each(|pair| pair.round_of_all())?;
        } else {
            let mut pairs = pairs.iter_mut().rev();
            pairs.try_for_each(|pair| pair.round_of_all())?;
        }
    }
    for (mode, mine) in &modes {
        let aim = [MODES[0].0, BARE.0].contains(mode);
        let aim = aim.then_some(Aim::AtLeast(1.0));
        show(&mut table, mode, mine, &made, aim);
        show_peer(&mut table, mode, mine, &tracked, aim);
        // The fastest that can be made by hand: on equal ground with daemons that make no rules.
        let equal = aim.filter(|_| *mode == BARE.0);
        show_peer(&mut table, mode, mine, &past, equal);
        show_peer(&mut table, mode, mine, &bare, None);
    }
    table.note("VXLAN by ip: on hosts without any rule; NAT: with what Docker has on every host");
    table.note(
        "nf-call 0: likewise, where bridged packets do not pass the hosts' IP hooks (br_netfilter)",
    );
    table.note("no rules: vethwork with --iptables=false, as on hosts of the VXLAN by ip");
    Ok(table)
}

/// What administrators make: on hosts as they are, on those that translate, and where bridged packets pass
/// no hooks.
fn by_hand(segment: &Segment) -> Result<[Pair; 3]> {
    let made = |who, numbers: [usize; 2]| {
        let hosts = numbers.map(|number| segment.host(number));
        let addresses = numbers.map(|number| format!("192.0.2.{}", number + 1));
        plain(&segment.lab, who, hosts, addresses)
    };
    let rules = segment.lab.folder().join("nat.nft");
    std::fs::write(&rules, NAT)?;
    let translate = format!("nft -f {}", rules.display());
    for (number, line) in [
        (4, &*translate),
        (5, &translate),
        (8, NO_CALL),
        (9, NO_CALL),
    ] {
        segment.host(number).sh(line).must();
    }
    Ok([
        made("VXLAN by ip", [2, 3]),
        made("VXLAN by ip, NAT", [4, 5]),
        made("VXLAN by ip, nf-call 0", [8, 9]),
    ])
}

/// An overlay network with an endpoint on either host.
fn network(
    lab: &Lab,
    (first, second): (&mut Scene, &mut Scene),
    number: usize,
    option: Option<(&str, &str)>,
) -> Result<Pair> {
    let (name, subnet) = (format!("net{number}"), format!("10.99.{number}.0/24"));
    let options: Map<String, Value> = option
        .map(|(key, value)| (key.to_owned(), value.into()))
        .into_iter()
        .collect();
    let body = json!({
        "Name": name, "Driver": "overlay", "Attachable": true, "Options": options,
        "IPAM": { "Config": [{ "Subnet": subnet }] },
    });
    until_known(|| first.client.post("/v1.41/networks/create", &body).map(drop))?;
    let [near, far] = ["near", "far"].map(|end| lab.host(&format!("{end}{number}")));
    first.adopt(&near, &[&name])?;
    until_known(|| second.adopt(&far, &[&name]))?;
    Ok(Pair::new(OURS, near, far))
}

/// What an administrator would make on two hosts: on each a bridge with a VXLAN device that sends
/// to the other one, and a namespace on it.
fn plain(lab: &Lab, who: &str, hosts: [&Host; 2], addresses: [String; 2]) -> Pair {
    let ends = [0, 1].map(|at| {
        let (host, local, remote) = (hosts[at], &addresses[at], &addresses[1 - at]);
        let inside = lab.host(&format!("on-{}", host.name()));
        lab.link(host, "port", &inside, "eth0");
        host.ip(&format!(
            "link add vxlan0 mtu 1450 type vxlan id 42 dstport 4789 local {local} remote {remote}"
        ));
        host.ip("link add br0 mtu 1450 type bridge");
        for port in ["port", "vxlan0"] {
            host.ip(&format!("link set {port} mtu 1450 master br0 up"));
        }
        host.ip("link set br0 up");
        inside.ip("link set eth0 mtu 1450");
        inside.ip(&format!("addr add 10.98.0.{}/24 dev eth0", at + 1));
        inside
    });
    let [near, far] = ends;
    Pair::new(who, near, far)
}
