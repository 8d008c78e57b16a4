//! Where a server listens: the machine's loopback, or an address of a host of the laboratory.
//!
//! Owns the choice of free ports.

use crate::{Host, Output, Running, process};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::Command,
};

/// An address, and the namespace that has it.
#[derive(Debug, Clone)]
pub struct Place {
    host: Option<Host>,
    address: IpAddr,
}

impl Place {
    /// The loopback of the machine; no root is needed.
    #[must_use]
    pub fn machine() -> Self {
        Self {
            host: None,
            address: Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// An address that a host has: `Place::host(&a, "192.0.2.1")`.
    #[track_caller]
    #[must_use]
    pub fn host(host: &Host, address: &str) -> Self {
        Self {
            host: Some(host.clone()),
            address: address.parse().expect("the test gives an address"),
        }
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Its address with a port, as a URL wants it.
    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        (self.address, port).into()
    }

    /// `N` ports that nothing listens at, all different.
    #[track_caller]
    pub(crate) fn free_ports<const N: usize>(&self) -> [u16; N] {
        self.enter(|| {
            let held = [(); N].map(|()| TcpListener::bind((self.address, 0)));
            held.map(|listener| {
                let address = listener.and_then(|listener| listener.local_addr());
                address
                    .unwrap_or_else(|error| panic!("{}: {error}", self.address))
                    .port()
            })
        })
    }

    /// The address alone, as a list of `host:port:port` wants it.
    pub(crate) fn bracketed(&self) -> String {
        match self.address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        }
    }

    /// Runs `work` in its namespace.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.host {
            Some(host) => host.enter(work),
            None => work(),
        }
    }

    #[track_caller]
    pub(crate) fn run(&self, command: &mut Command) -> Output {
        process::run(command, |command| self.enter(|| command.spawn()))
    }

    #[track_caller]
    pub(crate) fn spawn(&self, command: &mut Command, log: &Path) -> Running {
        Running::start(command, log, |command| self.enter(|| command.spawn()))
    }
}
