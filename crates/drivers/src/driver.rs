//! The contract of a driver.

use crate::{Capabilities, DriverContext};
use std::net::IpAddr;
use vw_hoststate::Fragment;
use vw_model::{
    EndpointSettings, EndpointSpec, Error, Family, IfName, NetworkSpec, PortMapping,
    RemoteEndpoint, Result, Scope,
};

/// A default route that a sandbox may use: the controller chooses one a family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// The next hop.
    pub via: IpAddr,
    /// The sandbox's interface that leads to it.
    pub link: IfName,
}

/// What an attachment needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttachmentPlan {
    /// The objects that the attachment owns.
    pub fragment: Fragment,
    /// Its candidates for the sandbox's default routes, IPv4 first.
    pub gateways: Vec<Gateway>,
}

/// A kind of network. Every method is pure: equal arguments give equal answers.
///
/// Options are read from the specification each time: that is a handful of look-ups in a small map,
/// and a driver without state needs no bringing up to date.
pub trait Driver: Send + Sync {
    /// The name that users give with `--driver`.
    fn name(&self) -> &'static str;

    /// How far its networks reach.
    fn scope(&self) -> Scope;

    /// What its networks can do.
    fn capabilities(&self) -> Capabilities;

    /// Checks a network before anything is leased or made for it; its address pools may be those
    /// asked for alone.
    ///
    /// # Errors
    /// With Docker's sentence where Docker refuses it; options under `com.docker.network.` or
    /// `vethwork.` that the driver does not know are refused by name.
    fn validate(&self, network: &NetworkSpec, cx: &DriverContext) -> Result<()>;

    /// Checks what is asked for an endpoint of a network.
    ///
    /// # Errors
    /// As [`Self::validate`], for the endpoint's driver options.
    fn validate_endpoint(&self, network: &NetworkSpec, settings: &EndpointSettings) -> Result<()>;

    /// Whether the network needs an address of a family for its router.
    fn needs_router(&self, _network: &NetworkSpec, _family: Family) -> bool {
        false
    }

    /// The next hop that endpoints of the network get for a family.
    fn gateway(&self, _network: &NetworkSpec, _family: Family) -> Option<IpAddr> {
        None
    }

    /// What interfaces are called inside sandboxes, before their number.
    fn interface_prefix<'a>(&self, _network: &'a NetworkSpec) -> &'a str {
        "eth"
    }

    /// Whether the network needs a number on the wire that no other network of the cluster has.
    fn numbered(&self, _network: &NetworkSpec) -> bool {
        false
    }

    /// The name that an endpoint's interface must have inside its sandbox, where one was asked for.
    ///
    /// # Errors
    /// When it cannot be an interface's name.
    fn interface_name(&self, _settings: &EndpointSettings) -> Result<Option<IfName>> {
        Ok(None)
    }

    /// The link of this host that the network alone may use (its bridge).
    fn host_link(&self, _network: &NetworkSpec) -> Option<IfName> {
        None
    }

    /// Whether endpoints of the network here may reach each other.
    fn lets_neighbours_talk(&self, _network: &NetworkSpec, _cx: &DriverContext) -> bool {
        true
    }

    /// Whether ports can be published on the network over a family.
    fn publishes(&self, _network: &NetworkSpec, _family: Family, _cx: &DriverContext) -> bool {
        false
    }

    /// The same to one endpoint of it, which may lack a family that the network has.
    fn publishes_to(
        &self,
        network: &NetworkSpec,
        _endpoint: &EndpointSpec,
        family: Family,
        cx: &DriverContext,
    ) -> bool {
        self.publishes(network, family, cx)
    }

    /// The host addresses of ports that are published without one: those of families that are
    /// not named are not published on. An unspecified address is every one of its family.
    fn default_hosts(&self, _network: &NetworkSpec, _cx: &DriverContext) -> Vec<IpAddr> {
        Vec::new()
    }

    /// What the network itself needs.
    ///
    /// # Errors
    /// As [`Self::validate`], and when a pool that it needs is missing.
    fn plan_network(&self, network: &NetworkSpec, cx: &DriverContext) -> Result<Fragment>;

    /// What one endpoint in its sandbox needs, apart from the sandbox's default routes.
    ///
    /// # Errors
    /// As [`Self::validate_endpoint`].
    fn plan_attachment(
        &self,
        network: &NetworkSpec,
        endpoint: &EndpointSpec,
        cx: &DriverContext,
    ) -> Result<AttachmentPlan>;

    /// Puts into a new network what the daemon's settings say of it and other hosts must know.
    fn complete(&self, _network: &mut NetworkSpec, _cx: &DriverContext) {}

    /// What an endpoint of the network on another host needs here, and what its host does, the same for
    /// each of that one's endpoints.
    ///
    /// # Errors
    /// As [`Self::plan_network`].
    fn plan_remote(
        &self,
        _network: &NetworkSpec,
        _remote: &RemoteEndpoint,
        _cx: &DriverContext,
    ) -> Result<Fragment> {
        Ok(Fragment::default())
    }

    /// Whether a sandbox on the network needs an endpoint on the gateway bridge too, for the
    /// outside world and for published ports.
    fn companion(&self, _network: &NetworkSpec) -> bool {
        false
    }

    /// Whether a host can lead to services of the network: one that spans hosts must ask for an
    /// address that every host has on its own alone.
    fn balances(&self, _network: &NetworkSpec) -> bool {
        false
    }

    /// Whether what is for the network may pass no wire in clear text: who is on it sends that into
    /// it or not at all, also while it is off it for a time.
    fn encrypts(&self, _network: &NetworkSpec) -> bool {
        false
    }

    /// What people on this host should know of a network that stands here, as a sentence: something
    /// that works less well than it might.
    fn drawback(&self, _network: &NetworkSpec, _cx: &DriverContext) -> Option<String> {
        None
    }

    /// What networks of the driver have in common on a host, for as long as this one stands on it:
    /// the same for each of them, or nothing.
    ///
    /// # Errors
    /// As [`Self::plan_network`].
    fn plan_shared(&self, _network: &NetworkSpec, _cx: &DriverContext) -> Result<Fragment> {
        Ok(Fragment::default())
    }

    /// What neighbours on the network need where they are led to an endpoint that is on it too by an
    /// address that it has on another one: it may answer them directly, past the translation.
    fn plan_beside(
        &self,
        _network: &NetworkSpec,
        _elsewhere: &[IpAddr],
        _cx: &DriverContext,
    ) -> Fragment {
        Fragment::default()
    }

    /// What published ports of an endpoint need.
    ///
    /// # Errors
    /// When the network cannot publish one of them.
    fn plan_ports(
        &self,
        network: &NetworkSpec,
        _endpoint: &EndpointSpec,
        mappings: &[PortMapping],
        _cx: &DriverContext,
    ) -> Result<Fragment> {
        match mappings.first() {
            None => Ok(Fragment::default()),
            Some(mapping) => Err(cannot_publish(network, mapping)),
        }
    }
}

/// Says that a network publishes no ports at all, or none of that family.
pub(crate) fn cannot_publish(network: &NetworkSpec, mapping: &PortMapping) -> Error {
    Error::new(
        vw_model::Kind::Unsupported,
        "port-not-publishable",
        format!(
            "network {} cannot publish {} on {}: publish it on a network and over an IP version that has rules of ours",
            network.name, mapping.container, mapping.host
        ),
    )
}
