//! The one executor of plans in the kernel, and a fake with the same manners.
//!
//! Owns every effect on links, addresses, routes, neighbours, sysctls, nftables and pinned
//! namespaces. It must not decide anything: what to do is in the [`Plan`](vw_hoststate::Plan).
//! Synchronous; namespaces are entered on threads of its own only.

mod contract;

pub use contract::{
    Failure, HostFacts, HostRoute, Kernel, KernelError, Observed, PortClaim, SocketKind,
    SocketPlace,
};
