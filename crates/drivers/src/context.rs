//! What drivers need to know besides specifications.

use std::net::{IpAddr, Ipv6Addr};
use vw_model::{Family, IfName, IpNet};

/// Who carries the packets of encrypted networks on a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Carrier {
    /// The kernel's WireGuard.
    Kernel,
    /// A process of ours, in user space.
    #[default]
    UserSpace,
}

/// How this host reaches the others of its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Underlay {
    /// The address that tunnelled packets are sent from and taken at.
    pub addr: IpAddr,
    /// The length of its prefix: the hosts in there are on one segment with this one.
    pub prefix: u8,
    /// The link that has it.
    pub link: IfName,
    /// The MTU in bytes of that link.
    pub mtu: u32,
    /// Whether segments that come in by that link are joined before a tunnel sees them.
    pub merges: bool,
    /// The UDP port of tunnels of networks that are made on this host and name none.
    pub port: Option<u16>,
    /// This host's address inside the encrypted tunnel; `None` where it has none.
    pub inner: Option<Ipv6Addr>,
    /// Who carries packets in there.
    pub carrier: Carrier,
    /// This host's link-local address that the others know from its id; `None` while there is no
    /// id yet.
    pub link_local: Option<Ipv6Addr>,
}

impl Underlay {
    /// Whether a host is on one segment with this one, so that it can be a next hop.
    #[must_use]
    pub fn is_beside(&self, host: IpAddr) -> bool {
        IpNet::new(self.addr, self.prefix).is_ok_and(|net| net.contains(&host))
    }
}

/// The daemon's settings and the host's state that plans depend on: plain data, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverContext {
    /// The MTU in bytes of networks that name none.
    pub mtu: u32,
    /// `--icc`: whether neighbours on the predefined bridge network may talk.
    pub icc: bool,
    /// `--ip-masq`: whether what leaves the predefined bridge network is masqueraded.
    pub ip_masq: bool,
    /// `--ip`: where ports of the predefined bridge network are published.
    pub host_binding: Option<IpAddr>,
    /// `--iptables`: whether we make rules at all.
    pub iptables: bool,
    /// `--ip6tables`: whether we make IPv6 rules too.
    pub ip6tables: bool,
    /// Whether bridged IPv4 passes the IP hooks (`bridge-nf-call-iptables`).
    pub bridge_netfilter: bool,
    /// Whether bridged IPv6 does (`bridge-nf-call-ip6tables`).
    pub bridge_netfilter6: bool,
    /// Whether the kernel has `br_netfilter` at all: in a new namespace its switches are on, whatever
    /// they are here.
    pub br_netfilter: bool,
    /// Whether the kernel has IPv6 (`/proc/sys/net/ipv6` is there).
    pub ipv6: bool,
    /// The way to the other hosts; `None` outside a cluster.
    pub underlay: Option<Underlay>,
    /// Why frames can take no shortcut past the bridge of an overlay network; `None` where they
    /// can.
    pub no_shortcuts: Option<String>,
    /// Why this host does not translate IPv6 into IPv4 ([`Translator`](vw_hoststate::Translator)), and
    /// what would help; `None` where it does.
    pub no_translation: Option<String>,
}

impl Default for DriverContext {
    /// Docker's defaults on a host with IPv6 and without `br_netfilter`, whose kernel translates
    /// nothing.
    fn default() -> Self {
        Self {
            mtu: 1500,
            icc: true,
            ip_masq: true,
            host_binding: None,
            iptables: true,
            ip6tables: true,
            bridge_netfilter: false,
            bridge_netfilter6: false,
            br_netfilter: false,
            ipv6: true,
            underlay: None,
            no_shortcuts: None,
            no_translation: Some("nobody tried".to_owned()),
        }
    }
}

impl DriverContext {
    /// Whether we make rules for a family.
    #[must_use]
    pub const fn filters(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.iptables,
            Family::V6 => self.iptables && self.ip6tables,
        }
    }
}
