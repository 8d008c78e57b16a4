//! The daemon begun anew in its own place, where the address by which the other hosts reach this one
//! is another by now.
//!
//! Owns when that is, and how. The address is in this host's record, in every tunnel and in rules, all
//! of which a start takes from the link, and compares with what stands: to begin anew is to follow it.
//! It must not begin anew for less: requests that are under way end with it.

use super::{cluster::ClusterSettings, listen};
// check-allow(programs-only-in-runtime): this binary, in the place of itself.
use std::{
    env,
    os::unix::process::CommandExt,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::Notify;
use vw_drivers::Underlay;
use vw_kernel::HostFacts;

/// Says that the daemon is to begin anew.
#[derive(Debug, Clone, Default)]
pub(super) struct Anew {
    said: Arc<AtomicBool>,
    notify: Arc<Notify>,
}

impl Anew {
    fn say(&self) {
        self.said.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    pub(super) fn is_said(&self) -> bool {
        self.said.load(Ordering::Acquire)
    }

    /// Waits until it is said.
    pub(super) async fn said(&self) {
        self.notify.notified().await;
    }
}

/// Where the others reach this host, as the daemon's flags name it and as its start found it.
#[derive(Debug)]
pub(super) struct Reached {
    pub(super) cluster: ClusterSettings,
    pub(super) underlay: Underlay,
    pub(super) anew: Anew,
}

/// What is to be done about the address by which the others reach this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// It is there, or the flags name no other, or the daemon begins anew.
    Done,
    /// It is gone, and there is none in its place: the default route may come without an address.
    Again,
}

impl Reached {
    /// Has the daemon begin anew where the address is gone and there is another.
    pub(super) fn look(&self, facts: &HostFacts) -> Look {
        let was = self.underlay.addr;
        let mut all = facts.addresses.iter();
        if all.any(|(_, net)| net.addr() == was) || !self.cluster.may_move() {
            return Look::Done;
        }
        // Of an address of the other IP version none of the others could make use.
        let now = self.cluster.underlay(facts).ok();
        let Some(now) = now.filter(|now| now.addr.is_ipv4() == was.is_ipv4()) else {
            return Look::Again;
        };
        tracing::warn!(
            "this host no longer has the address {was}, by which the other hosts reached it: the daemon begins anew with {} of {}",
            now.addr,
            now.link
        );
        self.anew.say();
        Look::Done
    }
}

/// Runs this binary in the place of this process, with what it was given. Gives why it could not.
pub(super) fn exec() -> std::io::Error {
    listen::hand_on();
    let mut given = env::args_os();
    // The file that runs, also where another lies at its path by now: an upgrade is for people.
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = given.next() {
        command.arg0(name);
    }
    command.args(given).exec()
}

#[cfg(test)]
mod tests;
