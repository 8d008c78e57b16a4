//! A daemon that began anew: what it is to go on with.
//!
//! Owns how it knows that, and that it waits for a moment for an address that was there when the former
//! one ended. It must not wait at any other start: whoever starts a daemon hears at once why it does not.

use super::{
    super::{cluster::ClusterSettings, settings::DaemonSettings},
    LOOK, may_stand_for,
};
use std::{
    env, io,
    net::IpAddr,
    time::{Duration, Instant},
};
use vw_controller::kernel_error;
use vw_drivers::Underlay;
use vw_kernel::{AddressMonitor, HostFacts, Kernel, LinuxKernel};
use vw_model::{Error, IfName, Result};

/// The variable that tells it: this process, which none of its children is, the address and its link.
const VARIABLE: &str = "VETHWORK_BEGUN_ANEW";

/// How long it waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the former one was to go on with.
#[derive(Debug, PartialEq, Eq)]
struct Goal {
    addr: IpAddr,
    link: IfName,
}

/// The variable, by which the program that takes this one's place knows what it is to go on with.
pub(super) fn variable(next: &Underlay) -> (&'static str, String) {
    let told = format!("{} {} {}", std::process::id(), next.addr, next.link);
    (VARIABLE, told)
}

/// The host as it is. A daemon that began anew waits until an address is there that it may go on with,
/// or long enough.
///
/// # Errors
/// When the kernel cannot be read.
pub(in super::super) fn facts(
    kernel: &LinuxKernel,
    settings: &DaemonSettings,
) -> Result<HostFacts> {
    let look = || kernel.facts().map_err(kernel_error);
    let goal = env::var(VARIABLE).ok();
    let goal = goal.and_then(|told| Goal::read(&told, std::process::id()));
    let Some((cluster, goal)) = settings.cluster.as_ref().zip(goal) else {
        return look();
    };
    let failed = |e| Error::internal("monitor-failed", "cannot listen to addresses").because(e);
    // What comes between two looks ends the wait after the first.
    let mut monitor = AddressMonitor::open().map_err(failed)?;
    let wait = |longest| monitor.changed(Some(longest)).map(drop);
    goal.await_in(cluster, Instant::now() + PATIENCE, look, wait)
}

impl Goal {
    /// What was told to a process; nothing where it was another one that was told.
    fn read(told: &str, process: u32) -> Option<Self> {
        let mut words = told.split(' ');
        let of: u32 = words.next()?.parse().ok()?;
        Some(Self {
            addr: words.next()?.parse().ok()?,
            link: words.next()?.parse().ok()?,
        })
        .filter(|_| of == process)
    }

    fn await_in(
        &self,
        cluster: &ClusterSettings,
        until: Instant,
        look: impl Fn() -> Result<HostFacts>,
        mut wait: impl FnMut(Duration) -> io::Result<()>,
    ) -> Result<HostFacts> {
        let mut told = false;
        loop {
            let facts = look()?;
            let found = cluster.underlay(&facts);
            if found.is_ok_and(|found| may_stand_for(&found, self.addr, &self.link, &facts)) {
                return Ok(facts);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(facts);
            }
            if !told {
                tracing::warn!(
                    "{} of {} is gone again: the daemon waits for an address of that for {} s",
                    self.addr,
                    self.link,
                    left.as_secs_f32().ceil()
                );
                told = true;
            }
            // The default route may come without an address.
            if let Err(error) = wait(left.min(LOOK)) {
                tracing::error!("no longer waiting for an address: {error}");
                return Ok(facts);
            }
        }
    }
}

#[cfg(test)]
mod tests;
