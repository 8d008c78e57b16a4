//! The part that an endpoint has in a service, and what a host does not do for one, as the hosts of a
//! cluster tell it each other.

use crate::{HostPort, NetworkId, PortKey, ServiceId};
use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};
use std::collections::{BTreeMap, BTreeSet};

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
        /// The ports that its host does not publish because something there has them. For hosts of
        /// an older version, which cannot read a balancer without, and from those of them that tell
        /// no [`Unpublished`].
        #[serde(default)]
        unpublished: BTreeSet<PortKey>,
    },
}

impl ServicePart {
    /// Reads one, or nothing where a version that is not this one wrote what this one does not know.
    ///
    /// # Errors
    /// For what is no value at all.
    pub fn known<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Self>, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Read {
            Known(ServicePart),
            Unknown(IgnoredAny),
        }
        Ok(match Read::deserialize(from)? {
            Read::Known(part) => Some(part),
            Read::Unknown(IgnoredAny) => None,
        })
    }
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
    /// It leads to none of what these ask for, though to others; their ports are among those that
    /// it does not publish, for hosts of an older version, which do not know this.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub services: BTreeSet<ServiceId>,
    /// The ports that it does not publish.
    #[serde(default)]
    pub ports: BTreeMap<HostPort, Obstacle>,
}

impl Lacks {
    /// Whether it lacks nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.all && self.services.is_empty() && self.ports.is_empty()
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
    /// The host makes no rules.
    NoRules,
    /// It could not be done, or for another reason that this version does not know.
    #[serde(other)]
    Failed,
}

#[cfg(test)]
mod tests;
