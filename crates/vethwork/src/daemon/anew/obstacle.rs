//! Whether a start would do by now what the daemon's start did.
//!
//! Owns what is looked at before one that runs ends itself. It must not change anything.

use super::super::{
    cluster::ClusterSettings,
    file,
    flags::Flags,
    listen,
    settings::{DaemonSettings, HostAddr},
};
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use vw_drivers::Underlay;
use vw_kernel::HostFacts;

/// What the daemon was started with.
#[derive(Debug, Clone)]
pub(in super::super) struct Start {
    pub(in super::super) flags: Flags,
    pub(in super::super) settings: DaemonSettings,
}

impl Start {
    /// Why another start, with this underlay, would be refused, or be that of another daemon; with what
    /// to do. None where it would not.
    pub(in super::super) fn obstacle(&self, facts: &HostFacts, next: &Underlay) -> Option<String> {
        let checked = file::merge(self.flags.clone()).and_then(DaemonSettings::check);
        match checked {
            Err(refused) => {
                return Some(format!(
                    "its settings are no longer valid; mend them: {refused}"
                ));
            }
            Ok(settings) if settings != self.settings => {
                return Some(
                    "its settings are no longer those that it was started with; start it again to use them"
                        .to_owned(),
                );
            }
            Ok(_) => {}
        }
        if !listen::is_activated()
            && let Some(host) = self.settings.hosts.iter().find(|host| !can_be_bound(host))
        {
            return Some(format!(
                "this host has no address for --host {host} any more; give another one, such as 0.0.0.0 or a unix socket, and start the daemon again"
            ));
        }
        let mut stores = self.settings.cluster.iter();
        if let Some(wrong) = stores.find_map(ClusterSettings::unusable) {
            return Some(format!(
                "it would begin without the cluster's store; mend that: {wrong}"
            ));
        }
        let refused =
            |error: vw_model::Error| format!("it would not start; mend that: {}", error.chain());
        let config = self.settings.controller_config(facts).map(drop);
        let store = self.settings.cluster.iter();
        let mut store = store.map(|cluster| cluster.membership(next, None).map(drop));
        config
            .and(store.try_for_each(|asked| asked))
            .err()
            .map(refused)
    }
}

/// Whether the host has the address.
fn can_be_bound(host: &HostAddr) -> bool {
    let HostAddr::Tcp(at) = host else { return true };
    let addresses = at.to_socket_addrs().into_iter().flatten();
    // The system knows what else may be bound (ip(7), `ip_nonlocal_bind`).
    let free: Vec<SocketAddr> = addresses.map(|at| (at.ip(), 0).into()).collect();
    UdpSocket::bind(free.as_slice()).is_ok()
}

#[cfg(test)]
mod tests;
