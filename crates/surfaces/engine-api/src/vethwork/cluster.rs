//! The cluster as JSON.

use serde::Serialize;
use std::{net::IpAddr, time::Duration};
use vw_controller::view::{ClusterView, HostView, ServerView};

/// `GET /vethwork/cluster`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Status<'a> {
    error: &'a str,
    store: Store<'a>,
    hosts: Vec<Host<'a>>,
    encryption: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Store<'a> {
    kind: &'a str,
    servers: Vec<Server<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Server<'a> {
    address: &'a str,
    latency_microseconds: Option<u64>,
    error: &'a str,
    leader: Option<bool>,
    version: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Host<'a> {
    #[serde(rename = "ID")]
    id: String,
    name: &'a str,
    address: IpAddr,
    version: &'a str,
    this: bool,
    alive: bool,
    away: bool,
    reachable: Option<bool>,
    endpoints: usize,
    blocks: Option<usize>,
    latency_microseconds: Option<u64>,
    #[serde(rename = "MTU")]
    mtu: Option<u32>,
    encrypted_reachable: Option<bool>,
    encrypted_latency_microseconds: Option<u64>,
    #[serde(rename = "EncryptedMTU")]
    encrypted_mtu: Option<u32>,
    trouble: &'a str,
}

/// The cluster for the answer.
pub(super) fn status(view: &ClusterView) -> Status<'_> {
    Status {
        error: view.trouble.as_deref().unwrap_or_default(),
        store: Store {
            kind: &view.store,
            servers: view.servers.iter().map(server).collect(),
        },
        hosts: view.hosts.iter().map(host).collect(),
        encryption: view.encryption,
    }
}

fn server(view: &ServerView) -> Server<'_> {
    let error = view.answer.as_ref().err().map_or("", String::as_str);
    Server {
        address: &view.address,
        latency_microseconds: view.answer.as_ref().ok().map(microseconds),
        error,
        leader: view.leader,
        version: view.version.as_deref().unwrap_or_default(),
    }
}

fn host(view: &HostView) -> Host<'_> {
    let (path, inside) = (view.path.as_ref(), view.encrypted_path.as_ref());
    Host {
        id: view.id.to_string(),
        name: &view.name,
        address: view.addr,
        version: &view.version,
        this: view.this,
        alive: view.alive,
        away: view.away,
        reachable: view.reachable,
        endpoints: view.endpoints,
        blocks: view.blocks,
        latency_microseconds: path.map(|path| microseconds(&path.latency)),
        mtu: path.and_then(|path| path.mtu),
        encrypted_reachable: view.encrypted,
        encrypted_latency_microseconds: inside.map(|path| microseconds(&path.latency)),
        encrypted_mtu: inside.and_then(|path| path.mtu),
        trouble: view.trouble.as_deref().unwrap_or_default(),
    }
}

fn microseconds(duration: &Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
