//! What a commit costs in each durable store: `cargo run --release -p vw-store --example
//! commit_latency [DIRECTORY]`.

use std::{error::Error, fs, path::PathBuf, time::Instant};
use vw_store::{Batch, Embedded, Journal, Schema, Store, Table};

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = directory.join(format!("vw-commit-latency-{}", std::process::id()));
    fs::create_dir(&directory)?;
    let embedded = Embedded::open(&directory.join("embedded"), Schema::CURRENT)?;
    measure("embedded", &embedded, 500)?;
    let journal = Journal::open(&directory.join("journal"), Schema::CURRENT, "boot")?;
    measure("journal", &journal, 50_000)?;
    fs::remove_dir_all(&directory)?;
    Ok(())
}

/// An attachment of 700 bytes with its two leases, a thousand of them held.
fn measure(name: &str, store: &dyn Store, commits: u32) -> Result<(), Box<dyn Error>> {
    let mut times = Vec::new();
    for n in 0..commits {
        let key = (n % 1_000).to_string();
        let batch = Batch::new()
            .put(Table::Attachments, key.clone(), vec![7; 700])
            .put(Table::Leases, format!("{key}/4"), vec![7; 60])
            .put(Table::Leases, format!("{key}/6"), vec![7; 60]);
        let start = Instant::now();
        store.commit(batch)?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let at = |share: usize| times[times.len() * share / 100].as_nanos() as f64 / 1e3;
    println!(
        "{name}: p50 {:.1} us, p99 {:.1} us, worst {:.1} us",
        at(50),
        at(99),
        times[times.len() - 1].as_nanos() as f64 / 1e3
    );
    Ok(())
}
