//! One host with a thousand services and ten thousand endpoints: how long it takes to start again,
//! whether a connection fails or a packet is lost meanwhile, and what the number of endpoints costs
//! a connection and an endpoint that joins.
//!
//! Each endpoint is a veth of its own on one of ten bridges, which hold a thousand each; each sandbox
//! has one on every bridge. Each service has ten endpoints, an address and a published port.

use super::load::{Answering, ask_many, ask_one};
use crate::{
    Result,
    api::Client,
    report::{OURS, Table},
    samples::Samples,
    scene::{self, Scene},
};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use vw_testkit::{Host, Lab};

pub(crate) const NAME: &str = "endpoints";

const NETWORKS: usize = 10;
const SERVICES: usize = 1000;
const SANDBOXES: usize = 1000;
const ROUNDS: usize = 20;
const CONNECTIONS: usize = 100;
const STARTS: usize = 5;
/// A connection whose first packet was lost takes a second, in which it is sent again.
const LOST: Duration = Duration::from_millis(900);

struct Stage {
    scene: Scene,
    near: Host,
    outside: Host,
    /// Who joins and leaves.
    guest: Host,
    /// The address of the first service.
    vip: SocketAddr,
    /// Of the endpoints of the first service.
    servers: Vec<Answering>,
}

pub(crate) fn run() -> Result<Table> {
    let lab = Lab::new();
    let mut table = Table::new(NAME, "1,000 services with 10,000 endpoints on one host");
    let mut stage = Stage::set(&lab)?;
    let mut first: Option<Samples> = None;
    let mut sandboxes = 1;
    for wanted in [1, SANDBOXES / 10, SANDBOXES] {
        while sandboxes < wanted {
            stage.populate(&lab, sandboxes)?;
            sandboxes += 1;
        }
        let endpoints = wanted * NETWORKS;
        stage.measure(endpoints, &mut first, &mut table)?;
        stage.starts(endpoints, &mut table)?;
    }
    table.note("an endpoint is a veth; ten bridges, a sandbox has one endpoint on each; a service has an address, a published port and its tenth of a hundred endpoints");
    Ok(table)
}

fn network(number: usize) -> String {
    format!("net{number}")
}

/// The services of a network are dealt out over its sandboxes.
fn service(network: usize, sandbox: usize) -> String {
    let each = SERVICES / NETWORKS;
    format!("s{}", network * each + sandbox % each)
}

/// The first service as it is shown.
fn inspect(scene: &Scene) -> Result<Value> {
    let shown = scene.daemon.cli(["service", "inspect", "s0"]).ok();
    let mut shown: Value = serde_json::from_str(&shown)?;
    Ok(shown[0].take())
}

fn http(addresses: &Value) -> Option<SocketAddr> {
    Some(SocketAddr::new(super::first_address(addresses)?, 80))
}

fn joining(sandbox: &str, service: &str) -> Value {
    json!({
        "Container": sandbox,
        "EndpointConfig": { "DriverOpts": { "vethwork.service": service } },
    })
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
        let [near, guest, end] = ["near", "guest", "box0"].map(|name| lab.host(name));
        scene.adopt(&near, &[&network(0)])?;
        scene.adopt(&guest, &[])?;
        let server = Answering::start(&end, 0)?;
        join_all(&mut scene, &end, 0)?;
        let vip = http(&inspect(&scene)?["VirtualIPs"]).ok_or("no virtual address")?;
        Ok(Self {
            scene,
            near,
            outside,
            guest,
            vip,
            servers: vec![server],
        })
    }

    /// A sandbox more.
    fn populate(&mut self, lab: &Lab, number: usize) -> Result<()> {
        let end = lab.host(&format!("box{number}"));
        if service(0, number) == service(0, 0) {
            self.servers.push(Answering::start(&end, 0)?);
        }
        join_all(&mut self.scene, &end, number)
    }

    fn measure(
        &mut self,
        endpoints: usize,
        first: &mut Option<Samples>,
        table: &mut Table,
    ) -> Result<()> {
        let [mut connections, mut direct, mut joins] = [(); 3].map(|()| Samples::default());
        let shown = inspect(&self.scene)?;
        let ends = shown["Endpoints"].as_array().ok_or("no endpoints")?;
        let ends: Vec<SocketAddr> = ends
            .iter()
            .filter_map(|end| http(&end["Addresses"]))
            .collect();
        for _ in 0..ROUNDS {
            connections.extend(&ask_many(&self.near, self.vip, CONNECTIONS)?);
            // The same endpoints in turn: one that was asked just now answers sooner.
            for end in ends.iter().cycle().take(CONNECTIONS) {
                direct.extend(&ask_many(&self.near, *end, 1)?);
            }
            let full = scene::links(&self.scene.host);
            let client = &mut self.scene.client;
            let body = joining(self.guest.name(), "s999");
            joins.push_millis(client.timed("/v1.41/networks/net9/connect", &body)?);
            client.disconnect("net9", self.guest.name())?;
            scene::settle(&self.scene.host, full)?;
        }
        let what = format!("a connection, {endpoints} endpoints");
        table.row(&what, OURS, "us", &connections);
        table.peer(&what, "direct", "us", (&direct, &connections), None);
        let what = format!("an endpoint joins, {endpoints} there");
        match &first {
            None => table.row(&what, OURS, "ms", &joins),
            Some(first) => table.grown(&what, "ms", (&joins, first), None),
        }
        first.get_or_insert(joins);
        Ok(())
    }

    /// From the start of a daemon that was killed until its API answers, while connections go on.
    fn starts(&mut self, endpoints: usize, table: &mut Table) -> Result<()> {
        let port: SocketAddr = "192.0.2.1:10000".parse()?;
        let ways = [(&self.near, self.vip), (&self.outside, port)];
        let (done, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
        let bad: Mutex<Vec<String>> = Mutex::default();
        let daemon = &mut self.scene.daemon;
        let taken = thread::scope(|scope| {
            for (from, to) in ways {
                let (done, asked, bad) = (&done, &asked, &bad);
                scope.spawn(move || {
                    from.enter(|| {
                        while !done.load(Ordering::Relaxed) {
                            asked.fetch_add(1, Ordering::Relaxed);
                            let what = match ask_one(to) {
                                Ok((taken, _)) if taken < LOST => continue,
                                Ok((taken, _)) => format!("{to} after {taken:?}"),
                                Err(error) => format!("{to}: {error}"),
                            };
                            bad.lock()
                                .unwrap_or_else(PoisonError::into_inner)
                                .push(what);
                        }
                    });
                });
            }
            let mut taken = Samples::default();
            for _ in 0..STARTS {
                daemon.kill9();
                let began = Instant::now();
                daemon.restart();
                taken.push_millis(began.elapsed());
            }
            done.store(true, Ordering::Relaxed);
            taken
        });
        self.scene.client = Client::open(&self.scene.daemon.socket())?;
        let what = format!("start with {SERVICES} services, {endpoints} endpoints");
        table.row(&what, OURS, "ms", &taken);
        let bad = bad.into_inner().unwrap_or_else(PoisonError::into_inner);
        table.note(format!(
            "{} of {} connections failed or lost a packet during {STARTS} kills and starts with {endpoints} endpoints {}",
            bad.len(),
            asked.into_inner(),
            bad.join(", ")
        ));
        Ok(())
    }
}

/// Adopts a namespace and has it join a service on every network.
fn join_all(scene: &mut Scene, end: &Host, number: usize) -> Result<()> {
    scene.adopt(end, &[])?;
    for at in 0..NETWORKS {
        let body = joining(end.name(), &service(at, number));
        let path = format!("/v1.41/networks/{}/connect", network(at));
        scene.client.post(&path, &body)?;
    }
    Ok(())
}
