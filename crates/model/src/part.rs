//! The part that an endpoint has in a service, as the hosts of a cluster tell it each other.

use crate::PortKey;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How a member of a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberHealth {
    /// Nobody asks it.
    Unchecked,
    /// It was not well yet.
    Starting,
    /// It was well last.
    Healthy,
    /// It failed too often in a row.
    Unhealthy,
    /// It leaves.
    Leaving,
}

impl MemberHealth {
    /// Whether new connections are led to such a member.
    #[must_use]
    pub const fn serves(self) -> bool {
        matches!(self, Self::Unchecked | Self::Healthy)
    }
}

/// What an endpoint is to services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServicePart {
    /// One of a service's endpoints.
    Member {
        /// The service's name.
        service: String,
        /// Its share of the connections.
        weight: u32,
        /// How it is.
        health: MemberHealth,
    },
    /// The address by which its host leads to the endpoints of the network's services.
    Balancer {
        /// The ports that this host cannot publish, because something here has them.
        unpublished: BTreeSet<PortKey>,
    },
}
