//! What kinds of networks can and cannot do, and which of them a sandbox may be on together.

use vw_model::{Error, Result};

/// In which namespace the endpoints of a network lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// In one of the sandbox's own, beside endpoints of other networks.
    Shared,
    /// In one of the sandbox's own, which no other network reaches (`none`).
    Alone,
    /// In the host's.
    Host,
}

/// What a driver's networks can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// In which namespace its endpoints lie.
    pub place: Place,
    /// Whether networks of it can be made; there is one predefined one otherwise.
    pub instances: bool,
    /// Whether its endpoints lease addresses.
    pub addresses: bool,
    /// Whether its endpoints find one another by name.
    pub names: bool,
    /// Whether ports can be published on its networks.
    pub ports: bool,
    /// The most endpoints that one network takes; `None` is no limit of the driver's.
    pub max_endpoints: Option<u32>,
}

/// Whether a sandbox may be put on a network beside those it is on.
///
/// `host` tells that the sandbox lives in the host's namespace; `present` is what the networks
/// that it is on can do.
///
/// # Errors
/// `InvalidArgument` with Docker's sentence.
pub fn may_join(joining: Capabilities, host: bool, present: &[Capabilities]) -> Result<()> {
    if joining.place == Place::Host && !host {
        return Err(Error::invalid(
            "host-network-at-run-time",
            "cannot connect container to host network - container must be created in host network mode",
        ));
    }
    let beside = |place| present.iter().any(|other| other.place == place);
    let company = !present.is_empty();
    if company && (joining.place == Place::Host || beside(Place::Host)) {
        return Err(Error::invalid(
            "namespace-shared",
            "container sharing network namespace with another container or host cannot be connected to any other network",
        ));
    }
    if company && (joining.place == Place::Alone || beside(Place::Alone)) {
        return Err(Error::invalid(
            "none-network-beside-others",
            "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        ));
    }
    Ok(())
}

/// Whether a sandbox may be taken off a network.
///
/// # Errors
/// `InvalidArgument` with Docker's sentence.
pub fn may_leave(leaving: Capabilities) -> Result<()> {
    if leaving.place == Place::Host {
        return Err(Error::invalid(
            "host-network-at-run-time",
            "container cannot be disconnected from host network or connected to host network",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
