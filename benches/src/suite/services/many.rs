//! One host with a thousand services and ten thousand endpoints: how long it takes to start again,
//! whether a connection fails or a packet is lost meanwhile, and what the number of endpoints costs
//! a connection and an endpoint that joins.
//!
//! Each endpoint is a veth of its own on one of ten bridges, which hold a thousand each; each sandbox
//! has one on every bridge. Each service has ten endpoints, an address and a published port.

use super::{
    growth::{self, Growth, joining},
    load::Answering,
    others,
};
use crate::{Result, bare::Bare, report::Table, scene::Scene};
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use vw_testkit::{Host, Lab};

pub(crate) const NAME: &str = "endpoints";

const NETWORKS: usize = 10;
const SERVICES: usize = 1000;
const SANDBOXES: usize = 1000;

pub(crate) fn run() -> Result<Table> {
    let lab = Lab::new();
    let mut table = Table::new(NAME, "1,000 services with 10,000 endpoints on one host");
    let mut stage = Stage::set(&lab)?;
    let [near, guest, beside] = ["near", "guest", "beside"].map(|name| lab.host(name));
    stage.scene.adopt(&near, &[&network(0)])?;
    stage.scene.adopt(&guest, &[])?;
    let last = network(NETWORKS - 1);
    let bridge = others::bridge(&stage.scene.host, "10.99.0.1");
    let addresses = [2, 1].map(|end| Ipv4Addr::new(10, 99, 254, end));
    let bare = Bare::on(&stage.scene.host, &beside, &bridge, addresses)?;
    let port: SocketAddr = "192.0.2.1:10000".parse()?;
    let (mut first, mut sandboxes) = (None, 0);
    for wanted in [1, SANDBOXES / 100, SANDBOXES / 10, SANDBOXES] {
        while sandboxes < wanted {
            stage.populate(&lab, sandboxes)?;
            sandboxes += 1;
        }
        let shown = super::inspect(&stage.scene, "s0")?;
        let http = |addr| SocketAddr::new(addr, 80);
        let growth = Growth {
            near: &near,
            vip: http(super::first_address(&shown["VirtualIPs"]).ok_or("no virtual address")?),
            ends: super::endpoints(&shown)?.into_iter().map(http).collect(),
            guest: (&guest, &last, "s999"),
            bare: &bare,
        };
        let count = format!("{} endpoints", wanted * NETWORKS);
        growth.measure(&mut stage.scene, (&count, &mut first), &mut table)?;
        let ways = [(growth.near, growth.vip), (&stage.outside, port)];
        growth::starts(&mut stage.scene, &ways, &count, &mut table)?;
    }
    table.note("an endpoint is a veth; ten bridges, a sandbox has one endpoint on each; a service has an address, a published port and its tenth of a hundred endpoints");
    Ok(table)
}

struct Stage {
    scene: Scene,
    outside: Host,
    /// Of the endpoints of the first service.
    servers: Vec<Answering>,
}

fn network(number: usize) -> String {
    format!("net{number}")
}

/// The services of a network are dealt out over its sandboxes.
fn service(network: usize, sandbox: usize) -> String {
    let each = SERVICES / NETWORKS;
    format!("s{}", network * each + sandbox % each)
}

impl Stage {
    fn set(lab: &Lab) -> Result<Self> {
        let mut scene = Scene::start(lab, "ours")?;
        let outside = lab.host("outside");
        lab.link(&scene.host, "wire", &outside, "wire");
        scene.host.ip("addr add 192.0.2.1/24 dev wire");
        outside.ip("addr add 192.0.2.2/24 dev wire");
        for number in 0..NETWORKS {
            scene.network(&network(number), &format!("10.{}.0.0/16", 90 + number))?;
        }
        for number in 0..SERVICES {
            let on = network(number / (SERVICES / NETWORKS));
            let body = json!({
                "Name": format!("s{number}"), "Network": on, "Drain": 0,
                "Publish": [format!("{}:80", 10_000 + number)],
            });
            scene.client.post("/vethwork/services/create", &body)?;
        }
        Ok(Self {
            scene,
            outside,
            servers: Vec::new(),
        })
    }

    /// A sandbox more, which joins a service on every network.
    fn populate(&mut self, lab: &Lab, number: usize) -> Result<()> {
        let end = lab.host(&format!("box{number}"));
        if service(0, number) == service(0, 0) {
            self.servers.push(Answering::start(&end, 0)?);
        }
        self.scene.adopt(&end, &[])?;
        for at in 0..NETWORKS {
            let body = joining(&end, &service(at, number));
            let path = format!("/v1.41/networks/{}/connect", network(at));
            self.scene.client.post(&path, &body)?;
        }
        Ok(())
    }
}
