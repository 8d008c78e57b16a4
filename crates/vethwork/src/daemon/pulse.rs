//! Whether the kernels of hosts whose daemons are away answer.
//!
//! Owns what is said where they cannot be asked. It must not know what comes of it.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
};
use vw_agents::probe::echo;
use vw_controller::Pulse;

/// Asks them by ICMP echo.
#[derive(Debug)]
pub(super) struct Echoes {
    from: IpAddr,
    /// Whether it was said that they cannot be.
    refused: AtomicBool,
}

impl Echoes {
    pub(super) const fn of(from: IpAddr) -> Self {
        Self {
            from,
            refused: AtomicBool::new(false),
        }
    }
}

impl Pulse for Echoes {
    fn answering(&self, hosts: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
        let answered = echo::answering(self.from, hosts);
        let was_refused = self.refused.swap(answered.is_err(), Ordering::Relaxed);
        answered.unwrap_or_else(|error| {
            if !was_refused {
                tracing::warn!(
                    "hosts whose daemons are away count as dead: their kernels cannot be asked from {}: {error}",
                    self.from
                );
            }
            BTreeSet::new()
        })
    }
}
