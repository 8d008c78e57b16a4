//! `service create`.

use super::{Hosted, Roster, Service, ServiceState, change::member};
use crate::{
    Controller,
    command::{Publication, ServiceCreate},
    event::EventType,
    ports::{self, Claims, Wanted},
    records,
    registry::{Attachment, Gate, Network, Sandbox, lock},
    view::Created,
};
use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};
use vw_hoststate::Owner;
use vw_ipam::Holder;
use vw_model::{
    EndpointId, EndpointMode, Error, Family, IpNet, Kind, PortMapping, PortRange, PortRequest,
    PublishedPort, Result, Scope, ServiceId, ServiceSpec,
};
use vw_store::{Batch, Table};

impl Controller {
    pub(crate) fn service_create(&self, request: ServiceCreate) -> Result<Created> {
        let network = self.network(&request.network)?;
        if network.spec.scope == Scope::Global {
            // The hosts of the cluster decide: nothing of this host waits for them.
            self.check_service(&network, &request)?;
            let (name, ports) = (request.name.clone(), request.ports.clone());
            let mut created = self.create_global_service(&network, request)?;
            let lacking = self.lacks_versions(&network, &name, &ports);
            created.warnings.extend(lacking);
            return Ok(created);
        }
        let _deciding = lock(&self.network_changes);
        // Nobody joins the network meanwhile, so that nobody misses the service.
        let gate = network.gate.write().unwrap_or_else(PoisonError::into_inner);
        if *gate == Gate::Removed {
            let sentence = format!("network {} not found", request.network);
            return Err(Error::not_found("network-not-found", sentence));
        }
        self.check_service(&network, &request)?;
        let id = ServiceId::from_bytes((self.random)());
        // On one host all kinds of publishing are the same.
        let asked: Vec<PortRequest> = request.ports.iter().map(|asked| asked.port).collect();
        self.check_binding(&network, &request.ports)?;
        let claims = self.claim_service_ports(&network, &asked, &mut Claims::default())?;
        let vips = self.lease_vips(&network, id, request.mode)?;
        let spec = ServiceSpec {
            id,
            name: request.name,
            network: network.spec.id,
            created: SystemTime::now(),
            mode: request.mode,
            vips,
            ports: published(&claims, self.published_families(&network), &asked),
            affinity: request.affinity,
            drain: request.drain,
            health: request.health,
            labels: request.labels,
        };
        let (name, checked) = (spec.name.clone(), spec.health.is_some());
        let built = self.build_service(&network, spec.clone(), claims);
        let service = built.inspect_err(|_| self.release_vips(&spec))?;
        drop(gate);
        self.publish_service(&service);
        self.publish_members(&service);
        self.tell(
            EventType::Service,
            "create",
            &id.to_string(),
            [("name", name.to_string())],
        );
        if checked {
            self.checker.look_at_all(id);
        }
        Ok(Created {
            id: id.to_string(),
            warnings: self.lacks_versions(&network, &name, &request.ports),
        })
    }

    fn check_service(&self, network: &Network, request: &ServiceCreate) -> Result<()> {
        let name = request.name.as_str();
        let (affinity, publishes) = (request.affinity, !request.ports.is_empty());
        affinity.fits(request.mode, publishes)?;
        if let Some(known) = lock(&self.services).alike(name) {
            let sentence =
                format!("service {known} already exists: remove it first, or use another name");
            return Err(Error::conflict("service-exists", sentence));
        }
        if !network.has_names() {
            let sentence = format!(
                "network {} has no names, so that nobody would find a service on it: use a network that you made",
                network.spec.name
            );
            return Err(Error::new(
                Kind::Unsupported,
                "service-without-names",
                sentence,
            ));
        }
        Ok(())
    }

    /// Leases an address of each family that the network has.
    fn lease_vips(
        &self,
        network: &Network,
        id: ServiceId,
        mode: EndpointMode,
    ) -> Result<Vec<IpNet>> {
        if mode == EndpointMode::Dnsrr {
            return Ok(Vec::new());
        }
        let families = self.vip_families(network)?;
        let holder = Holder::Service(id);
        let mut leased: Vec<IpNet> = Vec::with_capacity(2);
        let mut ipam = lock(&self.ipam);
        for family in families {
            match ipam.allocate(network.spec.id, family, None, holder.clone()) {
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

    pub(crate) fn release_vips(&self, spec: &ServiceSpec) {
        let mut ipam = lock(&self.ipam);
        for vip in &spec.vips {
            ipam.release(spec.network, vip.addr(), &Holder::Service(spec.id));
        }
    }

    /// Refuses ports that name no address where the network keeps those of containers to one, or to
    /// one family: a service would be reached at all of them.
    ///
    /// # Errors
    /// `InvalidArgument` for one.
    pub(super) fn check_binding(&self, network: &Network, asked: &[Publication]) -> Result<()> {
        let cx = &self.config.drivers;
        let hosts = network.driver.default_hosts(&network.spec, cx);
        let families = self.published_families(network);
        let reached = families.iter().copied().map(unspecified);
        let beyond: Vec<IpAddr> = reached.filter(|any| !hosts.contains(any)).collect();
        let mut asked = asked.iter().map(|asked| asked.port);
        let open = asked.find(|request| request.host_ip.is_none());
        let (Some(first), Some(open)) = (beyond.first(), open) else {
            return Ok(());
        };
        let named = |ip: &IpAddr| match ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let (kept, remedy) = match hosts.first() {
            Some(kept) => (format!("at {}", named(kept)), named(kept)),
            None => ("nothing".to_owned(), named(first)),
        };
        let host = open.host.map(|range| range.first.to_string());
        let host = host.unwrap_or_default();
        let sentence = format!(
            "network {} publishes {kept} where no address is named (host_binding_ipv4), and a service is reached at all: name one, as in -p {remedy}:{host}:{}",
            network.spec.name, open.container.port
        );
        Err(Error::invalid("port-without-address", sentence))
    }

    /// Holds the host's ports for what is to be published, keeping those that are `held`.
    ///
    /// # Errors
    /// `Conflict` for one that is taken, `Unsupported` where the network publishes nothing.
    pub(crate) fn claim_service_ports(
        &self,
        network: &Network,
        requests: &[PortRequest],
        held: &mut Claims,
    ) -> Result<Claims> {
        let families = self.published_families(network);
        if !requests.is_empty() && families.is_empty() {
            let sentence = format!(
                "network {} cannot publish ports: publish on a network that is neither internal nor without rules of ours",
                network.spec.name
            );
            return Err(Error::new(
                Kind::Unsupported,
                "port-not-publishable",
                sentence,
            ));
        }
        let in_vain = |ip: &IpAddr| !families.contains(&Family::of(*ip));
        if let Some(ip) = requests.iter().filter_map(|r| r.host_ip).find(in_vain) {
            return Err(over_other_family(network, ip));
        }
        self.claim_ports(families, requests, held)
    }

    /// The same where it is known that they can be published over these families.
    ///
    /// # Errors
    /// `Conflict` for one that is taken.
    pub(super) fn claim_ports(
        &self,
        families: &[Family],
        requests: &[PortRequest],
        held: &mut Claims,
    ) -> Result<Claims> {
        self.as_wanted_of(families, requests, |wanted| {
            ports::settle(&*self.kernel, wanted, held)
        })
    }

    /// The same of those that can be had, and which cannot.
    pub(super) fn claim_each(
        &self,
        families: &[Family],
        requests: &[PortRequest],
        held: &mut Claims,
    ) -> (Claims, Vec<(PortRequest, Error)>) {
        let settled = self.as_wanted_of(families, requests, |wanted| {
            ports::settle_each(&*self.kernel, wanted, held)
        });
        self.miss(&settled.1);
        settled
    }

    fn as_wanted_of<T>(
        &self,
        families: &[Family],
        requests: &[PortRequest],
        settle: impl FnOnce(&Wanted<'_>) -> T,
    ) -> T {
        let hosts: Vec<IpAddr> = families.iter().map(|family| unspecified(*family)).collect();
        settle(&Wanted {
            requests,
            exposed: &[],
            families,
            default_hosts: &hosts,
            ephemeral: self.facts().ephemeral_ports,
            cursor: &self.ephemeral_cursor,
        })
    }

    /// Records a service, brings it about and lists it, with those who name it already.
    fn build_service(
        &self,
        network: &Arc<Network>,
        spec: ServiceSpec,
        claims: Claims,
    ) -> Result<Arc<Service>> {
        let id = spec.id;
        let roster = self.waiting_members(network, &spec)?;
        let fragment = self.service_fragment(network, &spec, &roster, &[]);
        let batch = records::put(Batch::new(), Table::Services, &id.to_string(), &spec)?;
        let members: Vec<_> = roster.members.keys().copied().collect();
        let listed = spec.clone();
        let service = Arc::new(Service {
            id,
            network: network.clone(),
            state: Mutex::new(ServiceState {
                spec,
                roster,
                claims,
                hosted: Hosted::default(),
                owed: Vec::new(),
                sick_before: Default::default(),
                removed: false,
            }),
        });
        let slots = {
            let state = lock(&service.state);
            let led = state.led_here_by(&service);
            self.slots_batch(&service, &state, &state.roster, led)?
        };
        self.keep(batch)?;
        crate::step::reached("service.recorded");
        let brought = self
            .note(slots)
            .and_then(|()| self.bring(vec![(Owner::Service(id), fragment)]));
        if let Err(error) = brought {
            self.unkeep(Table::Services, id.to_string());
            self.unnote(Table::Slots, id.to_string());
            return Err(error);
        }
        crate::step::reached("service.applied");
        lock(&self.services).add(&listed, service.clone());
        self.join_all(&service, &members);
        Ok(service)
    }

    /// Lists the members of a service that is listed, and takes those out again that have left since
    /// they were seen: who takes one out of its network looks only then for its service again.
    pub(super) fn join_all(&self, service: &Service, members: &[EndpointId]) {
        {
            let mut book = lock(&self.services);
            members.iter().for_each(|id| book.join(*id, service.id));
        }
        let on = |id: &&EndpointId| lock(&service.network.members).contains_key(*id);
        let there = |id: &&EndpointId| lock(&service.network.reach).remotes.contains_key(*id);
        for id in members.iter().filter(|id| !on(id) && !there(id)) {
            if let Err(error) = self.leave_service(*id) {
                tracing::error!("{}", error.chain());
            }
        }
        // Whose process came to run meanwhile did not find the service.
        for id in members {
            let sandbox = lock(&service.network.members).get(id).cloned();
            let Some(sandbox) = sandbox else {
                continue;
            };
            // Nor did who has it leave, or had.
            self.heed_departure(&sandbox, &service.network, *id);
            if !sandbox.can_answer() {
                continue;
            }
            if let Some(found) = crate::detach::attachment_of(&sandbox, *id) {
                let Ok(()) = self.serve(service, &sandbox, &found, |state, next| {
                    self.turn_for_good(service, state, next);
                    Ok::<_, Infallible>(())
                });
            }
        }
    }

    /// The endpoints here that name a service before it is there, with their weights.
    fn waiting(
        &self,
        network: &Network,
        spec: &ServiceSpec,
    ) -> Vec<(Arc<Sandbox>, Attachment, u32)> {
        let members: Vec<_> = lock(&network.members)
            .iter()
            .map(|(id, sandbox)| (*id, sandbox.clone()))
            .collect();
        let named = members.into_iter().filter_map(|(id, sandbox)| {
            let attachment = crate::detach::attachment_of(&sandbox, id)?;
            let options = &attachment.endpoint.settings.driver_opts;
            let labels = sandbox.state().spec.labels.clone();
            let (name, weight) = super::members::named(options, &labels)?;
            (name == spec.name.as_str()).then_some((sandbox, attachment, weight))
        });
        named.collect()
    }

    /// Whether all who wait for a service can be asked as it says.
    ///
    /// # Errors
    /// `InvalidArgument` where one cannot.
    pub(super) fn check_waiting(&self, network: &Network, spec: &ServiceSpec) -> Result<()> {
        let waiting = self.waiting(network, spec);
        let mut sandboxes = waiting.iter().map(|(sandbox, ..)| sandbox);
        sandboxes.try_for_each(|sandbox| super::health::can_be_asked(spec, sandbox))
    }

    /// The same as its members. Of a service of the cluster those who cannot be asked as it says are
    /// none: another host made it, and the others are none the worse.
    ///
    /// # Errors
    /// As [`Self::check_waiting`], of a service of this host.
    pub(super) fn waiting_members(&self, network: &Network, spec: &ServiceSpec) -> Result<Roster> {
        let mut found = Vec::new();
        for (sandbox, attachment, weight) in self.waiting(network, spec) {
            let id = attachment.endpoint.id;
            let health = self.health_at_first(spec, &sandbox, id);
            match super::health::can_be_asked(spec, &sandbox) {
                Ok(()) => found.push((id, member(&sandbox, &attachment, weight, health))),
                Err(error) if network.spec.scope == Scope::Global => self.warn(error.chain()),
                Err(error) => return Err(error),
            }
        }
        let mut roster = Roster::default();
        roster.take(found);
        Ok(roster)
    }
}

/// What is published by these claims, each port once for all of the families that its network
/// publishes over; one that was asked for at an address stays there, whatever is published over now.
pub(super) fn published(
    claims: &Claims,
    families: &[Family],
    asked: &[PortRequest],
) -> Vec<PublishedPort> {
    let mappings = claims.mappings();
    let everywhere = |mapping: &PortMapping| {
        let at = |family: &Family| PortMapping {
            host: SocketAddr::new(unspecified(*family), mapping.host.port()),
            ..*mapping
        };
        mapping.host.ip().is_unspecified() && families.iter().all(|f| mappings.contains(&at(f)))
    };
    let is_named = |mapping: &PortMapping| {
        let number = mapping.host.port();
        let holds = |range: PortRange| (range.first..=range.last).contains(&number);
        let suits = |request: &&PortRequest| {
            request.container == mapping.container && request.host.is_none_or(holds)
        };
        let at = |host: Option<IpAddr>| {
            let mut suiting = asked.iter().filter(suits);
            suiting.any(|request| request.host_ip == host)
        };
        // One that was asked for at all addresses is not split by another of the same range.
        at(Some(mapping.host.ip())) && !at(None)
    };
    let mut ports: Vec<PublishedPort> = Vec::new();
    for mapping in &mappings {
        let kept = is_named(mapping) || !everywhere(mapping);
        let port = PublishedPort {
            host: kept.then_some(mapping.host.ip()),
            published: mapping.host.port(),
            target: mapping.container,
            mode: Default::default(),
            prefer: Default::default(),
        };
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    ports
}

/// The refusal of a port at an address of an IP version that a network does not publish over.
pub(super) fn over_other_family(network: &Network, ip: IpAddr) -> Error {
    let sentence = format!(
        "network {} does not publish ports at {ip}: it publishes over the other IP version alone",
        network.spec.name
    );
    Error::new(Kind::Unsupported, "port-not-publishable", sentence)
}

/// Where what names no address is published.
pub(crate) const fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    }
}
