//! Named points between two effects, at which a test has the daemon die.
//!
//! Owns nothing in a release build: there the calls are empty. A debug build reads
//! `VETHWORK_CRASH_AT` once, and kills itself at the point of that name.

/// Dies here, by SIGKILL, when the environment names this point.
#[cfg(debug_assertions)]
pub(crate) fn reached(point: &str) {
    use rustix::process::{Signal, getpid, kill_process};
    use std::sync::LazyLock;

    static CRASH_AT: LazyLock<Option<String>> =
        LazyLock::new(|| std::env::var("VETHWORK_CRASH_AT").ok());
    if CRASH_AT.as_deref() == Some(point)
        && let Err(error) = kill_process(getpid(), Signal::KILL)
    {
        tracing::error!("cannot die at {point}: {error}");
    }
}

/// Nothing: only debug builds can be made to die.
#[cfg(not(debug_assertions))]
pub(crate) const fn reached(_point: &str) {}
