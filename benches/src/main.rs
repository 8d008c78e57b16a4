//! Benchmarks of vethwork against what a user would have instead, on this machine, by turns.
//!
//! `cargo run --release -p vw-benches -- [NAME…]` as root runs those that are named, or all;
//! each prints a table and leaves it as JSON in `target/benches/NAME.json`. The daemon is the
//! release binary beside this program (`make bench` builds both), or `VETHWORK_BIN`.
//!
//! Owns what is measured and how it is shown. All of it happens in namespaces that the
//! benchmarks make and remove; a peer that is not installed is left out with a reason.

mod api;
mod bare;
mod crowd;
mod dns_load;
mod dockerd;
mod machine;
mod report;
mod samples;
mod scene;
mod segment;
mod suite;

use std::{error::Error, process::ExitCode};

/// What a benchmark ends with when it cannot go on.
type Failure = Box<dyn Error + Send + Sync>;
type Result<T> = std::result::Result<T, Failure>;

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let known = |name: &&String| suite::ALL.iter().any(|bench| bench.name == name.as_str());
    if let Some(unknown) = wanted.iter().find(|name| !known(name)) {
        let names: Vec<_> = suite::ALL.iter().map(|bench| bench.name).collect();
        eprintln!("no benchmark {unknown}; there are: {}", names.join(" "));
        return ExitCode::from(2);
    }
    if !vw_testkit::is_root() {
        eprintln!("benchmarks make network namespaces: run them as root");
        return ExitCode::FAILURE;
    }
    println!("{}\n", machine::describe());
    let chosen = suite::ALL
        .iter()
        .filter(|bench| wanted.is_empty() || wanted.iter().any(|name| name == bench.name));
    let mut failed = false;
    for bench in chosen {
        let table = (bench.run)().and_then(|table| {
            print!("{table}");
            Ok(report::write_json(bench.name, &table)?)
        });
        match table {
            Ok(path) => println!("  JSON: {}\n", path.display()),
            Err(error) => {
                failed = true;
                eprintln!("{}: {error}\n", bench.name);
            }
        }
    }
    ExitCode::from(u8::from(failed))
}
