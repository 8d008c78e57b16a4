//! Where a server listens: the machine's loopback, or an address of a host of the laboratory.
//!
//! Owns the choice of free ports.

use crate::{Host, Output, Running, process};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    ops::Range,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// No connection is made from these (`ip_local_port_range` begins after them): one server asks for
/// the others before they listen, over and over, from a port that might be theirs.
const PORTS: Range<u16> = 10_000..32_768;

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

    /// `N` ports that nothing uses, none of them given before by this process.
    #[track_caller]
    pub(crate) fn free_ports<const N: usize>(&self) -> [u16; N] {
        self.enter(|| [(); N].map(|()| self.free_port()))
    }

    fn free_port(&self) -> u16 {
        static GIVEN: AtomicU32 = AtomicU32::new(0);
        let count = u32::from(PORTS.end - PORTS.start);
        // Apart from other processes, which look for their own at the same time.
        let first = std::process::id().wrapping_mul(64);
        let found = (0..count).find_map(|_| {
            let next = first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % count;
            let port = PORTS.start + u16::try_from(next).expect("fewer than there are ports");
            TcpListener::bind((self.address, port))
                .is_ok()
                .then_some(port)
        });
        found.unwrap_or_else(|| panic!("{} has no free port", self.address))
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
        Running::start(command, Stdio::null(), log, |command| {
            self.enter(|| command.spawn())
        })
    }
}

#[cfg(test)]
mod tests;
