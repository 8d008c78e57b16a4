//! The networks by which hosts try the way to one another: a VXLAN device each, in a namespace of
//! its own, which leads to the other hosts and to nobody else.
//!
//! Owns what stands for them. They are no networks that anybody sees: they have no bridge, no
//! addresses and no endpoints, and what passes in them is no IP.

use super::{
    encryption::{Way, tunnel_way},
    network::tunnel_name,
    options::{DEFAULT_PORT, inner_mtu},
};
use crate::{DriverContext, Underlay};
use vw_hoststate::{
    Forward, Fragment, Link, LinkKind, Namespace, NamespaceSource, Netns, Object, VxlanOptions,
};
use vw_model::{
    Family, HostId, IfName, NetworkId, PROBE_NETWORKS, RemoteHost, Result, station_address,
};

/// The number that no network has. What has it is never cut up on its way over IPv4 (see
/// [`VxlanOptions::is_whole`]).
const VNI: u32 = 0;

/// A network by which hosts try the way to one another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeNetwork {
    /// Whose namespace it lies in.
    pub id: NetworkId,
    /// The device there.
    pub link: IfName,
    /// The UDP port.
    pub port: u16,
    /// Its MTU in bytes: that of networks whose packets take the same way.
    pub mtu: u32,
    way: Way,
}

impl ProbeNetwork {
    /// That of networks in clear text; `None` outside a cluster.
    ///
    /// # Errors
    /// Never: its device's name is an interface's.
    pub fn clear(cx: &DriverContext) -> Result<Option<Self>> {
        let underlay = cx.underlay.as_ref();
        let of = |underlay: &Underlay| {
            let port = underlay.port.unwrap_or(DEFAULT_PORT);
            Self::by(PROBE_NETWORKS[0], Way::clear(underlay), port)
        };
        underlay.map(of).transpose()
    }

    /// That inside the encrypted tunnel; `None` where this host has none.
    ///
    /// # Errors
    /// As [`Self::clear`].
    pub fn encrypted(cx: &DriverContext) -> Result<Option<Self>> {
        let way = cx.underlay.as_ref().and_then(tunnel_way);
        let of = |way| Self::by(PROBE_NETWORKS[1], way, DEFAULT_PORT);
        way.map(of).transpose()
    }

    fn by(id: NetworkId, way: Way, port: u16) -> Result<Self> {
        Ok(Self {
            id,
            link: tunnel_name()?,
            port,
            mtu: inner_mtu(&way),
            way,
        })
    }

    /// What stands on this host for it, whoever the others are.
    #[must_use]
    pub fn plan(&self, this: HostId) -> Fragment {
        let netns = Netns::Network(self.id);
        let mut fragment = Fragment::default();
        fragment.insert(Object::Namespace(Namespace {
            netns,
            source: NamespaceSource::New,
        }));
        fragment.insert(Object::Link(Link {
            netns,
            name: self.link.clone(),
            kind: LinkKind::Vxlan(VxlanOptions {
                vni: VNI,
                port: self.port,
                local: self.way.local,
                gro: true,
            }),
            mac: Some(station_address(this)),
            mtu: self.mtu,
            port: None,
            alias: "vethwork:probe".to_owned(),
        }));
        fragment
    }

    /// The way to another host; nothing where that is reached over the other IP version.
    #[must_use]
    pub fn plan_host(&self, host: &RemoteHost) -> Option<Object> {
        let dst = self.way.end(host.id, host.tunnel);
        let forward = Forward {
            netns: Netns::Network(self.id),
            link: self.link.clone(),
            mac: station_address(host.id),
            dst,
        };
        (Family::of(dst) == Family::of(self.way.local)).then_some(Object::Forward(forward))
    }
}

#[cfg(test)]
mod tests;
