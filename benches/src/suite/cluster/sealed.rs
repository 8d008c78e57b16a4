//! What a host of which something is on an encrypted network does for a change of one other host: the
//! processor time of its daemon and of the process that carries its packets, among 10 and among 1,000
//! hosts.
//!
//! The others are records alone, as hosts write them: nobody is behind them.

use crate::{
    Result, machine,
    report::{OURS, Table},
    samples::Samples,
    segment::{Segment, until_known},
};
use serde_json::json;
use std::{
    fs,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use vw_model::{HostId, PublicKey};
use vw_store::cluster::{self, ClusterStore, Transaction, Write};

pub(crate) const NAME: &str = "sealed";

const SIZES: [u16; 2] = [10, 1000];
const CHANGES: u16 = 100;
const ROUNDS: usize = 3;
/// No two changes are taken for one.
const PACE: Duration = Duration::from_millis(40);
/// All that was written is taken in within this.
const SETTLED: Duration = Duration::from_secs(5);
/// How many records one transaction writes.
const AT_ONCE: usize = 60;

pub(crate) fn run() -> Result<Table> {
    let title = "Processor time for another host's new key, on an encrypted network";
    let mut table = Table::new(NAME, title);
    let mut base = None;
    for hosts in SIZES {
        let (idle, change) = measure(hosts)?;
        table.row(&format!("a second, idle, {hosts} hosts"), OURS, "ms", &idle);
        let what = format!("a change, {hosts} hosts");
        match &base {
            None => table.row(&what, OURS, "us", &change),
            Some(base) => table.grown(&what, "us", (&change, base), None),
        }
        base.get_or_insert(change);
    }
    table.note("the ratio is to 10 hosts; what the same time takes while nothing happens is off");
    Ok(table)
}

/// The processor time of a second without changes, and of a change.
fn measure(hosts: u16) -> Result<(Samples, Samples)> {
    let segment = Segment::new(1)?;
    let mut first = segment.daemon(0)?;
    let body = json!({
        "Name": "safe", "Driver": "overlay", "Attachable": true, "Options": { "encrypted": "" },
    });
    until_known(|| first.client.post("/v1.41/networks/create", &body).map(drop))?;
    let (place, url) = (segment.store(), segment.url());
    let store = place.enter(|| -> Result<Arc<dyn ClusterStore>> {
        let options = cluster::Options::parse::<&str>([])?;
        Ok(cluster::connect(&url.parse()?, &options)?)
    })?;
    let write = |writes: Vec<Write>| -> Result<()> {
        let transaction = Transaction {
            writes,
            ..Transaction::default()
        };
        place.enter(|| store.commit(&transaction))?;
        Ok(())
    };
    let records: Vec<Write> = (1..hosts).flat_map(joined).collect();
    for records in records.chunks(AT_ONCE) {
        write(records.to_vec())?;
    }
    first.adopt(&segment.lab.host("near"), &["safe"])?;
    rest(SETTLED);
    let pids = processes(first.daemon.pid());
    let busy = || -> Result<Duration> {
        let each = pids.iter().map(|&pid| machine::busy(pid));
        Ok(each.sum::<std::io::Result<Duration>>()?)
    };
    let (mut idle, mut change) = (Samples::default(), Samples::default());
    for round in 0..ROUNDS as u16 {
        let (before, began) = (busy()?, Instant::now());
        rest(SETTLED);
        let second = (busy()? - before).as_secs_f64() / began.elapsed().as_secs_f64();
        idle.push(second * 1e3);
        let (before, began) = (busy()?, Instant::now());
        for number in 0..CHANGES {
            write(vec![keys(
                1 + number % (hosts - 1),
                1 + round * CHANGES + number,
            )])?;
            rest(PACE);
        }
        let took = (busy()? - before).as_secs_f64() - second * began.elapsed().as_secs_f64();
        change.push(took / f64::from(CHANGES) * 1e6);
    }
    Ok((idle, change))
}

/// Lets so much time pass.
fn rest(time: Duration) {
    let began = Instant::now();
    // It may return early.
    while let Some(left) = time.checked_sub(began.elapsed()) {
        thread::park_timeout(left);
    }
}

/// A daemon, and what it has carry its packets, where that is a process.
fn processes(daemon: u32) -> Vec<u32> {
    let parent = format!("PPid:\t{daemon}");
    let carries = |pid: &u32| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        command.ends_with(b"\0wireguard-agent\0") && status.lines().any(|line| line == parent)
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    [daemon].into_iter().chain(pids.filter(carries)).collect()
}

fn id(number: u16) -> HostId {
    let [high, low] = number.to_be_bytes();
    HostId::from_bytes(std::array::from_fn(|at| [0x5a, high, low][at % 3]))
}

/// What a host writes that joins.
fn joined(number: u16) -> [Write; 3] {
    let [high, low] = number.to_be_bytes();
    let host = json!({
        "name": format!("far-{number}"), "advertise": format!("198.18.{high}.{low}"),
        "version": "0", "instance": "one", "since": 0,
    });
    let alive = json!({});
    [
        put("hosts", number, &host),
        keys(number, 0),
        put("alive", number, &alive),
    ]
}

/// And one that has another key.
fn keys(number: u16, turn: u16) -> Write {
    let [a, b] = number.to_be_bytes();
    let [c, d] = turn.to_be_bytes();
    let public = PublicKey::from_bytes(std::array::from_fn(|at| [0x5a, a, b, c, d][at % 5]));
    put(
        "tunnels",
        number,
        &json!({ "public": public, "next": null, "port": 51_820 }),
    )
}

fn put(table: &str, number: u16, value: &serde_json::Value) -> Write {
    let key = format!("v1/shared/{table}/{}", id(number));
    Write::Put(key, format!("1 {value}").into_bytes())
}
