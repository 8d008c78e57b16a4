//! Published ports: Docker's `-p` grammar and what it asks for.

use crate::Error;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

/// A transport protocol that has ports.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// RFC 9293.
    #[default]
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 9260.
    Sctp,
}

impl Protocol {
    /// The IANA protocol number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl FromStr for Protocol {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(Error::invalid(
                "protocol-invalid",
                format!("invalid proto: {text}: use tcp, udp or sctp"),
            )),
        }
    }
}

/// One port of a container: `80/tcp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortKey {
    /// The port, 1 to 65535.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

impl fmt::Display for PortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

impl From<PortKey> for String {
    fn from(key: PortKey) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for PortKey {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl FromStr for PortKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (port, protocol) = text.split_once('/').unwrap_or((text, ""));
        let range: PortRange = port.parse()?;
        if range.len() != 1 {
            return Err(bad_port(text));
        }
        Ok(Self {
            port: range.first,
            protocol: parse_protocol(protocol)?,
        })
    }
}

/// Ports from `first` to `last`, both included; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

impl PortRange {
    /// How many ports it holds.
    #[must_use]
    pub const fn len(&self) -> u32 {
        (self.last as u32 + 1).saturating_sub(self.first as u32)
    }

    /// Never: a range holds at least one port.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// What of these host ports belongs to `port` of the container range `ports`: its
    /// counterpart where both are ranges, the whole as a choice where `ports` is one port.
    fn dealt(self, ports: Self, port: u16) -> Self {
        if ports.len() == 1 {
            return self;
        }
        let host = self.first + (port - ports.first);
        Self {
            first: host,
            last: host,
        }
    }
}

impl FromStr for PortRange {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        // Digits alone: the standard parser takes a sign as well.
        let port = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let port = text.parse::<u16>().ok().filter(|port| *port > 0);
            port.filter(|_| digits)
        };
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(bad_port(text)),
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return write!(f, "{}", self.first);
        }
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// A port of a host: `80/tcp`, or that of one of its addresses, `192.0.2.1:80/tcp`, `[::1]:80/tcp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPort {
    /// The address (unspecified: every one of that family); every one where absent.
    pub host: Option<IpAddr>,
    /// The port.
    pub port: PortKey,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host {
            None => write!(f, "{}", self.port),
            Some(IpAddr::V4(v4)) => write!(f, "{v4}:{}", self.port),
            Some(IpAddr::V6(v6)) => write!(f, "[{v6}]:{}", self.port),
        }
    }
}

impl From<HostPort> for String {
    fn from(port: HostPort) -> Self {
        port.to_string()
    }
}

impl TryFrom<String> for HostPort {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let (host, port) = split_host(&text)?;
        Ok(Self {
            host,
            port: port.parse()?,
        })
    }
}

/// One container port to publish, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortRequest {
    /// The container's port.
    pub container: PortKey,
    /// The host address; `None` is every address of both families.
    pub host_ip: Option<IpAddr>,
    /// The host ports to choose from; `None` is any ephemeral one.
    pub host: Option<PortRange>,
}

impl PortRequest {
    /// Parses one `-p` value: `[[IP:][HOST[-HOST]]:]CONTAINER[-CONTAINER][/PROTO]`.
    ///
    /// A range of container ports gives one request a port; a host range of the same length
    /// is dealt out in order, and a host range for a single container port is a choice.
    /// Host port 0 is any ephemeral one. As Docker's `nat.ParsePortSpec`, but a container port 0
    /// and a host range that holds 0 are refused here, not by the daemon.
    ///
    /// # Errors
    /// `InvalidArgument` with Docker's sentence when the text is not of that form.
    pub fn parse(text: &str) -> Result<Vec<Self>, Error> {
        let (rest, container) = text.rsplit_once(':').unwrap_or(("", text));
        let (container, protocol) = container.split_once('/').unwrap_or((container, ""));
        if container.is_empty() {
            return Err(Error::invalid(
                "port-missing",
                format!("no port specified: {text}<empty>"),
            ));
        }
        let protocol = parse_protocol(protocol)?;
        let (ip, host) = split_host(rest)?;
        let invalid = |side: &str, port: &str| {
            let sentence =
                format!("invalid {side}Port: {port}: use a number from 1 to 65535, or a range");
            Error::invalid("port-invalid", sentence)
        };
        let ports: PortRange = container
            .parse()
            .map_err(|_| invalid("container", container))?;
        let hosts: Option<PortRange> = match host {
            "" => None,
            "0" if ports.len() == 1 => None,
            "0" => return Err(ranges_differ(container, host)),
            host => Some(host.parse().map_err(|_| invalid("host", host))?),
        };
        if ports.len() > 1 && hosts.is_some_and(|hosts| hosts.len() != ports.len()) {
            return Err(ranges_differ(container, host));
        }
        let request = |port: u16| Self {
            container: PortKey { port, protocol },
            host_ip: ip,
            host: hosts.map(|hosts| hosts.dealt(ports, port)),
        };
        Ok((ports.first..=ports.last).map(request).collect())
    }
}

/// Whether what is bound to two addresses of one port is in each other's way: both are of one IP
/// version, and they are the same, or one is all addresses of that.
#[must_use]
pub fn meet(a: IpAddr, b: IpAddr) -> bool {
    a == b || (a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified()))
}

/// One published port as it stands: host side to container side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortMapping {
    /// The host's address (unspecified: all of that family) and port.
    pub host: SocketAddr,
    /// The container's port.
    pub container: PortKey,
}

fn bad_port(text: &str) -> Error {
    Error::invalid(
        "port-invalid",
        format!("invalid port: {text}: use a number from 1 to 65535"),
    )
}

fn ranges_differ(container: &str, host: &str) -> Error {
    let sentence =
        format!("invalid ranges specified for container and host Ports: {container} and {host}");
    Error::invalid("port-ranges-differ", sentence)
}

/// An empty protocol (`80` or `80/`) is TCP.
fn parse_protocol(text: &str) -> Result<Protocol, Error> {
    match text {
        "" => Ok(Protocol::Tcp),
        text => text.parse(),
    }
}

/// Splits `[IP:]HOST`; an IPv6 address stands in brackets or is told by its colons.
fn split_host(rest: &str) -> Result<(Option<IpAddr>, &str), Error> {
    let Some((ip, host)) = rest.rsplit_once(':') else {
        return Ok((None, rest));
    };
    let bare = ip
        .strip_prefix('[')
        .and_then(|ip| ip.strip_suffix(']'))
        .unwrap_or(ip);
    if bare.is_empty() {
        return Ok((None, host));
    }
    let addr: IpAddr = bare.parse().map_err(|_| {
        Error::invalid(
            "port-host-ip-invalid",
            format!("invalid IP address: {bare}: publish on an address of this host, not a name"),
        )
    })?;
    Ok((Some(addr.to_canonical()), host))
}

#[cfg(test)]
mod tests;
