//! The resolver file, `/etc/resolv.conf` (resolv.conf(5)).
//!
//! Owns reading one and writing it back. What a sandbox gets is made in [`sandbox`]. It
//! must not read or write the file itself.

mod sandbox;

pub use sandbox::{Resolver, ResolverFile};

use std::{fmt, net::IpAddr, str::FromStr};

/// Where systemd-resolved keeps the servers that its stub asks.
pub const SYSTEMD_RESOLV_CONF: &str = "/run/systemd/resolve/resolv.conf";

/// A server by address; a link-local one with the interface that it lies behind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nameserver {
    /// Its address.
    pub addr: IpAddr,
    /// The interface's name or index (RFC 4007, section 11).
    pub scope: Option<Box<str>>,
}

impl From<IpAddr> for Nameserver {
    fn from(addr: IpAddr) -> Self {
        Self { addr, scope: None }
    }
}

impl FromStr for Nameserver {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (addr, scope) = match text.split_once('%') {
            Some((addr, scope)) => (addr, Some(scope.into())),
            None => (text, None),
        };
        Ok(Self {
            addr: addr.parse()?,
            scope,
        })
    }
}

impl fmt::Display for Nameserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.addr.fmt(f)?;
        match &self.scope {
            Some(scope) => write!(f, "%{scope}"),
            None => Ok(()),
        }
    }
}

/// A resolver file as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// Servers, in order.
    pub nameservers: Vec<Nameserver>,
    /// Search domains of the last `search` or `domain` line.
    pub search: Vec<String>,
    /// Options of all lines, in order.
    pub options: Vec<String>,
    /// Lines with other directives, as they were.
    pub other: Vec<String>,
    /// Servers that are no addresses, left out of `nameservers`.
    pub invalid: Vec<String>,
}

impl ResolvConf {
    /// Reads a file's text. Comments and incomplete lines are passed over, as the C library
    /// does; nothing is an error.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines() {
            conf.line(line);
        }
        conf
    }

    fn line(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let Some(directive) = words.next().filter(|word| !word.starts_with(['#', ';'])) else {
            return;
        };
        let words: Vec<_> = words.map(str::to_owned).collect();
        match (directive, words.as_slice()) {
            ("nameserver" | "search" | "domain" | "options", []) => {}
            ("nameserver", [server, ..]) => match server.parse() {
                Ok(server) => self.nameservers.push(server),
                Err(_) => self.invalid.push(server.clone()),
            },
            // `domain` is the old name of `search`; the last of either counts.
            ("search" | "domain", _) => self.search = words,
            ("options", _) => self.options.extend(words),
            _ => self.other.push(line.to_owned()),
        }
    }

    /// The value of an option: that of the last `name:value`; empty for a bare `name`.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().rev().find_map(|option| {
            let (key, value) = option.split_once(':').unwrap_or((option, ""));
            (key == name).then_some(value)
        })
    }

    /// Whether it names nothing but systemd-resolved's stub, so that the real servers stand
    /// in [`SYSTEMD_RESOLV_CONF`].
    #[must_use]
    pub fn is_systemd_stub(&self) -> bool {
        let stub = |server: &Nameserver| server.addr == IpAddr::from([127, 0, 0, 53]);
        !self.nameservers.is_empty() && self.nameservers.iter().all(stub)
    }

    /// The directives as text.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        for server in &self.nameservers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        for (directive, words) in [("search", &self.search), ("options", &self.options)] {
            if !words.is_empty() {
                text.push_str(&format!("{directive} {}\n", words.join(" ")));
            }
        }
        for line in &self.other {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests;
