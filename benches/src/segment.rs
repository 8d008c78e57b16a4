//! Hosts of a cluster on one segment, as namespaces: a real etcd, and daemons where they are asked
//! for.

use crate::{Result, scene::Scene};
use serde_json::json;
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};
use vw_testkit::{
    Host, Lab,
    cluster_stores::{Etcd, Place},
    missing_program, poll,
};

/// What is made on one host is known on the others within this.
const KNOWN: Duration = Duration::from_secs(20);

const STORE: &str = "192.0.2.254";
/// Where the network's namespace gets its room: 65,000 endpoints.
const SUBNET: &str = "10.98.0.0/16";

/// The segment.
pub(crate) struct Segment {
    pub(crate) lab: Lab,
    store: Host,
    etcd: Etcd,
    hosts: Vec<Host>,
    /// Joins them; it goes with the laboratory.
    _switch: Host,
}

impl Segment {
    /// With room for so many daemons.
    pub(crate) fn new(daemons: usize) -> Result<Self> {
        if let Some(program) = missing_program(&["etcd"]) {
            return Err(format!("needs {program}: run `scripts/install-deps stores`").into());
        }
        let lab = Lab::new();
        let hosts: Vec<Host> = (1..=daemons)
            .map(|number| lab.host(&format!("h{number}")))
            .collect();
        let store = lab.host("st");
        let addresses: Vec<String> = (1..=daemons)
            .map(|number| format!("192.0.2.{number}/24"))
            .chain([format!("{STORE}/24")])
            .collect();
        let given: Vec<[&str; 1]> = addresses.iter().map(|addr| [addr.as_str()]).collect();
        let members: Vec<(&Host, &str, &[&str])> = hosts
            .iter()
            .chain([&store])
            .zip(&given)
            .map(|(host, addr)| (host, "eth0", addr.as_slice()))
            .collect();
        let switch = lab.lan("segment", &members);
        let etcd = Etcd::start(&lab, &[Place::host(&store, STORE)]);
        Ok(Self {
            lab,
            store,
            etcd,
            hosts,
            _switch: switch,
        })
    }

    /// The host of that number, from 0.
    pub(crate) fn host(&self, number: usize) -> &Host {
        &self.hosts[number]
    }

    /// Where the store runs: hosts without a kernel of their own have their place there.
    pub(crate) const fn store(&self) -> &Host {
        &self.store
    }

    /// The store's address, as daemons take it.
    pub(crate) fn url(&self) -> String {
        self.etcd.url()
    }

    /// Starts the daemon of that number, from 0.
    pub(crate) fn daemon(&self, number: usize) -> Result<Scene> {
        self.daemon_with(number, &[])
    }

    /// The same, with more flags.
    pub(crate) fn daemon_with(&self, number: usize, more: &[&str]) -> Result<Scene> {
        let url = self.url();
        let mut flags = vec!["--cluster-store", &url, "--cluster-advertise", "eth0"];
        flags.extend(more);
        Scene::start_in(&self.lab, self.hosts[number].clone(), &flags)
    }

    /// What the store's server counts (`/metrics`), summed over labels.
    pub(crate) fn metrics(&self) -> Result<Metrics> {
        let address = self.etcd.addresses().swap_remove(0);
        let text = self.store.enter(|| -> std::io::Result<String> {
            let mut stream = TcpStream::connect(&address)?;
            stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        })?;
        Ok(Metrics(text))
    }
}

/// The counters of an etcd.
pub(crate) struct Metrics(String);

impl Metrics {
    /// A counter of this name, over all of its labels.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let lines = self.0.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with([' ', '{']).then_some(rest)
        });
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    }
}

/// Makes the overlay network `wide`.
pub(crate) fn make_wide(scene: &mut Scene) -> Result<()> {
    let body = json!({
        "Name": "wide", "Driver": "overlay", "Attachable": true,
        "IPAM": { "Config": [{ "Subnet": SUBNET }] },
    });
    // Right after its start a daemon has not joined its cluster yet.
    until_known(|| scene.client.post("/v1.41/networks/create", &body).map(drop))
}

/// Adopts a namespace on that network, once its host knows it.
pub(crate) fn adopt_on_wide(scene: &mut Scene, sandbox: &Host) -> Result<()> {
    until_known(|| scene.adopt(sandbox, &["wide"]))
}

/// Asks again until it is done; the last error where it never is.
pub(crate) fn until_known(mut ask: impl FnMut() -> Result<()>) -> Result<()> {
    let mut last = Ok(());
    let done = poll(KNOWN, || {
        last = ask();
        last.is_ok().then_some(())
    });
    done.map_or(last, Ok)
}
