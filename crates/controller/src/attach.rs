//! Endpoints into sandboxes and out again: the one path by which either happens.
//!
//! The caller holds the sandbox's `ops` lock; the network's gate is taken here, shared.

use crate::{
    Controller,
    controller::kernel_error,
    event::EventType,
    ports::{self, Claims, Wanted},
    records::{self, AttachmentRecord, Phase},
    registry::{Attachment, Gate, Network, NewResolver, Sandbox, SandboxState, lock},
    sandbox_plan::{self, Inputs},
};
use std::{
    net::IpAddr,
    sync::{Arc, PoisonError},
};
use vw_hoststate::{Fragment, Namespace, NamespaceSource, Owner};
use vw_ipam::Holder;
use vw_model::{
    AdoptedFrom, EndpointId, EndpointSettings, EndpointSpec, Error, Family, IfName, IpNet, MacAddr,
    Result, SandboxKind,
};
use vw_store::{Batch, Table};

impl Controller {
    /// Places a new endpoint of `network` in `sandbox`, whose namespace stands.
    ///
    /// # Errors
    /// As the checks, the address manager, the driver or the executor say; nothing is left then.
    pub(crate) fn attach(
        &self,
        sandbox: &Arc<Sandbox>,
        network: &Arc<Network>,
        settings: EndpointSettings,
    ) -> Result<()> {
        let gate = network.gate.read().unwrap_or_else(PoisonError::into_inner);
        if *gate == Gate::Removed {
            return Err(Error::not_found(
                "network-not-found",
                format!("network {} not found", network.spec.name),
            ));
        }
        self.check_attach(sandbox, network)?;
        let endpoint = self.claim_endpoint(sandbox, network, settings)?;
        let holder = Holder::Endpoint(endpoint.id);
        let addresses: Vec<IpAddr> = endpoint.addresses.iter().map(IpNet::addr).collect();
        let placed = self.place(sandbox, network, endpoint);
        if placed.is_err() {
            let mut ipam = lock(&self.ipam);
            for addr in addresses {
                ipam.release(network.spec.id, addr, &holder);
            }
        }
        placed
    }

    fn check_attach(&self, sandbox: &Sandbox, network: &Network) -> Result<()> {
        let state = sandbox.state();
        let present: Vec<_> = state
            .attachments
            .iter()
            .map(|a| a.network.driver.capabilities())
            .collect();
        let host = matches!(state.spec.kind, SandboxKind::Host);
        vw_drivers::may_join(network.driver.capabilities(), host, &present)?;
        if state
            .attachments
            .iter()
            .any(|a| a.network.spec.id == network.spec.id)
        {
            let message = format!(
                "endpoint with name {} already exists in network {}",
                state.spec.name, network.spec.name
            );
            return Err(Error::new(
                vw_model::Kind::Forbidden,
                "endpoint-exists",
                message,
            ));
        }
        drop(state);
        let room = network.driver.capabilities().max_endpoints;
        if room.is_some_and(|room| lock(&network.members).len() >= room as usize) {
            let message = format!(
                "network {} has no room: its bridge takes {} ports; use a second network",
                network.spec.name,
                room.unwrap_or_default()
            );
            return Err(Error::new(
                vw_model::Kind::Exhausted,
                "network-full",
                message,
            ));
        }
        Ok(())
    }

    /// Chooses the endpoint's identity and leases its addresses.
    fn claim_endpoint(
        &self,
        sandbox: &Sandbox,
        network: &Network,
        settings: EndpointSettings,
    ) -> Result<EndpointSpec> {
        let id = EndpointId::from_bytes((self.random)());
        let ifname = match network.driver.interface_name(&settings)? {
            Some(name) => name,
            None => self.free_ifname(sandbox, network)?,
        };
        let addresses = self.lease(network, id, &settings)?;
        let mac = settings.mac.or_else(|| {
            addresses
                .first()
                .map(|net| MacAddr::derived_from(net.addr()))
        });
        let mac = mac.unwrap_or_else(|| MacAddr::derived_from(pseudo_addr(id)));
        Ok(EndpointSpec {
            id,
            network: network.spec.id,
            sandbox: sandbox.id,
            ifname,
            host_ifname: host_ifname(id)?,
            mac,
            gateways: FAMILIES
                .iter()
                .filter_map(|f| network.driver.gateway(&network.spec, *f))
                .collect(),
            addresses,
            settings,
        })
    }

    fn lease(
        &self,
        network: &Network,
        id: EndpointId,
        settings: &EndpointSettings,
    ) -> Result<Vec<IpNet>> {
        let wants = [
            (
                Family::V4,
                network.spec.enable_ipv4,
                settings.ipv4.map(IpAddr::V4),
            ),
            (
                Family::V6,
                network.spec.enable_ipv6,
                settings.ipv6.map(IpAddr::V6),
            ),
        ];
        let holder = Holder::Endpoint(id);
        let mut leased: Vec<IpNet> = Vec::with_capacity(2);
        let mut ipam = lock(&self.ipam);
        for (family, enabled, requested) in wants {
            if !enabled && requested.is_none() {
                continue;
            }
            match ipam.allocate(network.spec.id, family, requested, holder.clone()) {
                Ok(net) => leased.push(net),
                Err(refusal) => {
                    for net in leased {
                        ipam.release(network.spec.id, net.addr(), &holder);
                    }
                    return Err(refusal.for_network(network.spec.name.as_str()));
                }
            }
        }
        Ok(leased)
    }

    /// The lowest `ethN` that nobody uses inside.
    fn free_ifname(&self, sandbox: &Sandbox, network: &Network) -> Result<IfName> {
        let prefix = network.driver.interface_prefix(&network.spec);
        let state = sandbox.state();
        let mut used: Vec<IfName> = state
            .attachments
            .iter()
            .map(|a| a.endpoint.ifname.clone())
            .collect();
        let adopted = state.container.is_none();
        drop(state);
        if adopted {
            used.extend(self.kernel.interfaces(sandbox.id).map_err(kernel_error)?);
        }
        let mut names = (0..=used.len()).map(|n| format!("{prefix}{n}"));
        let free = names.find(|name| !used.iter().any(|u| u.as_str() == name));
        free.unwrap_or_else(|| format!("{prefix}{}", used.len()))
            .parse()
    }

    fn place(
        &self,
        sandbox: &Arc<Sandbox>,
        network: &Arc<Network>,
        endpoint: EndpointSpec,
    ) -> Result<()> {
        self.note_attachment(&endpoint, Phase::Pending)?;
        let outcome = self.build(sandbox, network, &endpoint);
        match outcome {
            Ok(()) => {
                self.publish_names(sandbox, network, endpoint.id);
                self.tell_network("connect", network, sandbox);
                Ok(())
            }
            Err(error) => {
                let batch = Batch::new().delete(Table::Attachments, &endpoint.id.to_string());
                if let Err(left) = self.note(batch) {
                    tracing::error!(
                        "the record of a failed attachment stays until the next start: {}",
                        left.chain()
                    );
                }
                Err(error)
            }
        }
    }

    /// Prepares, plans, applies and records; takes everything back when one of these fails.
    fn build(
        &self,
        sandbox: &Arc<Sandbox>,
        network: &Arc<Network>,
        endpoint: &EndpointSpec,
    ) -> Result<()> {
        let cx = &self.config.drivers;
        let planned = network
            .driver
            .plan_attachment(&network.spec, endpoint, cx)?;
        let attachment = Attachment {
            network: network.clone(),
            endpoint: endpoint.clone(),
            gateways: planned.gateways,
        };
        let mut attachments = sandbox.state().attachments.clone();
        attachments.push(attachment.clone());
        let new_resolver = self.prepare_resolver(sandbox, network)?;
        let mut claims = std::mem::take(&mut sandbox.state().claims);
        let settled = self.settle_ports(sandbox, &attachments, &mut claims);
        let settled = settled.inspect_err(|_| sandbox.state().claims = std::mem::take(&mut claims));
        let (before, settled) = (claims, settled?);
        let resolver = new_resolver
            .as_ref()
            .map(|new| new.ports)
            .or(sandbox.state().resolver);
        let wants = self.sandbox_fragment(sandbox, &attachments, resolver, &settled.mappings());
        let brought = wants.and_then(|wants| {
            let former = lock(&self.host)
                .fragment(Owner::Sandbox(sandbox.id))
                .cloned()
                .unwrap_or_default();
            self.bring(vec![
                (Owner::Attachment(endpoint.id), planned.fragment),
                (Owner::Sandbox(sandbox.id), wants),
            ])?;
            self.note_ready(sandbox, endpoint, resolver, &settled)
                .inspect_err(|_| {
                    let back = vec![
                        (Owner::Attachment(endpoint.id), Fragment::default()),
                        (Owner::Sandbox(sandbox.id), former),
                    ];
                    if let Err(error) = self.take_away(back) {
                        tracing::error!(
                            "undoing an unrecorded attachment failed: {}",
                            error.chain()
                        );
                    }
                })
        });
        if let Err(error) = brought {
            let mut state = sandbox.state();
            state.claims = settled.back_to(before, &state.published);
            return Err(error);
        }
        drop(before);
        let mut state = sandbox.state();
        state.attachments = attachments;
        state.published = settled.mappings();
        state.claims = settled;
        state.resolver = resolver;
        drop(state);
        lock(&network.members).insert(endpoint.id, sandbox.clone());
        match new_resolver {
            Some(NewResolver { sockets, .. }) => self.serve_names(sandbox, sockets),
            None => {
                self.dns.update(sandbox.id, self.view_of(sandbox));
            }
        }
        Ok(())
    }

    /// Host ports for what is to be published once these are all the attachments.
    pub(crate) fn settle_ports(
        &self,
        sandbox: &Sandbox,
        attachments: &[Attachment],
        held: &mut Claims,
    ) -> Result<Claims> {
        let state = sandbox.state();
        if state.spec.ports.is_empty() && !state.spec.publish_all {
            return Ok(Claims::default());
        }
        let cx = &self.config.drivers;
        let gateways = FAMILIES.map(|f| (f, sandbox_plan::gateway_of(attachments, f)));
        let publishes =
            |f: Family, a: &Attachment| a.network.driver.publishes(&a.network.spec, f, cx);
        let usable = gateways
            .iter()
            .filter(|(f, a)| a.is_some_and(|a| publishes(*f, a)));
        let families: Vec<Family> = usable.map(|(f, _)| *f).collect();
        let hosts: Vec<IpAddr> = gateways
            .iter()
            .filter_map(|(family, chosen)| chosen.map(|a| (*family, a)))
            .filter(|(family, a)| publishes(*family, a))
            .flat_map(|(family, a)| {
                let hosts = a.network.driver.default_hosts(&a.network.spec, cx);
                hosts
                    .into_iter()
                    .filter(move |host| Family::of(*host) == family)
            })
            .collect();
        let exposed = if state.spec.publish_all {
            state.spec.exposed.clone()
        } else {
            Vec::new()
        };
        let requests = state.spec.ports.clone();
        drop(state);
        let wanted = Wanted {
            requests: &requests,
            exposed: &exposed,
            families: &families,
            default_hosts: &hosts,
            ephemeral: self.facts().ephemeral_ports,
            cursor: &self.ephemeral_cursor,
        };
        ports::settle(&*self.kernel, &wanted, held)
    }

    /// What the sandbox itself wants with these attachments.
    pub(crate) fn sandbox_fragment(
        &self,
        sandbox: &Sandbox,
        attachments: &[Attachment],
        resolver: Option<crate::registry::Resolver>,
        ports: &[vw_model::PortMapping],
    ) -> Result<Fragment> {
        let namespace = namespace_of(&sandbox.state());
        let inputs = Inputs {
            sandbox: sandbox.id,
            namespace: namespace.as_ref(),
            resolver,
            ports,
            drivers: &self.config.drivers,
        };
        sandbox_plan::plan(inputs, attachments)
    }

    /// Takes an endpoint out of its sandbox.
    ///
    /// Goes on after errors; what could not be removed keeps its record as `Removing` and its
    /// leases, so that the next start finishes it.
    ///
    /// # Errors
    /// The first of them.
    pub(crate) fn detach(&self, sandbox: &Arc<Sandbox>, id: EndpointId) -> Result<()> {
        let state = sandbox.state();
        let Some(leaving) = state
            .attachments
            .iter()
            .find(|a| a.endpoint.id == id)
            .cloned()
        else {
            return Ok(());
        };
        let mut staying = state.attachments.clone();
        drop(state);
        staying.retain(|a| a.endpoint.id != id);
        self.note_attachment(&leaving.endpoint, Phase::Removing)?;
        self.withdraw_names(&leaving);
        let mut claims = std::mem::take(&mut sandbox.state().claims);
        let settled = self
            .settle_ports(sandbox, &staying, &mut claims)
            .unwrap_or_else(|error| {
                self.warn(format!(
                    "ports of {} cannot stay published: {}",
                    sandbox.state().spec.name,
                    error.chain()
                ));
                Claims::default()
            });
        let resolver = sandbox.state().resolver;
        let mappings = settled.mappings();
        let wants = self.sandbox_fragment(sandbox, &staying, resolver, &mappings)?;
        let gone = self.take_away(vec![
            (Owner::Attachment(id), Fragment::default()),
            (Owner::Sandbox(sandbox.id), wants),
        ]);
        let mut state = sandbox.state();
        state.attachments = staying;
        state.published = mappings;
        state.claims = settled;
        drop(state);
        lock(&leaving.network.members).remove(&id);
        self.tell_network("disconnect", &leaving.network, sandbox);
        self.dns.update(sandbox.id, self.view_of(sandbox));
        gone?;
        self.forget_attachment(&leaving)?;
        self.note_sandbox(sandbox)
    }

    /// Frees the leases of an endpoint of which nothing stands, and its record.
    pub(crate) fn forget_attachment(&self, leaving: &Attachment) -> Result<()> {
        let endpoint = &leaving.endpoint;
        let batch = Batch::new().delete(Table::Attachments, &endpoint.id.to_string());
        self.note(batch)?;
        let mut ipam = lock(&self.ipam);
        for net in &endpoint.addresses {
            ipam.release(endpoint.network, net.addr(), &Holder::Endpoint(endpoint.id));
        }
        Ok(())
    }

    fn note_attachment(&self, endpoint: &EndpointSpec, phase: Phase) -> Result<()> {
        self.note(self.put_attachment(endpoint, phase)?)
    }

    fn put_attachment(&self, endpoint: &EndpointSpec, phase: Phase) -> Result<Batch> {
        let record = AttachmentRecord {
            boot: self.facts().boot_id.clone(),
            phase,
            endpoint: endpoint.clone(),
        };
        records::put(
            Batch::new(),
            Table::Attachments,
            &endpoint.id.to_string(),
            &record,
        )
    }

    fn note_ready(
        &self,
        sandbox: &Sandbox,
        endpoint: &EndpointSpec,
        resolver: Option<crate::registry::Resolver>,
        claims: &Claims,
    ) -> Result<()> {
        let mut batch = self.put_attachment(endpoint, Phase::Ready)?;
        let mappings = claims.mappings();
        let state = sandbox.state();
        if state.resolver != resolver || state.published != mappings {
            let record = self.sandbox_record(&state, resolver, mappings);
            batch = records::put(batch, Table::Sandboxes, &sandbox.id.to_string(), &record)?;
        }
        drop(state);
        self.note(batch)
    }

    pub(crate) fn tell_network(&self, action: &str, network: &Network, sandbox: &Sandbox) {
        self.tell(
            EventType::Network,
            action,
            &network.spec.id.to_string(),
            [
                ("container", sandbox.id.to_string()),
                ("name", network.spec.name.to_string()),
                ("type", network.spec.driver.clone()),
            ],
        );
    }
}

/// Both, in the order in which everything lists them.
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// The namespace that a sandbox's endpoints are placed in.
pub(crate) fn namespace_of(state: &SandboxState) -> Option<Namespace> {
    let source = match &state.spec.kind {
        SandboxKind::Host => return None,
        SandboxKind::Container => NamespaceSource::New,
        SandboxKind::Adopted {
            from: AdoptedFrom::Pid { pid, start_time },
            ..
        } => NamespaceSource::Process {
            pid: *pid,
            start_time: *start_time,
        },
        SandboxKind::Adopted {
            from: AdoptedFrom::Netns(path),
            ..
        } => NamespaceSource::File(path.clone()),
    };
    Some(Namespace {
        sandbox: state.spec.id,
        source,
    })
}

/// `vw` and ten digits of the endpoint's id: 12 of the 15 bytes that a name may have.
fn host_ifname(id: EndpointId) -> Result<IfName> {
    format!("vw{}", &id.to_string()[..10]).parse()
}

/// Bits for the link-layer address of an endpoint that has no network-layer one.
fn pseudo_addr(id: EndpointId) -> IpAddr {
    let bytes = id.0.as_bytes();
    IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]])
}
