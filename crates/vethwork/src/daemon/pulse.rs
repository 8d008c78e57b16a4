//! Whether the kernels of hosts whose daemons are away answer.
//!
//! Owns what is said where they cannot be asked. It must not know what comes of it.

use std::{
    collections::BTreeSet,
    io,
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
};
use vw_agents::probe::echo;
use vw_controller::{Answers, Pulse};

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
    fn ask(&self, hosts: &BTreeSet<IpAddr>) -> Answers {
        let answers = echo::ask(self.from, hosts);
        let was_refused = self.refused.swap(answers.is_err(), Ordering::Relaxed);
        if let (Err(error), false) = (&answers, was_refused) {
            tracing::warn!(
                "hosts whose daemons go away count as dead: their kernels cannot be asked from {}: {error}",
                self.from
            );
        }
        said(answers, hosts)
    }
}

/// What is known by now. Where this host may not ask at all, nobody will ever answer: so it is silence,
/// also of those that were away before the daemon started.
fn said(answers: io::Result<echo::Answers>, hosts: &BTreeSet<IpAddr>) -> Answers {
    match answers {
        Ok(echo::Answers { asked, answering }) => Answers { asked, answering },
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Answers {
            asked: hosts.clone(),
            answering: BTreeSet::new(),
        },
        // Such as where its address is gone for a while.
        Err(_) => Answers::default(),
    }
}

#[cfg(test)]
mod tests;
