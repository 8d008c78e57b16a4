//! What lies on other hosts, and what the tunnel is told of it.

use super::{encryption::Way, network::tunnel_name, options::OverlayOptions};
use crate::{DriverContext, bridged::families};
use std::net::IpAddr;
use vw_hoststate::{Forward, Fragment, Neighbor, Netns, Object, Shortcut, Station};
use vw_model::{Error, Family, Kind, MacAddr, NetworkSpec, RemoteEndpoint, Result};

/// Every destination that has no entry of its own.
const ANY: MacAddr = MacAddr([0; 6]);

/// The way to an endpoint, and the answers to those who ask for its addresses.
///
/// # Errors
/// When its host is reached over the other IP version, or its interface has no address of one
/// station.
pub(super) fn endpoint(
    network: &NetworkSpec,
    remote: &RemoteEndpoint,
    options: &OverlayOptions,
    cx: &DriverContext,
) -> Result<Fragment> {
    if !remote.mac.is_unicast() {
        let sentence = format!(
            "invalid MAC address: {}: an interface needs a unicast one",
            remote.mac
        );
        return Err(Error::invalid("mac-invalid", sentence));
    }
    // Inside an encrypted tunnel all have addresses of one version, whatever carries it.
    if let Some(underlay) = &cx.underlay {
        check_family(remote.tunnel, underlay.addr)?;
    }
    let way = &options.way;
    let end = way.end(remote.host, remote.tunnel);
    let mut fragment = Fragment::default();
    fragment.insert(forward(network, remote.mac, end, way)?);
    if options.multicast {
        // What is meant for many goes to each host once, whoever of its endpoints asked for that.
        fragment.insert(forward(network, ANY, end, way)?);
    }
    let link = tunnel_name()?;
    for addr in everywhere(network, remote) {
        fragment.insert(Object::Neighbor(Neighbor {
            netns: Netns::Network(network.id),
            link: link.clone(),
            addr,
            mac: remote.mac,
        }));
    }
    if cx.no_shortcuts.is_none() {
        fragment.insert(Object::Shortcut(Shortcut {
            netns: Netns::Network(network.id),
            mac: remote.mac,
            link,
            station: Station::Elsewhere,
        }));
    }
    Ok(fragment)
}

/// Its addresses of the network's families.
pub(super) fn addresses(
    network: &NetworkSpec,
    remote: &RemoteEndpoint,
) -> impl Iterator<Item = IpAddr> {
    let families = families(network);
    let given = remote.addresses.iter().map(|net| net.addr());
    given.filter(move |addr| families.contains(&(Family::of(*addr), true)))
}

/// Those, and with IPv6 the one that every interface has besides.
fn everywhere(network: &NetworkSpec, remote: &RemoteEndpoint) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = addresses(network, remote).collect();
    if addresses.iter().any(IpAddr::is_ipv6) {
        addresses.push(IpAddr::V6(remote.mac.link_local()));
    }
    addresses
}

fn forward(network: &NetworkSpec, mac: MacAddr, dst: IpAddr, way: &Way) -> Result<Object> {
    check_family(dst, way.local)?;
    Ok(Object::Forward(Forward {
        netns: Netns::Network(network.id),
        link: tunnel_name()?,
        mac,
        dst,
    }))
}

/// A host's address must be of the IP version of this one's.
///
/// # Errors
/// `Conflict` where it is not.
pub(super) fn check_family(host: IpAddr, local: IpAddr) -> Result<()> {
    if Family::of(host) == Family::of(local) {
        return Ok(());
    }
    let sentence = format!(
        "host {host} cannot be reached from {local}: all hosts of a cluster must advertise addresses of one IP version"
    );
    Err(Error::new(
        Kind::Conflict,
        "underlay-family-mismatch",
        sentence,
    ))
}
