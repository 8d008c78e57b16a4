//! Tracked connections of the host: which are forgotten when what they lead to goes, and what stands for
//! an address there.

use super::{LinuxKernel, OpenedPort};
use crate::{Led, conntrack::Conntrack, netns::lock};
use std::{io, net::IpAddr, sync::atomic::Ordering};
use vw_hoststate::Netns;
use vw_model::Family;

impl LinuxKernel {
    /// Forgets the tracked connections of addresses that their sandboxes gave up.
    ///
    /// Without connection tracking in the kernel there is nothing to forget.
    pub(super) fn forget_connections(&self, addrs: &[IpAddr]) {
        if addrs.is_empty() {
            return;
        }
        let addrs = self.with_mapped(addrs.iter().copied());
        if let Err(error) = self.with_conntrack(|conntrack| conntrack.forget(&addrs)) {
            tracing::debug!("connections of {addrs:?} are not forgotten: {error}");
        }
    }

    /// Forgets the connections that a link translated, as nobody is led to it any more. What belongs to one
    /// is refused by this host then, as for any port that is published no more; it would leave untranslated.
    pub(super) fn forget_translated(&self) {
        match self.with_conntrack(Conntrack::forget_translated) {
            Ok(()) => self.translated(None),
            // They go with the addresses that they lead to.
            Err(error) => tracing::debug!("translated connections are not forgotten: {error}"),
        }
    }

    /// Notes whether packets are translated from now on; nothing where nobody wants it.
    pub(super) fn translated(&self, outcome: Option<Result<(), String>>) {
        let translates = matches!(outcome, Some(Ok(())));
        self.translates.store(translates, Ordering::Relaxed);
        *lock(&self.untranslated) = outcome.and_then(Result::err);
    }

    /// Asks about connections in the host's namespace.
    fn with_conntrack(&self, ask: impl FnOnce(&mut Conntrack) -> io::Result<()>) -> io::Result<()> {
        let mut slot = lock(&self.conntrack);
        let conntrack = match &mut *slot {
            Some(conntrack) => conntrack,
            empty => {
                let host = self.namespaces.host();
                empty.insert(self.namespaces.run(host, Conntrack::open)??)
            }
        };
        ask(conntrack)
    }

    /// Addresses, and what stands for those of IPv4 where who asks over IPv6 is led there.
    fn with_mapped(&self, addrs: impl Iterator<Item = IpAddr> + Clone) -> Vec<IpAddr> {
        let translates = self.translates.load(Ordering::Relaxed);
        let mapped = addrs.clone().filter_map(|addr| match addr {
            IpAddr::V4(addr) if translates => Some(vw_firewall::mapped(addr).into()),
            _ => None,
        });
        addrs.chain(mapped).collect()
    }

    /// The same of who is led in the host's namespace.
    pub(super) fn led_with_mapped(&self, led: &Led) -> Led {
        Led {
            to: self
                .with_mapped(led.to.iter().copied())
                .into_iter()
                .collect(),
            by: led.by.clone(),
        }
    }

    /// Forgets what was sent to ports before they were opened: it would be led nowhere for as long as
    /// somebody sends.
    pub(super) fn forget_unled(&self, netns: Netns, ports: Vec<OpenedPort>) {
        let forget = || {
            let own = self.addresses_in(netns)?;
            self.run_in(
                netns,
                "forget",
                || "connections".to_owned(),
                move || {
                    let mut conntrack = Conntrack::open()?;
                    for family in [Family::V4, Family::V6] {
                        let of: Vec<_> = ports.iter().filter(|(of, ..)| *of == family).collect();
                        if of.is_empty() {
                            continue;
                        }
                        let opened = of.iter().map(|(.., port)| *port).collect();
                        conntrack.forget_unled(family, &opened, |addr, port| {
                            (own.contains(&addr) || addr.is_loopback())
                                && of.iter().any(|(_, at, opened)| {
                                    *opened == port && at.is_none_or(|at| at == addr)
                                })
                        })?;
                    }
                    Ok(())
                },
            )
        };
        if let Err(error) = forget() {
            tracing::debug!("who sent to a port before it was opened stays there: {error}");
        }
    }
}
