//! What most benchmarks begin with: a daemon in a host, and sandboxes that it adopted.

use crate::{Result, api::Client};
use serde_json::{Value, json};
use std::{
    fs, io,
    time::{Duration, Instant},
};
use vw_testkit::{Daemon, Host, Lab, poll};

/// Links of a namespace go within this, however busy the machine is.
const SETTLED: Duration = Duration::from_secs(30);

/// A daemon with a host to itself, and a connection to it.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) host: Host,
    pub(crate) daemon: Daemon,
    pub(crate) client: Client,
}

impl Scene {
    /// Starts one in a host of this name.
    pub(crate) fn start(lab: &Lab, name: &str) -> Result<Self> {
        Self::start_in(lab, lab.host(name), &[])
    }

    /// Starts one in a host that is there, with flags of its own.
    pub(crate) fn start_in(lab: &Lab, host: Host, flags: &[&str]) -> Result<Self> {
        let daemon = Daemon::start_with(lab, &host, flags);
        let client = Client::open(&daemon.socket())?;
        Ok(Self {
            host,
            daemon,
            client,
        })
    }

    /// Connects once more: a connection over which nothing is asked for minutes is closed.
    pub(crate) fn reconnect(&mut self) -> Result<()> {
        self.client = Client::open(&self.daemon.socket())?;
        Ok(())
    }

    /// Makes a bridge network with room for more than a bridge has ports.
    pub(crate) fn network(&mut self, name: &str, subnet: &str) -> Result<()> {
        let body = json!({ "Name": name, "IPAM": { "Config": [{ "Subnet": subnet }] } });
        self.client.post("/v1.41/networks/create", &body).map(drop)
    }

    /// Adopts a namespace under its name, on these networks.
    pub(crate) fn adopt(&mut self, sandbox: &Host, networks: &[&str]) -> Result<()> {
        self.adopt_publishing(sandbox, networks, &[])
    }

    /// As [`Scene::adopt`], publishing these TCP ports of the host as its port 80.
    pub(crate) fn adopt_publishing(
        &mut self,
        sandbox: &Host,
        networks: &[&str],
        ports: &[u16],
    ) -> Result<()> {
        let bindings: Vec<Value> = ports
            .iter()
            .map(|port| json!({ "HostIp": "0.0.0.0", "HostPort": port.to_string() }))
            .collect();
        let networks: Vec<Value> = networks
            .iter()
            .map(|name| json!({ "Network": name }))
            .collect();
        let mut body = json!({
            "Netns": sandbox.netns(), "Name": sandbox.name(), "Networks": networks,
        });
        if !bindings.is_empty() {
            body["PortBindings"] = json!({ "80/tcp": bindings });
        }
        self.client.post("/vethwork/adopt", &body).map(drop)
    }
}

/// How many links a namespace has.
pub(crate) fn links(host: &Host) -> usize {
    let table = host.enter(|| fs::read_to_string("/proc/thread-self/net/dev"));
    // Two lines of heading.
    table.map_or(0, |table| table.lines().skip(2).count())
}

/// Waits until a namespace has as few links as that: deletions are done, so that what is
/// measured next does not pay for what was measured before.
pub(crate) fn settle(host: &Host, wanted: usize) -> Result<()> {
    let settled = poll(SETTLED, || (links(host) <= wanted).then_some(()));
    settled.ok_or_else(|| format!("links of {} stay behind", host.name()).into())
}

/// How long something takes that must succeed.
pub(crate) fn timed(work: impl FnOnce() -> io::Result<()>) -> Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}
