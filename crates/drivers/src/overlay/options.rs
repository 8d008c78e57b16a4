//! The options of an overlay network, typed.

use super::encryption::{self, Way};
use crate::{
    Underlay,
    bridged::{MTU, read_mtu},
    option,
};
use std::net::IpAddr;
use vw_model::{Error, Kind, NetworkSpec, PROBE_PORT, Result};

const VNI: &str = "com.docker.network.driver.overlay.vxlanid_list";
const PORT: &str = "vethwork.overlay.port";
const MULTICAST: &str = "vethwork.overlay.multicast";
const KNOWN: [&str; 4] = [VNI, MTU, PORT, MULTICAST];

/// Docker's bare options, which mean something although they have no prefix.
pub(super) const ENCRYPTED: &str = "encrypted";
const MODE: &str = "overlay.mode";

/// The port that IANA gave VXLAN.
const DEFAULT_PORT: u16 = 4789;
/// A VXLAN network identifier has 24 bits; zero is left to those who need one that nobody has.
const MOST_VNI: u32 = (1 << 24) - 1;
/// What stands before an inner IP packet: Ethernet 14, VXLAN 8, UDP 8, and IPv4 20 or IPv6 40.
const OVERHEAD: (u32, u32) = (50, 70);
/// RFC 8200, section 5.
const LEAST_IPV6_MTU: u32 = 1280;

/// What the options of a network say, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OverlayOptions {
    /// The network's number on the wire; absent until the cluster gave it one.
    pub(super) vni: Option<u32>,
    /// The UDP port.
    pub(super) port: u16,
    /// The way that its tunnel takes.
    pub(super) way: Way,
    /// Whether what is for groups and for all goes to every host of the network.
    pub(super) multicast: bool,
    /// The MTU in bytes.
    pub(super) mtu: u32,
}

impl OverlayOptions {
    /// Reads a network's options.
    ///
    /// # Errors
    /// With Docker's sentence for a value that cannot be read; by name for an option that is not
    /// known or has no effect yet; and when it is to be encrypted and cannot be.
    pub(super) fn read(network: &NetworkSpec, underlay: &Underlay) -> Result<Self> {
        let options = &network.options;
        option::refuse_unknown(options, &KNOWN, "the driver overlay")?;
        let encrypted = option::value(options, ENCRYPTED, |text| match text {
            "" => Ok(true),
            text => option::boolean(text),
        })?;
        let way = match encrypted {
            Some(true) => encryption::way(network, underlay)?,
            _ => Way::clear(underlay),
        };
        if options.contains_key(MODE) {
            let why = "this version has VXLAN only: leave the option out";
            return Err(not_yet(MODE, why));
        }
        Ok(Self {
            vni: option::value(options, VNI, vni)?,
            port: option::value(options, PORT, port)?.unwrap_or(DEFAULT_PORT),
            multicast: multicast(network)?,
            mtu: mtu(network, &way)?,
            way,
        })
    }
}

/// Names what a network leaves open and all hosts must do alike: the port, and an MTU that this
/// host's link takes, whatever those of others do. What cannot be read is refused elsewhere.
pub(super) fn complete(network: &mut NetworkSpec, underlay: &Underlay) {
    if let Some(port) = underlay.port {
        let named = network.options.entry(PORT.to_owned());
        named.or_insert_with(|| port.to_string());
    }
    if let Ok(read) = OverlayOptions::read(network, underlay) {
        let named = network.options.entry(MTU.to_owned());
        named.or_insert_with(|| read.mtu.to_string());
    }
}

fn not_yet(key: &str, why: &str) -> Error {
    let sentence = format!("option {key} is not supported by the driver overlay: {why}");
    Error::new(Kind::Unsupported, "option-unsupported", sentence)
}

/// One number, although Docker's option takes a list: it made a tunnel of each subnet, and here all
/// subnets of a network are one link.
fn vni(text: &str) -> Result<u32, String> {
    let number: u32 = text.parse().map_err(|_| match text.contains(',') {
        true => "a network has one VXLAN id, whatever its subnets".to_owned(),
        false => format!("use one number from 1 to {MOST_VNI}"),
    })?;
    match (1..=MOST_VNI).contains(&number) {
        true => Ok(number),
        false => Err(format!("use one number from 1 to {MOST_VNI}")),
    }
}

/// Whether frames for many go to every host of a network.
pub(super) fn multicast(network: &NetworkSpec) -> Result<bool> {
    let asked = option::value(&network.options, MULTICAST, option::boolean)?;
    Ok(asked.unwrap_or_default())
}

fn port(text: &str) -> Result<u16, String> {
    let number: Option<u16> = text.parse().ok().filter(|port| *port != 0);
    match number {
        Some(PROBE_PORT) => Err(format!(
            "the hosts try the way to one another at {PROBE_PORT}: use another port"
        )),
        number => number.ok_or_else(|| "use a port from 1 to 65535".to_owned()),
    }
}

/// What a way leaves to what a tunnel carries.
fn inner_mtu(way: &Way) -> u32 {
    let overhead = match way.local {
        IpAddr::V4(_) => OVERHEAD.0,
        IpAddr::V6(_) => OVERHEAD.1,
    };
    way.mtu.saturating_sub(overhead)
}

/// The MTU in bytes that this underlay leaves to what a tunnel in clear text carries.
#[must_use]
pub fn clear_mtu(underlay: &Underlay) -> u32 {
    inner_mtu(&Way::clear(underlay))
}

/// Without an MTU of its own a network has what the way to the other hosts leaves of its.
fn mtu(network: &NetworkSpec, way: &Way) -> Result<u32> {
    let mtu = read_mtu(network, inner_mtu(way))?;
    if network.enable_ipv6 && mtu < LEAST_IPV6_MTU {
        let sentence = format!(
            "network {} cannot have IPv6: the link of {} leaves it an MTU of {mtu}, and IPv6 needs {LEAST_IPV6_MTU}; raise the link's MTU, or set {MTU} and let packets be fragmented",
            network.name, way.local
        );
        return Err(Error::invalid("mtu-invalid", sentence));
    }
    Ok(mtu)
}
