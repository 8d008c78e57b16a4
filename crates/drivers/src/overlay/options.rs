//! The options of an overlay network, typed.

use super::encryption::{self, Way};
use crate::{
    Underlay,
    bridged::{MTU, read_mtu},
    option,
};
use std::net::IpAddr;
use vw_model::{Error, NetworkSpec, PROBE_PORT, Result, kept_port};

const VNI: &str = "com.docker.network.driver.overlay.vxlanid_list";
const PORT: &str = "vethwork.overlay.port";
const MULTICAST: &str = "vethwork.overlay.multicast";
const KNOWN: [&str; 5] = [VNI, MTU, PORT, MULTICAST, MODE];
/// How packets pass between hosts, and the same by another name.
pub(super) const MODE: &str = "vethwork.overlay.mode";
const BARE_MODE: &str = "overlay.mode";

/// Docker's bare option, which means something although it has no prefix.
pub(super) const ENCRYPTED: &str = "encrypted";

/// The port that IANA gave VXLAN.
pub(super) const DEFAULT_PORT: u16 = 4789;
/// A VXLAN network identifier has 24 bits; zero is left to those who need one that nobody has.
const MOST_VNI: u32 = (1 << 24) - 1;
/// What stands before an inner IP packet: Ethernet 14, VXLAN 8, UDP 8, and IPv4 20 or IPv6 40.
const OVERHEAD: (u32, u32) = (50, 70);
/// RFC 8200, section 5.
const LEAST_IPV6_MTU: u32 = 1280;

/// How the packets of a network pass between hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// In VXLAN.
    Vxlan,
    /// As they are, by routes.
    Route,
}

/// How a network's packets pass between hosts.
///
/// # Errors
/// When there is no such way, or the option's two names say different ones.
pub(super) fn mode(network: &NetworkSpec) -> Result<Mode> {
    let read = |key| {
        option::value(&network.options, key, |text| match text {
            "vxlan" => Ok(Mode::Vxlan),
            "route" => Ok(Mode::Route),
            _ => Err("use vxlan or route".to_owned()),
        })
    };
    match (read(MODE)?, read(BARE_MODE)?) {
        (Some(one), Some(other)) if one != other => {
            let sentence = format!("options {MODE} and {BARE_MODE} say different things: give one");
            Err(Error::invalid("option-invalid", sentence))
        }
        (mode, bare) => Ok(mode.or(bare).unwrap_or(Mode::Vxlan)),
    }
}

/// Checks the options of a network whose packets pass by routes.
///
/// # Errors
/// As [`OverlayOptions::read`]; and by name for an option that is about tunnels.
pub(super) fn check_routed(network: &NetworkSpec, underlay: &Underlay) -> Result<()> {
    let options = &network.options;
    option::refuse_unknown(options, &KNOWN, "the driver overlay")?;
    let multicast = option::value(options, MULTICAST, option::boolean)?;
    let tunnelled = [
        (VNI, options.contains_key(VNI)),
        (PORT, options.contains_key(PORT)),
        (MULTICAST, multicast == Some(true)),
        (ENCRYPTED, encrypted(network)?),
    ];
    if let Some((key, _)) = tunnelled.iter().find(|(_, given)| *given) {
        let sentence = format!(
            "option {key} is about tunnels, and network {} has none: leave it out, or {MODE}=route",
            network.name
        );
        return Err(Error::invalid("option-conflict", sentence));
    }
    routed_mtu(network, underlay).map(|_| ())
}

/// The MTU in bytes of a network whose packets pass by routes: that of the link that they take, or
/// a smaller one that the network names. Nothing larger gets out of this host, nor into it, whatever
/// the links of others take.
///
/// # Errors
/// As [`OverlayOptions::read`] about the MTU.
pub(super) fn routed_mtu(network: &NetworkSpec, underlay: &Underlay) -> Result<u32> {
    let mtu = read_mtu(network, underlay.mtu)?.min(underlay.mtu);
    carries_ipv6(network, mtu, underlay.addr, "raise the link's MTU")
}

/// Whether a network is to be encrypted.
///
/// # Errors
/// When the option cannot be read.
pub(super) fn encrypted(network: &NetworkSpec) -> Result<bool> {
    let given = option::value(&network.options, ENCRYPTED, |text| match text {
        "" => Ok(true),
        text => option::boolean(text),
    })?;
    Ok(given.unwrap_or_default())
}

/// What the options of a network in VXLAN say, defaults filled in.
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
        let way = match encrypted(network)? {
            true => encryption::way(network, underlay)?,
            false => Way::clear(underlay),
        };
        Ok(Self {
            vni: option::value(options, VNI, vni)?,
            port: option::value(options, PORT, port)?.unwrap_or(DEFAULT_PORT),
            multicast: multicast(network)?,
            mtu: mtu(network, inner_mtu(&way), way.local)?,
            way,
        })
    }
}

/// Names what a network leaves open and all hosts must do alike: the port, and an MTU that this
/// host's link takes, whatever those of others do. What cannot be read is refused elsewhere.
pub(super) fn complete(network: &mut NetworkSpec, underlay: &Underlay) {
    let mode = mode(network);
    if let (Some(port), Ok(Mode::Vxlan)) = (underlay.port, &mode) {
        let named = network.options.entry(PORT.to_owned());
        named.or_insert_with(|| port.to_string());
    }
    let mtu = mode.and_then(|mode| match mode {
        Mode::Vxlan => OverlayOptions::read(network, underlay).map(|read| read.mtu),
        Mode::Route => routed_mtu(network, underlay),
    });
    if let Ok(mtu) = mtu {
        let named = network.options.entry(MTU.to_owned());
        named.or_insert_with(|| mtu.to_string());
    }
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
    let port = number.ok_or_else(|| "use a port from 1 to 65535".to_owned())?;
    match port {
        PROBE_PORT => kept_port(port).map_or(Ok(port), Err),
        port => Ok(port),
    }
}

/// Checks what a new network says of its tunnels.
///
/// # Errors
/// As [`OverlayOptions::read`]; and when hosts may have the port for encrypted networks. One that stands
/// is not asked: on a host that has the port free it does as it should.
pub(super) fn check_tunnelled(network: &NetworkSpec, underlay: &Underlay) -> Result<()> {
    option::value(&network.options, PORT, |text| {
        kept_port(port(text)?).map_or(Ok(()), Err)
    })?;
    OverlayOptions::read(network, underlay).map(drop)
}

/// What a way leaves to what a tunnel carries.
pub(super) fn inner_mtu(way: &Way) -> u32 {
    let overhead = match way.local {
        IpAddr::V4(_) => OVERHEAD.0,
        IpAddr::V6(_) => OVERHEAD.1,
    };
    way.mtu.saturating_sub(overhead)
}

/// That a network in VXLAN was made where the link to the other hosts takes more at once, if so.
pub(super) fn too_wide(network: &NetworkSpec, underlay: &Underlay) -> Option<String> {
    let options = OverlayOptions::read(network, underlay).ok()?;
    let left = inner_mtu(&options.way);
    let more = options.mtu.checked_sub(left).filter(|more| *more > 0)?;
    Some(format!(
        "network {} has an MTU of {}, of which {}, this host's link to the others, leaves {left}: larger packets are cut up, or lost on the way; raise the MTU of {} to {} and start the daemon again, or make the network anew with -o {MTU}={left}",
        network.name,
        options.mtu,
        underlay.link,
        underlay.link,
        underlay.mtu + more
    ))
}

/// Without an MTU of its own a network has what the way to the other hosts, from this address,
/// leaves of its.
fn mtu(network: &NetworkSpec, left: u32, local: IpAddr) -> Result<u32> {
    let mtu = read_mtu(network, left)?;
    let remedy = format!("raise the link's MTU, or set {MTU} and let packets be fragmented");
    carries_ipv6(network, mtu, local, &remedy)
}

fn carries_ipv6(network: &NetworkSpec, mtu: u32, local: IpAddr, remedy: &str) -> Result<u32> {
    if network.enable_ipv6 && mtu < LEAST_IPV6_MTU {
        let sentence = format!(
            "network {} cannot have IPv6: the link of {local} leaves it an MTU of {mtu}, and IPv6 needs {LEAST_IPV6_MTU}; {remedy}",
            network.name
        );
        return Err(Error::invalid("mtu-invalid", sentence));
    }
    Ok(mtu)
}
