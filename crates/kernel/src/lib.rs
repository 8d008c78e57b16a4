//! The one executor of plans in the kernel, and a fake with the same manners.
//!
//! Owns every effect on links, addresses, routes, neighbours, sysctls, nftables and pinned
//! namespaces. It must not decide anything: what to do is in the [`Plan`](vw_hoststate::Plan).
//! Synchronous; namespaces are entered on threads of its own only.

mod alarm;
mod announce;
mod bpf;
mod claims;
mod conntrack;
mod contract;
mod facts;
pub mod fake;
mod filter;
mod holders;
mod linux;
mod monitor;
mod netlink;
mod netns;
mod nft;
mod observe;
mod peers;
mod reaper;
mod shortcuts;
mod sockets;
mod solicited;
mod sysctl;
mod translator;

pub use contract::{
    Beside, Failure, FrameSocket, HostFacts, HostRoute, Kernel, KernelError, Leads, Led, LedBy,
    Observed, PortClaim, PortHolder, SocketKind, SocketPlace, TunnelFacts, TunnelKey,
};
pub use linux::{Config, LinuxKernel};
pub use monitor::{AddressMonitor, LinkEvent, LinkMonitor};
pub use nft::{Changed, Monitor, Nft, Refused, legacy_chains};
