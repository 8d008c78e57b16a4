//! Address management: which subnets networks hold, and who holds which address in them.
//!
//! Owns the choice of subnets from the default pools, the validation of those that users ask
//! for, and the leases. It must not do I/O, take a lock, or persist anything: the caller locks
//! [`Ipam`] for the length of a call, stores what a call returned, and plays it back at start
//! with [`Ipam::restore_network`] and [`Ipam::reserve`].

mod block;
mod config;
mod defaults;
mod error;
mod free;
mod ipam;
mod pool;
mod span;

pub use block::{Block, Division};
pub use config::{PoolConfig, PoolRequest, parse_configs};
pub use defaults::{DefaultPool, DefaultPools, ula_prefix};
pub use error::Error;
pub use ipam::{Ipam, NetworkRequest};
pub use pool::Holder;
