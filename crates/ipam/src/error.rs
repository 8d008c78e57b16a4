//! Everything that address management refuses, with the data to say it in full.

use crate::Holder;
use std::net::IpAddr;
use vw_model::{Family, IpNet, Kind, NetworkId};

/// A refusal. Docker's own sentence comes first where it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// What the user configured cannot be; one sentence a problem, listed as Docker lists them.
    #[error("invalid network config:\n{}", listed(problems))]
    InvalidConfig {
        /// The sentences.
        problems: Vec<String>,
    },
    /// A subnet overlaps one that another network of ours holds.
    #[error(
        "invalid pool request: Pool overlaps with other one on this address space: \
         {subnet} overlaps {other} of network {}; choose another --subnet", network.short()
    )]
    Overlap {
        /// The subnet asked for.
        subnet: IpNet,
        /// The one that is held.
        other: IpNet,
        /// The network that holds it.
        network: NetworkId,
    },
    /// Every subnet of the default pools is held or in use on the host.
    #[error(
        "all predefined address pools have been fully subnetted: no {} subnet is left; \
         {}remove a network, give --subnet, or add to default-address-pools",
        family_name(*family), covering(*covered)
    )]
    DefaultsExhausted {
        /// Of this family.
        family: Family,
        /// A default pool, and what is in use on the host that holds all of it.
        covered: Option<(IpNet, IpNet)>,
    },
    /// A default pool that cannot be split as asked.
    #[error(
        "invalid default address pool {base} with size {size}: \
         the size must be at least the base's prefix length and at most {max}"
    )]
    DefaultPool {
        /// The base.
        base: IpNet,
        /// The prefix length of the parts.
        size: u8,
        /// The longest prefix of the family.
        max: u8,
    },
    /// The gateway could not be had.
    #[error("failed to allocate gateway ({})", gateway.map(|g| g.to_string()).unwrap_or_default())]
    Gateway {
        /// The one asked for.
        gateway: Option<IpAddr>,
        /// Why.
        source: Box<Error>,
    },
    /// An auxiliary address could not be had.
    #[error("failed to allocate secondary ip address ({name}:{addr})")]
    Aux {
        /// Its name.
        name: String,
        /// The address.
        addr: IpAddr,
        /// Why.
        source: Box<Error>,
    },
    /// No address is left in any of a network's ranges.
    #[error(
        "no available {} addresses on this network's address pools: {network}",
        family_name(*family)
    )]
    PoolFull {
        /// The family asked for.
        family: Family,
        /// The network.
        network: NetworkId,
    },
    /// One subnet has no address left for its gateway.
    #[error("no available addresses on this pool: {subnet}")]
    SubnetFull {
        /// The subnet.
        subnet: IpNet,
    },
    /// Somebody holds the address.
    #[error("Address already in use: {addr} is held by {holder}")]
    AddressInUse {
        /// The address.
        addr: IpAddr,
        /// Who holds it.
        holder: Holder,
    },
    /// The address names the subnet itself, all its routers, or all its hosts.
    #[error("Address already in use: {addr} is the network or broadcast address of {subnet}")]
    Reserved {
        /// The address.
        addr: IpAddr,
        /// The subnet.
        subnet: IpNet,
    },
    /// None of the network's subnets has the address.
    #[error("no configured subnet or ip-range contain the IP address {addr}")]
    OutOfSubnet {
        /// The address.
        addr: IpAddr,
    },
    /// An address was asked for where the subnet came from the default pools.
    #[error(
        "user specified IP address is supported only when connecting to networks with user \
         configured subnets"
    )]
    NotUserConfigured {
        /// The address.
        addr: IpAddr,
    },
    /// The network has no subnet of the family.
    #[error("network {} has no {} subnet", network.short(), family_name(*family))]
    NoPool {
        /// The network.
        network: NetworkId,
        /// The family.
        family: Family,
    },
    /// The network was never added, or has been removed.
    #[error("network {} holds no address pools", network.short())]
    UnknownNetwork {
        /// The network.
        network: NetworkId,
    },
}

impl Error {
    /// The user's view, with the network's name where Docker's sentence has it.
    #[must_use]
    pub fn for_network(self, name: &str) -> vw_model::Error {
        if let Self::PoolFull { family, network } = self {
            let family = family_name(family);
            let message = format!(
                "no available {family} addresses on this network's address pools: {name} ({network})"
            );
            return vw_model::Error::new(Kind::Exhausted, "addresses-exhausted", message);
        }
        self.into()
    }

    const fn class(&self) -> (Kind, vw_model::Reason) {
        match self {
            Self::InvalidConfig { .. } => (Kind::InvalidArgument, "ipam-config-invalid"),
            Self::DefaultPool { .. } => (Kind::InvalidArgument, "default-pool-invalid"),
            Self::OutOfSubnet { .. } => (Kind::InvalidArgument, "address-out-of-subnet"),
            Self::NotUserConfigured { .. } => (Kind::InvalidArgument, "subnet-not-configured"),
            Self::NoPool { .. } => (Kind::InvalidArgument, "no-pool-of-family"),
            Self::Overlap { .. } => (Kind::Forbidden, "pool-overlap"),
            Self::AddressInUse { .. } => (Kind::Forbidden, "address-in-use"),
            Self::Reserved { .. } => (Kind::Forbidden, "address-reserved"),
            Self::Gateway { .. } => (Kind::Forbidden, "gateway-unavailable"),
            Self::Aux { .. } => (Kind::Forbidden, "aux-address-unavailable"),
            Self::DefaultsExhausted { .. } => (Kind::Exhausted, "pools-exhausted"),
            Self::PoolFull { .. } | Self::SubnetFull { .. } => {
                (Kind::Exhausted, "addresses-exhausted")
            }
            Self::UnknownNetwork { .. } => (Kind::Internal, "ipam-network-unknown"),
        }
    }
}

impl From<Error> for vw_model::Error {
    fn from(error: Error) -> Self {
        let (kind, reason) = error.class();
        let refusal = Self::new(kind, reason, error.to_string());
        match error {
            Error::Gateway { source, .. } | Error::Aux { source, .. } => refusal.because(source),
            _ => refusal,
        }
    }
}

fn covering(covered: Option<(IpNet, IpNet)>) -> String {
    covered.map_or_else(String::new, |(pool, by)| {
        format!("this host's route to, or use of, {by} covers the default pool {pool}; ")
    })
}

/// `IPv4` or `IPv6`.
pub(crate) const fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

fn listed(problems: &[String]) -> String {
    match problems {
        [only] => only.clone(),
        many => many
            .iter()
            .map(|problem| format!("* {problem}"))
            .collect::<Vec<_>>()
            .join("\n"),
    }
}
