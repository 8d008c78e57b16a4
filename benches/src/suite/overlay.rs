//! TCP between two hosts over an overlay network, against a VXLAN made with `ip`, and against the
//! segment that both use.

use crate::{
    Result,
    report::{Aim, OURS, Table},
    scene::Scene,
    suite::traffic::{Pair, ROUNDS, show, show_peer},
};
use serde_json::json;
use std::time::Duration;
use vw_testkit::{
    Host, Lab,
    cluster_stores::{Etcd, Place},
    missing_program, poll,
};

pub(crate) const NAME: &str = "overlay";

/// What is made on one host is known on the other within this.
const KNOWN: Duration = Duration::from_secs(20);

pub(crate) fn run() -> Result<Table> {
    if let Some(program) = missing_program(&["etcd"]) {
        return Err(format!("needs {program}: run `scripts/install-deps stores`").into());
    }
    let lab = Lab::new();
    let mut table = Table::new(NAME, "TCP between two hosts on one segment");
    let [h1, h2, p1, p2, store] = ["h1", "h2", "p1", "p2", "st"].map(|name| lab.host(name));
    let members: [(&Host, &str, &[&str]); 5] = [
        (&h1, "eth0", &["192.0.2.1/24"]),
        (&h2, "eth0", &["192.0.2.2/24"]),
        (&p1, "eth0", &["192.0.2.3/24"]),
        (&p2, "eth0", &["192.0.2.4/24"]),
        (&store, "eth0", &["192.0.2.9/24"]),
    ];
    let _segment = lab.lan("segment", &members);
    let etcd = Etcd::start(&lab, &[Place::host(&store, "192.0.2.9")]);
    let url = etcd.url();
    let flags = ["--cluster-store", &url, "--cluster-advertise", "eth0"];
    let mut first = Scene::start_in(&lab, h1.clone(), &flags)?;
    let mut second = Scene::start_in(&lab, h2.clone(), &flags)?;
    let body = json!({
        "Name": "wide", "Driver": "overlay", "Attachable": true,
        "IPAM": { "Config": [{ "Subnet": "10.99.0.0/24" }] },
    });
    first.client.post("/v1.41/networks/create", &body)?;
    let [near, far] = ["near", "far"].map(|name| lab.host(name));
    first.adopt(&near, &["wide"])?;
    let adopted = poll(KNOWN, || second.adopt(&far, &["wide"]).ok());
    adopted.ok_or("the network is not known on the second host")?;

    let [plain_near, plain_far] = ["pn", "pf"].map(|name| lab.host(name));
    plain(&lab, &p1, &plain_near, ("192.0.2.3", "192.0.2.4"), 1);
    plain(&lab, &p2, &plain_far, ("192.0.2.4", "192.0.2.3"), 2);

    let mut mine = Pair::new(OURS, near, far);
    let mut made = Pair::new("VXLAN by ip", plain_near, plain_far);
    let mut bare = Pair::new("the segment", p1, p2);
    for pair in [&mut mine, &mut made, &mut bare] {
        let reached = poll(KNOWN, || pair.round().ok());
        reached.ok_or("two ends do not reach each other")?;
    }
    for _ in 0..ROUNDS {
        mine.round()?;
        made.round()?;
        bare.round()?;
    }
    show(&mut table, "", &mine, &made, Some(Aim::AtLeast(1.0)));
    show_peer(&mut table, "", &mine, &bare, None);
    Ok(table)
}

/// What an administrator would make on one of two hosts: a bridge with a VXLAN device that sends
/// to the other host, and a namespace on it.
fn plain(lab: &Lab, host: &Host, inside: &Host, (local, remote): (&str, &str), last: u8) {
    lab.link(host, "port", inside, "eth0");
    host.ip(&format!(
        "link add vxlan0 mtu 1450 type vxlan id 42 dstport 4789 local {local} remote {remote}"
    ));
    host.ip("link add br0 mtu 1450 type bridge");
    for port in ["port", "vxlan0"] {
        host.ip(&format!("link set {port} mtu 1450 master br0 up"));
    }
    host.ip("link set br0 up");
    inside.ip("link set eth0 mtu 1450");
    inside.ip(&format!("addr add 10.98.0.{last}/24 dev eth0"));
}
