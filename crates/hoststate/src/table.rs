//! Tables of nftables as objects, and what nftables has for each.

use serde::{Deserialize, Serialize};
use vw_firewall::{HostTable, TableSpec, balancer_table, sandbox_dns, service_table};
use vw_model::SandboxId;

/// A whole nftables table of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Table {
    /// The host's `inet vethwork` and `ip6 vethwork`: the skeletons, without elements.
    Host(HostTable),
    /// The host's `inet vethwork_services`, without elements.
    Services,
    /// `inet vethwork_services` of a sandbox that does nothing but lead to services' endpoints,
    /// without elements.
    Balancer {
        /// The sandbox.
        sandbox: SandboxId,
    },
    /// A sandbox's `inet vethwork_dns`: 127.0.0.11 port 53 to the resolver's real ports.
    SandboxDns {
        /// The sandbox.
        sandbox: SandboxId,
        /// The UDP port it is bound on.
        udp: u16,
        /// The TCP port it listens on.
        tcp: u16,
    },
}

impl Table {
    /// What nftables has for it.
    #[must_use]
    pub fn specs(&self) -> Vec<TableSpec> {
        match self {
            Self::Host(table) => vec![HostTable::rules6(), table.rules()],
            Self::Services => vec![service_table()],
            Self::Balancer { .. } => vec![balancer_table()],
            Self::SandboxDns { udp, tcp, .. } => vec![sandbox_dns(*udp, *tcp)],
        }
    }
}
