//! The address of a cluster's store, as `--cluster-store` takes it.
//!
//! Owns its grammar: `SCHEME://HOST[:PORT][,HOST[:PORT]]…[/PREFIX]`. It opens nothing.

use super::{ClusterError, limits, registry};
use std::{fmt, net::Ipv6Addr, str::FromStr};

/// What the keys lie below, where the address names nothing else.
const PREFIX: &str = "vethwork";

/// Where a cluster's store is, and what its keys lie below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterUrl {
    scheme: &'static str,
    servers: Vec<Server>,
    prefix: String,
}

/// One server's name or address, and its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl ClusterUrl {
    /// What stands before `://`: the store's row in the registry.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// The servers, at least one, in the order in which they are tried.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// What all keys lie below, without `/` at either end.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl fmt::Display for ClusterUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        for (number, server) in self.servers.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{server}")?;
        }
        write!(f, "/{}", self.prefix)
    }
}

impl FromStr for ClusterUrl {
    type Err = ClusterError;

    fn from_str(text: &str) -> Result<Self, ClusterError> {
        // A password that stands where it must not is not repeated.
        let shown = if text.contains('@') { "…@…" } else { text };
        parse(text).map_err(|reason| ClusterError::Address {
            address: shown.to_owned(),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<ClusterUrl, String> {
    let stores = || registry::schemes().collect::<Vec<_>>().join("://, ");
    let (scheme, rest) = text
        .split_once("://")
        .ok_or_else(|| format!("it begins with the kind of store: {}://", stores()))?;
    let row = registry::row(scheme)
        .ok_or_else(|| format!("unknown store {scheme:?}: use {}://", stores()))?;
    let (servers, prefix) = rest.split_once('/').unwrap_or((rest, PREFIX));
    if servers.contains('@') {
        return Err(
            "user and password do not belong in it: give them by --cluster-store-opt".to_owned(),
        );
    }
    let servers = servers
        .split(',')
        .map(|server| parse_server(server, row.port))
        .collect::<Result<Vec<_>, _>>()?;
    for (number, server) in servers.iter().enumerate() {
        if servers[..number].contains(server) {
            return Err(format!("the server {server} stands in it twice"));
        }
    }
    let prefix = match prefix.trim_end_matches('/') {
        "" => PREFIX,
        prefix => prefix,
    };
    limits::key(prefix).map_err(|_| {
        format!("bad prefix {prefix:?}: segments of a-z, 0-9, '.', '_' and '-', joined by '/'")
    })?;
    Ok(ClusterUrl {
        scheme: row.scheme,
        servers,
        prefix: prefix.to_owned(),
    })
}

fn parse_server(text: &str, default: u16) -> Result<Server, String> {
    if text.is_empty() {
        return Err("a server's address is empty".to_owned());
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest
                .split_once(']')
                .ok_or_else(|| format!("the server {text:?} lacks the closing bracket"))?;
            host.parse::<Ipv6Addr>()
                .map_err(|_| format!("{host:?} in brackets is no IPv6 address"))?;
            match rest {
                "" => (host, None),
                _ => (
                    host,
                    Some(
                        rest.strip_prefix(':')
                            .ok_or_else(|| format!("{rest:?} after {host:?} is no port"))?,
                    ),
                ),
            }
        }
        None => match text.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err(format!("the IPv6 address {text} belongs in brackets"));
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_name) {
        return Err(format!("{host:?} is no server's name or address"));
    }
    let port = match port {
        None => default,
        Some(port) => port
            .parse()
            .ok()
            .filter(|&port| port != 0)
            .ok_or_else(|| format!("the server {text:?} has a bad port"))?,
    };
    Ok(Server {
        host: host.to_owned(),
        port,
    })
}
