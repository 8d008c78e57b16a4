//! Network drivers: what a network, an attachment or a published port needs on the host.
//!
//! Owns [`Driver`], the drivers themselves and their registry. A driver plans: it turns
//! specifications into objects and must not touch the kernel, keep state or lease anything.

mod bridge;
mod bridged;
mod capability;
mod cluster;
mod context;
mod driver;
mod option;
mod overlay;
mod registry;
mod single;
mod translator;

pub use capability::{Capabilities, Place, may_join, may_leave};
pub use cluster::plan_host;
pub use context::{Carrier, DriverContext, Underlay};
pub use driver::{AttachmentPlan, Driver, Gateway};
pub use overlay::{
    ProbeNetwork, plan_tunnel, plan_tunnel_key, plan_tunnel_peer, tunnel_link, tunnel_mtu,
};
pub use registry::{find, names};
pub use translator::{may_translate, plan as plan_translator, translates};

#[cfg(test)]
mod sample;
