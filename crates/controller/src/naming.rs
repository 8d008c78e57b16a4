//! Names: which endpoint is called what on which network, and what each sandbox sees.

use crate::{
    Controller,
    controller::kernel_error,
    registry::{Attachment, Network, NewResolver, Resolver, Sandbox, SandboxState},
    services::Role,
};
use std::{net::SocketAddr, os::fd::OwnedFd, path::Path, sync::Arc};
use vw_dns_server::SandboxSockets;
use vw_kernel::SocketKind;
use vw_model::{DnsSettings, EndpointId, Error, IpNet, Result, ServicePart};
use vw_names::{
    EndpointNames, Link, Policy, RESOLVER_ADDR, ResolvConf, ResolverFile, SYSTEMD_RESOLV_CONF, View,
};

impl Controller {
    /// Puts an endpoint's names into its network's zone, and tells the other hosts of a global one.
    /// Of one that leaves meanwhile nothing stays: who takes it out takes it off the sandbox's list
    /// before its names.
    pub(crate) fn publish_names(&self, sandbox: &Sandbox, network: &Network, id: EndpointId) {
        let mut named = false;
        self.tell_role(sandbox, id, |role| {
            if let Some(called) = called(sandbox, id, role) {
                network.zone.update(|zone| zone.with(&called));
                self.publish(sandbox, network, id, role);
                named = true;
            }
        });
        if named {
            let is_attached = {
                let state = sandbox.state();
                state.attachments.iter().any(|a| a.endpoint.id == id)
            };
            if !is_attached {
                self.withdraw_names(network, id);
            }
        }
    }

    /// Takes an endpoint's names away, and tells the other hosts of a global network that it is gone.
    pub(crate) fn withdraw_names(&self, network: &Network, id: EndpointId) {
        network.zone.update(|zone| zone.without(id));
        self.unpublish(network, id);
    }

    /// What a sandbox sees with the attachments it has now.
    pub(crate) fn view_of(&self, sandbox: &Sandbox) -> Arc<View> {
        let state = sandbox.state();
        let named: Vec<&Attachment> = state
            .attachments
            .iter()
            .filter(|a| a.network.has_names())
            .collect();
        let zones = named.iter().map(|a| a.network.zone.clone()).collect();
        let external = state.attachments.iter().any(|a| !a.network.spec.internal);
        let file = self.resolver_file(&state.spec.dns, vw_names::Resolver::Embedded);
        let policy = Policy {
            upstreams: file.upstreams,
            external,
            hold_single_labels: file.hold_single_labels,
        };
        let links: Vec<Link> = named
            .iter()
            .enumerate()
            .flat_map(|(zone, a)| links_of(zone, a))
            .collect();
        drop(state);
        Arc::new(View::new(zones, &links, &policy))
    }

    /// The resolver file of a sandbox: the daemon's settings where it has none of its own.
    pub(crate) fn resolver_file(
        &self,
        own: &DnsSettings,
        resolver: vw_names::Resolver,
    ) -> ResolverFile {
        let daemon = &self.config.dns;
        let or = |own: &[String], daemon: &[String]| {
            if own.is_empty() {
                daemon.to_vec()
            } else {
                own.to_vec()
            }
        };
        let settings = DnsSettings {
            servers: if own.servers.is_empty() {
                daemon.servers.clone()
            } else {
                own.servers.clone()
            },
            search: or(&own.search, &daemon.search),
            options: or(&own.options, &daemon.options),
        };
        let (path, host) = self.host_resolv_conf();
        ResolverFile::new(&host, &path, &settings, resolver)
    }

    /// The host's resolver file; where it names nothing but a local stub, the file behind it.
    pub(crate) fn host_resolv_conf(&self) -> (String, Arc<ResolvConf>) {
        let path = &self.config.resolv_conf;
        let host = self.resolver_files.read(path).unwrap_or_default();
        if host.is_systemd_stub()
            && let Some(behind) = self.resolver_files.read(Path::new(SYSTEMD_RESOLV_CONF))
        {
            return (SYSTEMD_RESOLV_CONF.to_owned(), behind);
        }
        (path.display().to_string(), host)
    }

    /// Has the embedded server answer on these sockets.
    pub(crate) fn serve_names(&self, sandbox: &Sandbox, sockets: SandboxSockets) {
        if let Err(error) = self.dns.add(sandbox.id, sockets, self.view_of(sandbox)) {
            let name = sandbox.state().spec.name.clone();
            self.warn(format!("names do not answer in {name}: {error}"));
        }
    }

    /// Makes the resolver's sockets in a sandbox that has none, when `network` has names.
    ///
    /// # Errors
    /// When the namespace is gone or nothing can be bound in it.
    pub(crate) fn prepare_resolver(
        &self,
        sandbox: &Sandbox,
        network: &Network,
    ) -> Result<Option<NewResolver>> {
        if sandbox.balances || !network.has_names() || sandbox.state().resolver.is_some() {
            return Ok(None);
        }
        self.resolver_sockets(sandbox, Resolver { udp: 0, tcp: 0 })
            .map(Some)
    }

    /// Binds the resolver's sockets in a sandbox on these ports, or on any where they are 0.
    ///
    /// # Errors
    /// As [`Self::prepare_resolver`].
    pub(crate) fn resolver_sockets(
        &self,
        sandbox: &Sandbox,
        ports: Resolver,
    ) -> Result<NewResolver> {
        let wanted = [(sandbox.id, ports.sockets())];
        let mut made = self.kernel.sockets(&wanted);
        let made = made.pop().unwrap_or_else(|| Ok(Vec::new()));
        resolver_of(made.map_err(kernel_error)?)
    }
}

/// What an endpoint is called on its network; nothing when it is not in the sandbox.
pub(crate) fn called(sandbox: &Sandbox, id: EndpointId, role: &Role) -> Option<EndpointNames> {
    let state = sandbox.state();
    let attachment = state.attachments.iter().find(|a| a.endpoint.id == id)?;
    if sandbox.balances {
        return Some(nameless(id));
    }
    let mut names = names_of(&state, attachment).into_iter();
    let mut ports = state.spec.exposed.clone();
    ports.extend(
        role.ports
            .iter()
            .copied()
            .filter(|port| !state.spec.exposed.contains(port)),
    );
    Some(EndpointNames {
        endpoint: id,
        name: names.next().unwrap_or_default(),
        aliases: names
            .filter(|name| *name != state.spec.id.short())
            .chain(role.names.iter().cloned())
            .collect(),
        short_id: state.spec.id.short(),
        addresses: attachment
            .endpoint
            .addresses
            .iter()
            .map(IpNet::addr)
            .collect(),
        ports,
        weight: weight_of(role.part.as_ref()),
    })
}

/// What leads to services is found by nobody's name: a container may have the one that we give it.
pub(crate) const fn nameless(endpoint: EndpointId) -> EndpointNames {
    EndpointNames {
        endpoint,
        name: String::new(),
        aliases: Vec::new(),
        short_id: String::new(),
        addresses: Vec::new(),
        ports: Vec::new(),
        weight: 0,
    }
}

/// The share of an endpoint among those of its service; 0 for one that is in none.
pub(crate) fn weight_of(part: Option<&ServicePart>) -> u16 {
    match part {
        Some(ServicePart::Member { weight, .. }) => u16::try_from(*weight).unwrap_or(u16::MAX),
        Some(ServicePart::Balancer { .. }) | None => 0,
    }
}

impl Resolver {
    /// What is bound on these ports: the datagrams' socket, then the streams'.
    pub(crate) fn sockets(self) -> Vec<SocketKind> {
        let addr = |port| SocketAddr::from((RESOLVER_ADDR, port));
        vec![
            SocketKind::Udp(addr(self.udp)),
            SocketKind::TcpListen(addr(self.tcp)),
        ]
    }
}

/// A resolver from its sockets, in the order of [`Resolver::sockets`].
///
/// # Errors
/// When a socket does not tell its own address.
pub(crate) fn resolver_of(made: Vec<OwnedFd>) -> Result<NewResolver> {
    let unusable = || Error::internal("resolver-socket", "cannot read a socket's own address");
    let [udp, tcp] = <[OwnedFd; 2]>::try_from(made).map_err(|_| unusable())?;
    let sockets = SandboxSockets {
        udp: udp.into(),
        tcp: tcp.into(),
    };
    let port = |addr: std::io::Result<SocketAddr>| {
        addr.map(|addr| addr.port())
            .map_err(|e| unusable().because(e))
    };
    let ports = Resolver {
        udp: port(sockets.udp.local_addr())?,
        tcp: port(sockets.tcp.local_addr())?,
    };
    Ok(NewResolver { ports, sockets })
}

impl Network {
    /// Whether its members find each other by name: user-defined networks, as in Docker.
    pub(crate) fn has_names(&self) -> bool {
        self.driver.capabilities().names && !self.spec.predefined
    }
}

fn links_of(zone: usize, attachment: &Attachment) -> impl Iterator<Item = Link> {
    attachment.endpoint.settings.links.iter().map(move |link| {
        let (target, alias) = link.split_once(':').unwrap_or((link, link));
        Link {
            alias: alias.to_owned(),
            target: target.to_owned(),
            zone,
        }
    })
}

/// The names that an endpoint is known by on its network, the first for reverse look-ups.
pub(crate) fn names_of(state: &SandboxState, attachment: &Attachment) -> Vec<String> {
    let mut names = vec![state.spec.name.to_string()];
    let aliases = attachment.endpoint.settings.aliases.iter().cloned();
    let more = aliases.chain([state.spec.id.short(), state.spec.hostname.clone()]);
    for name in more.filter(|name| !name.is_empty()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
