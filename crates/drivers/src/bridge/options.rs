//! The options of a bridge network, typed.

use crate::{
    DriverContext,
    bridged::{MTU, read_mtu},
    option,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use vw_firewall::GatewayMode;
use vw_model::{Error, Family, IfName, NetworkSpec, Result};

const NAME: &str = "com.docker.network.bridge.name";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const ICC: &str = "com.docker.network.bridge.enable_icc";
const BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
const MODE_V4: &str = "com.docker.network.bridge.gateway_mode_ipv4";
const MODE_V6: &str = "com.docker.network.bridge.gateway_mode_ipv6";
const INHIBIT_V4: &str = "com.docker.network.bridge.inhibit_ipv4";
const DEFAULT_BRIDGE: &str = "com.docker.network.bridge.default_bridge";
const IFACE_PREFIX: &str = "com.docker.network.container_iface_prefix";
const HOST_V4: &str = "com.docker.network.host_ipv4";
const HOST_V6: &str = "com.docker.network.host_ipv6";

const KNOWN: [&str; 12] = [
    NAME,
    MASQUERADE,
    ICC,
    BINDING,
    MODE_V4,
    MODE_V6,
    INHIBIT_V4,
    DEFAULT_BRIDGE,
    MTU,
    IFACE_PREFIX,
    HOST_V4,
    HOST_V6,
];

/// The predefined network's bridge.
const DEFAULT_NAME: &str = "vw0";
/// The bridge that is a way out for networks without one: its network's own name.
const GATEWAY_NAME: &str = "vw_gwbridge";
/// Bridges that we name ourselves, and the host ends of pairs, begin so.
const OUR_PREFIX: &str = "vw";

/// What the options of a network say, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BridgeOptions {
    /// The bridge.
    pub(crate) bridge: IfName,
    /// It is somebody else's (`--bridge`): it and its addresses are left as they are.
    pub(crate) foreign: bool,
    /// Whether what leaves is masqueraded.
    pub(crate) masquerade: bool,
    /// Whether neighbours may talk.
    pub(crate) icc: bool,
    /// Where ports are published that name no host address.
    pub(crate) host_binding: Option<IpAddr>,
    /// How it is reached over IPv4.
    pub(crate) mode4: GatewayMode,
    /// How it is reached over IPv6.
    pub(crate) mode6: GatewayMode,
    /// The bridge gets no IPv4 address; another machine on it is the router.
    pub(crate) inhibit_ipv4: bool,
    /// The MTU in bytes.
    pub(crate) mtu: u32,
    /// The source address of what leaves by IPv4, instead of the outgoing interface's.
    pub(crate) snat4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub(crate) snat6: Option<Ipv6Addr>,
}

impl BridgeOptions {
    /// Reads a network's options.
    ///
    /// # Errors
    /// With Docker's sentence for a value that cannot be read or cannot be meant; by name for an
    /// option that is not known.
    pub(crate) fn read(network: &NetworkSpec, cx: &DriverContext) -> Result<Self> {
        let options = &network.options;
        option::refuse_unknown(options, &KNOWN, "the driver bridge")?;
        let flag = |key, default| {
            let given = option::value(options, key, option::boolean)?;
            Ok::<_, Error>(given.unwrap_or(default))
        };
        // As Docker's, these settings of the daemon are about the predefined network alone.
        let of_daemon = |setting: bool| !network.predefined || setting;
        let default = flag(DEFAULT_BRIDGE, false)?;
        if default && !network.predefined {
            return Err(Error::invalid(
                "option-invalid",
                format!("option {DEFAULT_BRIDGE} belongs to the predefined network bridge"),
            ));
        }
        let binding = cx.host_binding.filter(|_| network.predefined);
        let bridge = bridge_name(network)?;
        let read = Self {
            foreign: default && bridge.as_str() != DEFAULT_NAME,
            bridge,
            masquerade: flag(MASQUERADE, of_daemon(cx.ip_masq))?,
            icc: flag(ICC, of_daemon(cx.icc))?,
            host_binding: option::value(options, BINDING, option::address)?.or(binding),
            mode4: option::value(options, MODE_V4, mode)?.unwrap_or_default(),
            mode6: option::value(options, MODE_V6, mode)?.unwrap_or_default(),
            inhibit_ipv4: flag(INHIBIT_V4, false)?,
            mtu: read_mtu(network, cx.mtu)?,
            snat4: option::value(options, HOST_V4, option::of_type)?,
            snat6: option::value(options, HOST_V6, option::of_type)?,
        };
        option::value(options, IFACE_PREFIX, prefix)?;
        if [read.mode4, read.mode6].contains(&GatewayMode::Isolated) && !network.internal {
            return Err(Error::invalid(
                "gateway-mode-needs-internal",
                "gateway mode 'isolated' can only be used for an internal network",
            ));
        }
        Ok(read)
    }

    /// How it is reached over a family.
    pub(crate) const fn mode(&self, family: Family) -> GatewayMode {
        match family {
            Family::V4 => self.mode4,
            Family::V6 => self.mode6,
        }
    }

    /// Whether the bridge has an address of a family: this host is on the network.
    pub(crate) fn host_takes_part(&self, family: Family) -> bool {
        let inhibited = family == Family::V4 && self.inhibit_ipv4;
        self.mode(family) != GatewayMode::Isolated && !inhibited
    }
}

/// Whether somebody routes for the network: not where it is isolated, and not where it is internal
/// and has no host on it. The options were checked when the network was made.
pub(crate) fn needs_router(network: &NetworkSpec, family: Family) -> bool {
    let key = match family {
        Family::V4 => MODE_V4,
        Family::V6 => MODE_V6,
    };
    let mode = option::value(&network.options, key, mode);
    let inhibited = option::value(&network.options, INHIBIT_V4, option::boolean);
    let nobody = family == Family::V4 && network.internal && matches!(inhibited, Ok(Some(true)));
    !matches!(mode, Ok(Some(GatewayMode::Isolated))) && !nobody
}

/// What interfaces are called inside sandboxes; the option was checked when the network was made.
pub(crate) fn interface_prefix(network: &NetworkSpec) -> &str {
    let given = network.options.get(IFACE_PREFIX);
    given.map_or("eth", String::as_str)
}

/// The bridge of a network: as asked for, or named after what it belongs to.
pub(crate) fn bridge_name(network: &NetworkSpec) -> Result<IfName> {
    let own = || match network.predefined {
        true if network.name.as_str() == GATEWAY_NAME => GATEWAY_NAME.parse(),
        true => DEFAULT_NAME.parse(),
        false => format!("{OUR_PREFIX}-{}", network.id.short()).parse(),
    };
    match option::value(&network.options, NAME, option::name::<IfName>)? {
        None => own(),
        Some(name) if name.as_str().starts_with(OUR_PREFIX) && own()? != name => {
            let sentence = format!(
                "bridge name {name} is taken: names that begin with {OUR_PREFIX} are our own"
            );
            Err(Error::invalid("bridge-name-reserved", sentence))
        }
        Some(name) => Ok(name),
    }
}

fn mode(text: &str) -> Result<GatewayMode, String> {
    match text {
        "nat" => Ok(GatewayMode::Nat),
        "nat-unprotected" => Ok(GatewayMode::NatUnprotected),
        "routed" => Ok(GatewayMode::Routed),
        "isolated" => Ok(GatewayMode::Isolated),
        _ => Err(format!("unknown gateway mode {text}")),
    }
}

/// Room for three digits must be left, and the name must not end in one.
fn prefix(text: &str) -> Result<(), String> {
    option::name::<IfName>(&format!("{text}999"))?;
    if text.is_empty() || text.ends_with(|end: char| end.is_ascii_digit()) {
        return Err("use 1 to 12 bytes that do not end in a digit".to_owned());
    }
    Ok(())
}
