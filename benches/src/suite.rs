//! All benchmarks, each a module; a new one is a file and a row here.

mod attach;
mod cluster;
mod concurrent;
mod memory;
mod names;
mod overlay;
mod publish;
mod restart;
mod scale;
mod services;
mod traffic;

use crate::{Result, report::Table};

/// A benchmark.
pub(crate) struct Bench {
    /// How the command line calls it.
    pub(crate) name: &'static str,
    /// Measures.
    pub(crate) run: fn() -> Result<Table>,
}

/// In the order in which they run.
pub(crate) const ALL: [Bench; 17] = [
    bench(attach::NAME, attach::run),
    bench(publish::NAME, publish::run),
    bench(names::NAME, names::run),
    bench(memory::NAME, memory::run),
    bench(traffic::NAME, traffic::run),
    bench(overlay::NAME, overlay::run),
    bench(concurrent::NAME, concurrent::run),
    bench(restart::NAME, restart::run),
    bench(scale::NAME, scale::run),
    bench(services::NAME, services::run),
    bench(services::many::NAME, services::many::run),
    bench(services::hosts::NAME, services::hosts::run),
    bench(services::death::NAME, services::death::run),
    bench(cluster::reach::NAME, cluster::reach::run),
    bench(cluster::load::NAME, cluster::load::run),
    bench(cluster::remote::NAME, cluster::remote::run),
    bench(cluster::sealed::NAME, cluster::sealed::run),
];

const fn bench(name: &'static str, run: fn() -> Result<Table>) -> Bench {
    Bench { name, run }
}
