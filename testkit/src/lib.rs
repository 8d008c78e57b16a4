//! What the tests of vethwork stand on: hosts made of network namespaces, daemons in
//! them, traffic between them, and a look at what a test left behind.
//!
//! Owns every name that begins with `vwt-`: namespaces, folders and what lies in
//! them, swept when a former run was interrupted. It never touches the network of
//! the namespace that it runs in, and asserts only what an outsider can see:
//! packets, answers of the API, kernel state; never a crate's internals.
//!
//! A fixture that cannot be set up panics with what failed: a test has no better answer.
//!
//! ```no_run
//! use vw_testkit::{Daemon, Lab, require_root, traffic};
//!
//! # fn test() {
//! require_root!();
//! let lab = Lab::new();
//! let host = lab.host("a");
//! let daemon = Daemon::start(&lab, &host);
//! daemon.docker(["network", "create", "blue"]).ok();
//! assert!(traffic::ping(&host, "127.0.0.1"));
//! # }
//! ```

mod cgroups;
pub mod cluster_stores;
mod daemon;
pub mod engines;
mod eventually;
pub mod gro;
mod host;
pub mod http;
mod lab;
mod mounts;
mod process;
mod reclaim;
mod rootfs;
mod skip;
pub mod sleeper;
mod snapshot;
pub mod traffic;
pub mod wire;

#[cfg(test)]
mod tests;

pub use daemon::Daemon;
pub use eventually::{eventually, poll, stays};
pub use host::Host;
pub use lab::Lab;
pub use mounts::own_mounts;
pub use process::{Output, Running};
pub use reclaim::sweep;
pub use skip::{is_root, missing_program, report};
pub use snapshot::Snapshot;
