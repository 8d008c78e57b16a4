//! What it takes to read all that a cluster's store has: `cargo run --release -p vw-store --example
//! whole_read URL ENDPOINTS NETWORKS`. The store keeps what is made.

use std::{error::Error, fs, time::Instant};
use vw_store::cluster::{
    ClusterError, ClusterStore, ClusterUrl, Options, Transaction, Write, connect,
};

/// Writes of one transaction.
const AT_ONCE: usize = 50;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, endpoints, networks] = &arguments[..] else {
        return Err("URL ENDPOINTS NETWORKS".into());
    };
    let url: ClusterUrl = url.parse()?;
    let store = connect(&url, &Options::default())?;
    fill(&*store, endpoints.parse()?, networks.parse()?)?;
    for _ in 0..2 {
        measure("list", || store.list("v1").map(|all| all.len()));
        measure("follow", || store.follow("v1").map(|(all, _)| all.len()));
    }
    let status = fs::read_to_string("/proc/self/status")?;
    let most = status.lines().find(|line| line.starts_with("VmHWM"));
    println!("{}", most.unwrap_or_default());
    Ok(())
}

/// Endpoints of 500 bytes, under keys as those of real ones, of 64 hosts.
fn fill(store: &dyn ClusterStore, endpoints: usize, networks: usize) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let all: Vec<usize> = (0..endpoints).collect();
    for some in all.chunks(AT_ONCE) {
        let writes = some.iter().map(|n| {
            let (network, host) = (n % networks, n % 64);
            let key = format!("v1/shared/endpoints/{network:064x}/{host:064x}/{n:064x}");
            Write::Put(key, vec![b'7'; 500])
        });
        store.commit(&Transaction {
            conditions: Vec::new(),
            writes: writes.collect(),
        })?;
    }
    println!("{endpoints} made in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn measure(what: &str, read: impl FnOnce() -> Result<usize, ClusterError>) {
    let start = Instant::now();
    let read = read().map_or_else(|error| error.to_string(), |found| found.to_string());
    println!("{what}: {read} in {:.2} s", start.elapsed().as_secs_f64());
}
