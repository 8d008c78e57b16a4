//! All benchmarks, each a module; a new one is a file and a row here.

mod attach;

use crate::{Result, report::Table};

/// A benchmark.
pub(crate) struct Bench {
    /// How the command line calls it.
    pub(crate) name: &'static str,
    /// Measures.
    pub(crate) run: fn() -> Result<Table>,
}

/// In the order in which they run.
pub(crate) const ALL: [Bench; 1] = [Bench {
    name: attach::NAME,
    run: attach::run,
}];
