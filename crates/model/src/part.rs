//! The part that an endpoint has in a service, and what a host does not do for one, as the hosts of a
//! cluster tell it each other.

use crate::{HostPort, NetworkId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    Balancer {},
}

/// What a host lacks of what services ask of every host, or of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpublished {
    /// By network; those of which it lacks something.
    pub networks: BTreeMap<NetworkId, Lacks>,
}

/// What a host lacks of the services of one network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lacks {
    /// It leads to none of them: what every host publishes is not published there, and nothing
    /// there reaches their addresses.
    #[serde(default)]
    pub all: bool,
    /// The ports that it does not publish.
    #[serde(default)]
    pub ports: BTreeMap<HostPort, Obstacle>,
}

impl Lacks {
    /// Whether it lacks nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.all && self.ports.is_empty()
    }
}

/// Why a host does not publish a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Obstacle {
    /// Something there has it.
    Taken,
    /// Its endpoints there have no way out by which they would answer.
    Unreached,
    /// It could not be done, or for another reason that this version does not know.
    #[serde(other)]
    Failed,
}
