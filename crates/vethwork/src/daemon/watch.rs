//! What others do to our rules and links, seen at once: ours come back, and other firewalls let
//! our traffic by.

use super::settings::DaemonSettings;
use std::{sync::Arc, thread};
use vw_controller::Controller;
use vw_firewall::foreign::adjustments;
use vw_kernel::{Changed, LinkEvent, LinkMonitor, LinuxKernel, Monitor, legacy_chains};
use vw_model::{Error, Result};

/// Follows changes of nftables for the life of the process.
///
/// # Errors
/// When the kernel gives no listener or the system no thread.
pub(crate) fn firewall(
    controller: &Arc<Controller>,
    kernel: &Arc<LinuxKernel>,
    settings: &DaemonSettings,
) -> Result<()> {
    if !settings.filters() {
        return Ok(());
    }
    let failed = |e| Error::internal("monitor-failed", "cannot listen to nftables").because(e);
    let mut monitor = Monitor::open().map_err(failed)?;
    monitor.ignore(
        kernel
            .with_nft(|nft| nft.port())
            .and_then(|port| port)
            .map_err(failed)?,
    );
    let watch = Watch {
        controller: controller.clone(),
        kernel: kernel.clone(),
        mark: settings.accept_mark,
        adjust: settings.adjust_foreign,
    };
    if !settings.adjust_foreign {
        leave_foreign(kernel);
    }
    watch.pass_foreign();
    let follow = move || {
        loop {
            match monitor.next(None) {
                Ok(changed) => watch.mend(changed),
                Err(error) => return tracing::error!("no longer watching nftables: {error}"),
            }
        }
    };
    let refused = |e| Error::internal("thread-refused", "no thread to watch nftables").because(e);
    thread::Builder::new()
        .name("nft-watch".to_owned())
        .spawn(follow)
        .map(|_| ())
        .map_err(refused)
}

/// Takes our rules out of other firewalls: nothing of ours is forwarded any more, or they are to
/// be left alone. What cannot be taken out is told, with its place.
pub(crate) fn leave_foreign(kernel: &LinuxKernel) {
    let places = kernel
        .with_nft(|nft| nft.adjusted())
        .and_then(|places| places);
    let places = match places {
        Ok(places) => places,
        Err(error) => return tracing::error!("cannot look at other firewalls: {error}"),
    };
    for place in places {
        let refused = match kernel.with_nft(|nft| nft.withdraw(&place)) {
            Ok(Ok(())) => continue,
            Ok(Err(refused)) => refused.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(
            "our rule stays in chain {} of table {}: {refused}",
            place.chain,
            place.table
        );
    }
}

/// Follows our links for the life of the process: one that somebody deletes or puts down comes back.
/// So does, with the link to the other hosts, what led over it.
///
/// # Errors
/// As [`firewall`].
pub(crate) fn links(controller: &Arc<Controller>, underlay: Option<&str>) -> Result<()> {
    let mut monitor = LinkMonitor::open(underlay)
        .map_err(|e| Error::internal("monitor-failed", "cannot listen to links").because(e))?;
    let controller = controller.clone();
    let follow = move || {
        loop {
            let concerns = match monitor.next(None) {
                Ok(Some(LinkEvent::Removed(name) | LinkEvent::Down(name))) => {
                    controller.wants_link(&name)
                }
                Ok(Some(LinkEvent::Back(_))) => {
                    controller.underlay_is_back();
                    false
                }
                Ok(Some(LinkEvent::Lost)) => true,
                Ok(None) => false,
                Err(error) => return tracing::error!("no longer watching links: {error}"),
            };
            if concerns {
                repair(&controller, "links");
            }
        }
    };
    let refused = |e| Error::internal("thread-refused", "no thread to watch links").because(e);
    thread::Builder::new()
        .name("link-watch".to_owned())
        .spawn(follow)
        .map(|_| ())
        .map_err(refused)
}

fn repair(controller: &Controller, what: &str) {
    match controller.repair() {
        Ok(0) => {}
        Ok(steps) => tracing::warn!(steps, "another program changed our {what}; they are back"),
        Err(error) => tracing::error!("cannot bring our {what} back: {}", error.chain()),
    }
}

struct Watch {
    controller: Arc<Controller>,
    kernel: Arc<LinuxKernel>,
    mark: u32,
    adjust: bool,
}

impl Watch {
    fn mend(&self, changed: Changed) {
        if changed.ours {
            repair(&self.controller, "nftables rules");
        }
        if changed.foreign {
            self.pass_foreign();
        }
    }

    /// Lets our traffic by where another firewall would stop it, or tells how.
    fn pass_foreign(&self) {
        let chains = self
            .kernel
            .with_nft(|nft| nft.foreign_chains())
            .and_then(|chains| chains);
        // The older iptables' rules lie outside nftables: they can be seen, not changed.
        let chains = chains.and_then(|chains| Ok([chains, legacy_chains()?].concat()));
        let chains = match chains {
            Ok(chains) => chains,
            Err(error) => return tracing::error!("cannot look at other firewalls: {error}"),
        };
        for adjustment in adjustments(&chains, self.mark) {
            if !self.adjust || adjustment.obstacle.is_some() {
                let why = adjustment
                    .obstacle
                    .unwrap_or("--foreign-firewall=warn was given");
                self.controller.warn(format!("another firewall stops forwarded traffic and is left alone ({why}); to let ours pass: {adjustment}"));
                continue;
            }
            match self.kernel.with_nft(|nft| nft.adjust(&adjustment)) {
                Ok(Ok(())) => {}
                Ok(Err(refused)) => self.controller.warn(format!("another firewall stops forwarded traffic ({refused}); to let ours pass: {adjustment}")),
                Err(error) => tracing::error!("{error}"),
            }
        }
    }
}
