//! What a cluster asks of its store: while nothing happens, and for one endpoint that comes and
//! goes.
//!
//! One host is a daemon, the others take part without a kernel: to the store there is no
//! difference.

use crate::{
    Result,
    crowd::Crowd,
    report::{OURS, Table},
    samples::Samples,
    scene::Scene,
    segment::{Metrics, Segment, make_wide},
};
use serde_json::json;
use std::{
    thread,
    time::{Duration, Instant},
};

pub(crate) const NAME: &str = "cluster-load";

const SIZES: [u16; 3] = [2, 10, 100];
const CHANGES: usize = 20;
/// More than twice the time after which every host has renewed its presence.
const IDLE: Duration = Duration::from_secs(10);

/// Counters of etcd: what a row says, and in which unit.
const COUNTERS: [(&str, &str, &str); 4] = [
    ("requests", "grpc_server_handled_total", ""),
    ("commits", "etcd_server_proposals_committed_total", ""),
    (
        "octets in",
        "etcd_network_client_grpc_received_bytes_total",
        "B",
    ),
    (
        "octets out",
        "etcd_network_client_grpc_sent_bytes_total",
        "B",
    ),
];

pub(crate) fn run() -> Result<Table> {
    let mut table = Table::new(NAME, "What a cluster asks of etcd");
    for hosts in SIZES {
        let (idle, change) = measure(hosts)?;
        for ((what, _, unit), (idle, change)) in COUNTERS.iter().zip(idle.iter().zip(change)) {
            let show = |value: f64| -> Samples { [value].into_iter().collect() };
            let (each, unit) = match *unit {
                "" => ("1/s", "1"),
                _ => ("B/s", "B"),
            };
            table.row(
                &format!("{what}, idle, {hosts} hosts"),
                OURS,
                each,
                &show(*idle),
            );
            // While something happens hosts ask less whether their watch still stands, so nothing
            // can be taken off; of requests, a change is the one that is committed.
            if *what != "requests" {
                let what = format!("{what} a change, {hosts} hosts");
                table.row(&what, OURS, unit, &show(change));
            }
        }
    }
    table.note("a change: an endpoint comes, or goes; what the hosts ask meanwhile is taken off");
    Ok(table)
}

/// Counts a second without changes, and a change.
fn measure(hosts: u16) -> Result<([f64; 4], [f64; 4])> {
    let segment = Segment::new(1)?;
    let mut first = segment.daemon(0)?;
    make_wide(&mut first)?;
    let crowd = Crowd::join(segment.store(), &segment.url(), 2..hosts + 1)?;
    crowd.know("wide")?;
    let comer = segment.lab.host("comer");
    first.network("home", "10.97.0.0/24")?;
    first.adopt(&comer, &["home"])?;
    // The first takes a block of addresses.
    come_and_go(&mut first, &crowd, "first")?;
    let before = segment.metrics()?;
    let began = Instant::now();
    // It may return early.
    while began.elapsed() < IDLE {
        thread::park_timeout(IDLE);
    }
    let idle = since(&segment, &before)?.map(|count| count / began.elapsed().as_secs_f64());
    let before = segment.metrics()?;
    let began = Instant::now();
    for number in 0..CHANGES / 2 {
        come_and_go(&mut first, &crowd, &format!("change{number}"))?;
    }
    let elapsed = began.elapsed().as_secs_f64();
    let mut change = since(&segment, &before)?;
    for (count, idle) in change.iter_mut().zip(idle) {
        *count = (*count - idle * elapsed) / CHANGES as f64;
    }
    Ok((idle, change))
}

fn come_and_go(first: &mut Scene, crowd: &Crowd, name: &str) -> Result<()> {
    let body = json!({ "Container": "comer", "EndpointConfig": { "Aliases": [name] } });
    first.client.post("/v1.41/networks/wide/connect", &body)?;
    crowd.heard(name)?;
    first.client.disconnect("wide", "comer")?;
    crowd.missed(name).map(drop)
}

fn since(segment: &Segment, before: &Metrics) -> Result<[f64; 4]> {
    let now = segment.metrics()?;
    Ok(COUNTERS.map(|(_, name, _)| now.sum(name) - before.sum(name)))
}
