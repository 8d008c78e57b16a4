//! The only orchestrator: one request at a time becomes a [`Command`], is validated, recorded,
//! planned, applied and told to those who listen.
//!
//! Owns the order of effects (intent recorded before, outcome after), the locks, the sandbox plan
//! and reconciliation. It must not know a surface's words, a driver's rules or how the kernel is
//! talked to. Synchronous: surfaces call it from threads that may block.

mod addresses;
mod apply;
mod attach;
mod checks;
mod claim;
mod close;
mod cluster;
pub mod command;
mod config;
mod connect;
mod containers;
mod controller;
mod detach;
mod dispatch;
mod etc_files;
pub mod event;
mod execs;
mod gateway_bridge;
mod holders;
mod host_resolver;
mod images;
mod info;
mod naming;
mod networks;
mod patience;
mod ports;
mod predefined;
mod records;
mod registry;
mod repair;
mod resolv_file;
#[cfg(test)]
mod sample;
mod sandbox_plan;
mod sandboxes;
mod service_command;
mod services;
mod start;
mod step;
mod streams;
mod translation;
pub mod view;
mod watch;

pub use cluster::{KernelTunnel, Tunnel, carrier, encryption_port, refuse_to_leave_cluster};
pub use command::Command;
pub use config::{BridgeConfig, Config};
pub use controller::{Controller, Membership, Parts, kernel_error};
pub use translation::untranslated;
pub use vw_cluster::{Answers, Pulse};
