//! A service: one name, and where wanted one address and ports, over many endpoints.

use crate::{
    Error, HostPort, IpNet, NetworkId, Options, PortKey, ServiceId, ServiceName, port::meet,
};
use serde::{Deserialize, Serialize};
use std::{
    net::IpAddr,
    str::FromStr,
    time::{Duration, SystemTime},
};

/// The label of a container, and the driver option of an endpoint, that names its service.
pub const SERVICE_KEY: &str = "vethwork.service";
/// The same for its weight.
pub const WEIGHT_KEY: &str = "vethwork.weight";
/// The most that an endpoint can weigh.
pub const MAX_WEIGHT: u32 = 100;

/// What a service's name leads to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointMode {
    /// An address of its own.
    #[default]
    Vip,
    /// The addresses of its endpoints, shuffled.
    Dnsrr,
}

/// Whom a client is led to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Affinity {
    /// Any endpoint, by chance.
    #[default]
    None,
    /// The same one each time, by the client's address.
    Client,
}

impl Affinity {
    /// Checks that a service of this mode, which publishes ports or not, leads somebody for whom it
    /// holds.
    ///
    /// # Errors
    /// `InvalidArgument` where it does not.
    pub fn fits(self, mode: EndpointMode, publishes: bool) -> Result<(), Error> {
        if self == Self::None || mode == EndpointMode::Vip || publishes {
            return Ok(());
        }
        let sentence = "the service leads nobody, as who asks for its name chooses among its endpoints: use --endpoint-mode vip or publish a port, or --affinity none";
        Err(Error::invalid("affinity-without-effect", sentence))
    }
}

/// Where a port of a service that spans hosts is published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PublishMode {
    /// On every host, led to all endpoints.
    #[default]
    Ingress,
    /// On the hosts with endpoints that serve, led to those alone.
    Host,
}

/// Whom connections to a port that every host publishes are led to first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preference {
    /// Any endpoint of the service, wherever it lies.
    #[default]
    None,
    /// While endpoints of the host that is asked serve, those; else any.
    Local,
}

/// How an endpoint is asked whether it is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// It accepts a connection on this port.
    Tcp {
        /// The port.
        port: u16,
    },
    /// It answers a GET with a status from 200 to 399.
    Http {
        /// The port.
        port: u16,
        /// What is asked for, from its `/` on.
        path: String,
    },
    /// A command that is run in its container ends with status 0.
    Exec {
        /// Program and arguments.
        command: Vec<String>,
    },
}

/// What runs a check that is given as one line, as Docker's `CMD-SHELL`.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// When endpoints are asked, and what follows from the answers, as Docker's health checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthSpec {
    /// What is asked.
    pub probe: Probe,
    /// From the end of one check to the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How many failures in a row make an endpoint unhealthy.
    pub retries: u32,
    /// For how long after it joined failures do not count.
    pub start_period: Duration,
}

/// A port that a service publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The host's address (unspecified: every one of that family); every one where absent.
    #[serde(default)]
    pub host: Option<IpAddr>,
    /// The host's port.
    pub published: u16,
    /// The endpoints' port.
    pub target: PortKey,
    /// On which hosts; without a meaning where the network is one of a single host.
    #[serde(default)]
    pub mode: PublishMode,
    /// Whom connections are led to first; as `mode`, without a meaning on a single host.
    #[serde(default)]
    pub prefer: Preference,
}

impl PublishedPort {
    /// The host's port, as it is told.
    #[must_use]
    pub const fn at(&self) -> HostPort {
        HostPort {
            host: self.host,
            port: PortKey {
                port: self.published,
                protocol: self.target.protocol,
            },
        }
    }

    /// The address that a host must have to publish it: one that is not every host's own.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.host
            .filter(|ip| !ip.is_unspecified() && !ip.is_loopback())
    }

    /// Whether both ask for one port of a host, at an address that is common to them.
    #[must_use]
    pub fn clashes(&self, other: &Self) -> bool {
        let at_one = match (self.host, other.host) {
            (Some(a), Some(b)) => meet(a, b),
            _ => true,
        };
        at_one && self.published == other.published && self.target.protocol == other.target.protocol
    }
}

/// A service as it was asked for, with what it holds; durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Its id.
    pub id: ServiceId,
    /// Its name, unique among services.
    pub name: ServiceName,
    /// The network that it and its endpoints are on.
    pub network: NetworkId,
    /// When it was made.
    pub created: SystemTime,
    /// What its name leads to.
    pub mode: EndpointMode,
    /// Its own addresses with the prefix length of their subnet, IPv4 first; none with `dnsrr`.
    pub vips: Vec<IpNet>,
    /// What it publishes.
    pub ports: Vec<PublishedPort>,
    /// Whom a client is led to.
    pub affinity: Affinity,
    /// How long connections to an endpoint that leaves may go on.
    pub drain: Duration,
    /// Which endpoints are well; all of them without.
    pub health: Option<HealthSpec>,
    /// Labels.
    pub labels: Options,
}

impl ServiceSpec {
    /// Checks that it publishes each port of a host once: of two, one would be led to by nobody.
    ///
    /// # Errors
    /// `Conflict` for one that it would publish twice.
    pub fn check_ports(&self) -> Result<(), Error> {
        for (at, port) in self.ports.iter().enumerate() {
            let mut former = self.ports[..at].iter();
            if let Some(twin) = former.find(|former| former.clashes(port)) {
                let sentence = format!(
                    "service {} would publish port {}/{} twice, for {} and for {}: publish one of them on another port, or no more (--publish-rm {})",
                    self.name,
                    port.published,
                    port.target.protocol,
                    twin.target,
                    port.target,
                    twin.target
                );
                return Err(Error::conflict("port-allocated", sentence));
            }
        }
        Ok(())
    }
}

impl FromStr for Probe {
    type Err = Error;

    /// Reads `tcp:PORT`, `http:PORT[/PATH]`, or `exec:` with a line for the shell or, as in a
    /// Dockerfile, with a JSON array of a program and its arguments.
    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = || {
            let sentence = format!(
                "invalid health check {text:?}: use tcp:PORT, http:PORT[/PATH], exec:COMMAND or exec:[\"PROGRAM\",\"ARGUMENT\"]"
            );
            Error::invalid("health-invalid", sentence)
        };
        let port = |text: &str| {
            text.parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(refuse)
        };
        let (kind, rest) = text.split_once(':').ok_or_else(refuse)?;
        match kind {
            "tcp" => Ok(Self::Tcp { port: port(rest)? }),
            "http" => {
                let at = rest.find('/').unwrap_or(rest.len());
                let path = if at == rest.len() { "/" } else { &rest[at..] };
                let fits = |c: char| c.is_ascii_graphic();
                if !path.chars().all(fits) {
                    return Err(refuse());
                }
                Ok(Self::Http {
                    port: port(&rest[..at])?,
                    path: path.to_owned(),
                })
            }
            "exec" => {
                let by_shell = || SHELL.into_iter().chain([rest]).map(str::to_owned).collect();
                let command = words(rest).unwrap_or_else(by_shell);
                runnable(&command)
                    .then_some(Self::Exec { command })
                    .ok_or_else(refuse)
            }
            _ => Err(refuse()),
        }
    }
}

/// A program and its arguments; anything but a JSON array of texts is for the shell.
fn words(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

/// Whether there is a program, and all of it can be passed to one.
fn runnable(command: &[String]) -> bool {
    let line = match command {
        [shell, option, line] if [shell, option] == SHELL => Some(line),
        other => other.first(),
    };
    line.is_some_and(|line| !line.trim().is_empty())
        && !command.iter().any(|word| word.contains('\0'))
}

impl std::fmt::Display for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { port } => write!(f, "tcp:{port}"),
            Self::Http { port, path } => write!(f, "http:{port}{path}"),
            Self::Exec { command } => match command.as_slice() {
                [shell, option, line] if [shell, option] == SHELL && words(line).is_none() => {
                    write!(f, "exec:{line}")
                }
                // A list of texts is always JSON.
                words => write!(f, "exec:{}", serde_json::json!(words)),
            },
        }
    }
}

#[cfg(test)]
mod tests;
