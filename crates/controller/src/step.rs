//! Named points between two effects, and in the midst of one, at which a test has the daemon die.
//!
//! Owns nothing in a release build: there the calls are empty. A debug build reads
//! `VETHWORK_CRASH_AT` once, and kills itself at the point of that name.

use vw_hoststate::Plan;

/// The point in the midst of a plan of several steps.
pub(crate) const HALFWAY: &str = "apply.halfway";

/// How many steps a plan must have to be cut in the midst.
#[cfg(debug_assertions)]
const SEVERAL: usize = 4;

#[cfg(debug_assertions)]
static CRASH_AT: std::sync::LazyLock<Option<String>> =
    std::sync::LazyLock::new(|| std::env::var("VETHWORK_CRASH_AT").ok());

/// Dies here, by SIGKILL, when the environment names this point.
#[cfg(debug_assertions)]
pub(crate) fn reached(point: &str) {
    use rustix::process::{Signal, getpid, kill_process};

    if CRASH_AT.as_deref() == Some(point)
        && let Err(error) = kill_process(getpid(), Signal::KILL)
    {
        tracing::error!("cannot die at {point}: {error}");
    }
}

/// The first half of a plan, when the daemon is to die after it.
#[cfg(debug_assertions)]
pub(crate) fn first_half(plan: &Plan) -> Option<Plan> {
    let dies = CRASH_AT.as_deref() == Some(HALFWAY) && plan.steps.len() >= SEVERAL;
    dies.then(|| Plan {
        steps: plan.steps[..plan.steps.len() / 2].to_vec(),
    })
}

/// Nothing: only debug builds can be made to die.
#[cfg(not(debug_assertions))]
pub(crate) const fn reached(_point: &str) {}

/// None, likewise.
#[cfg(not(debug_assertions))]
pub(crate) const fn first_half(_plan: &Plan) -> Option<Plan> {
    None
}
