//! What others do to our rules and links, seen at once: ours come back, and other firewalls let
//! our traffic by.

mod pauses;

use super::{
    anew::{self, LOOK, Look, Reached, Start},
    settings::DaemonSettings,
};
use pauses::Pauses;
use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;
use vw_controller::Controller;
use vw_drivers::Underlay;
use vw_firewall::foreign::adjustments;
use vw_kernel::{
    AddressMonitor, Changed, Kernel, LinkEvent, LinkMonitor, LinuxKernel, Monitor, legacy_chains,
};
use vw_model::{Error, Result};

/// While what leads to the other hosts is refused, all is compared again after this many seconds,
/// and each time twice as many, to the last.
const AGAIN: (u64, u64) = (1, 64);

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

/// Follows our links for the life of the process: one that somebody deletes or puts down comes back,
/// after a pause where that happens again and again.
/// So does what leads over the link to the other hosts, when that had been down or without an
/// address, and when somebody took it away.
///
/// # Errors
/// As [`firewall`].
pub(crate) fn links(controller: &Arc<Controller>, underlay: Option<&str>) -> Result<()> {
    let mut monitor = LinkMonitor::open(underlay)
        .map_err(|e| Error::internal("monitor-failed", "cannot listen to links").because(e))?;
    let controller = controller.clone();
    let follow = move || {
        let mut links = Links {
            controller,
            pauses: Pauses::default(),
            again: None,
        };
        loop {
            match news(&mut monitor, links.wait()) {
                Ok(news) => links.mend(&news),
                Err(error) => return tracing::error!("no longer watching links: {error}"),
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

/// Follows this host's addresses for the life of the process: a cluster's services may be published on
/// one alone, and the others reach it by one. Tells `moved` which other one the daemon is to begin
/// anew with, and is done.
///
/// # Errors
/// As [`firewall`].
pub(super) fn addresses(
    controller: &Arc<Controller>,
    kernel: &Arc<LinuxKernel>,
    mut reached: Reached,
    start: Start,
    moved: oneshot::Sender<Underlay>,
) -> Result<()> {
    let mut monitor = AddressMonitor::open()
        .map_err(|e| Error::internal("monitor-failed", "cannot listen to addresses").because(e))?;
    let (controller, kernel) = (controller.clone(), kernel.clone());
    let follow = move || {
        // Others may have come before it listened.
        let mut changed = true;
        loop {
            if changed {
                controller.addresses_changed();
            }
            let wait = match look(&kernel, &mut reached, &start) {
                Look::Rest => None,
                Look::Again => Some(LOOK),
                Look::Follow(next) => {
                    // Nobody hears where the daemon ends anyhow.
                    let _ = moved.send(next);
                    return;
                }
            };
            match monitor.changed(wait) {
                Ok(any) => changed = any,
                Err(error) => return tracing::error!("no longer watching addresses: {error}"),
            }
        }
    };
    let refused = |e| Error::internal("thread-refused", "no thread to watch addresses").because(e);
    thread::Builder::new()
        .name("address-watch".to_owned())
        .spawn(follow)
        .map(|_| ())
        .map_err(refused)
}

/// Looks for the address by which the others reach this host, and for what bars the way to another one.
fn look(kernel: &LinuxKernel, reached: &mut Reached, start: &Start) -> Look {
    let facts = match kernel.facts() {
        Ok(facts) => facts,
        Err(error) => {
            tracing::warn!("cannot look at this host's addresses: {error}");
            return Look::Again;
        }
    };
    let look = reached.look(&facts, Instant::now());
    let Look::Follow(found) = &look else {
        return look;
    };
    if let Some(why) = start.obstacle(&facts, found).or_else(anew::cannot_run) {
        reached.stay(found, why);
        return Look::Again;
    }
    reached.leave(found);
    look
}

/// What is told next, with all that was told until now: of a flush the kernel tells route by route,
/// and one comparison is for all. Nothing when `timeout` passed.
fn news(monitor: &mut LinkMonitor, timeout: Option<Duration>) -> std::io::Result<Vec<LinkEvent>> {
    let mut news = Vec::new();
    let mut next = monitor.next(timeout)?;
    while let Some(event) = next {
        news.push(event);
        next = monitor.next(Some(Duration::ZERO))?;
    }
    Ok(news)
}

/// What is to be done about links, now and later.
struct Links {
    controller: Arc<Controller>,
    pauses: Pauses,
    /// When to look again whether the way to the other hosts is back, and after how many seconds.
    again: Option<(Instant, u64)>,
}

impl Links {
    /// How long until something is to be done, whatever happens.
    fn wait(&self) -> Option<Duration> {
        let again = self.again.map(|(at, _)| at);
        let next = again.into_iter().chain(self.pauses.next()).min();
        next.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Brings back what is due: links of ours, and what leads to the other hosts.
    fn mend(&mut self, news: &[LinkEvent]) {
        let now = Instant::now();
        let mut lost = false;
        let mut way = self.again.is_some_and(|(at, _)| at <= now);
        for event in news {
            match event {
                LinkEvent::Removed(name) | LinkEvent::Down(name) => {
                    if self.controller.wants_link(name) {
                        self.pauses.went(name, now);
                    }
                }
                LinkEvent::Gone(key) => way |= self.controller.wants(key),
                LinkEvent::Back(_) => way = true,
                LinkEvent::Lost => (lost, way) = (true, true),
            }
        }
        if self.pauses.are_over(now) || lost {
            repair(&self.controller, "links");
        }
        if way {
            let delay = self
                .again
                .map_or(AGAIN.0, |(_, delay)| (delay * 2).min(AGAIN.1));
            let is_back = self.controller.underlay_is_back();
            self.again = (!is_back).then(|| (Instant::now() + Duration::from_secs(delay), delay));
        }
    }
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
