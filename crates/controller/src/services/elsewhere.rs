//! Who was led by services otherwise than they lead at the daemon's start: the one before may have ended
//! after it led elsewhere, and before it forgot them.
//!
//! Owns that each namespace is looked at once, however many services there are, that it is known by
//! what was led, also where that leads nobody any more, and that what others lead stays.

use super::{
    Member, Service, ServiceState, SlotRecord,
    led::{addresses_of, entrances},
    plan::ingress,
    roster::Health,
};
use crate::{
    Controller, records,
    registry::{Network, lock},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};
use vw_cluster::{Delta, Parting};
use vw_hoststate::Netns;
use vw_kernel::{Beside, Leads};
use vw_model::{
    EndpointId, HostPort, IpNet, NetworkId, PortKey, PortMapping, PublishedPort, RemoteEndpoint,
    Result, Scope,
};
use vw_store::{Batch, Table};

/// Endpoints on other hosts of which this one was told since the daemon's start, until the store was read.
#[derive(Default)]
pub(crate) struct ToldSince(Mutex<Told>);

#[derive(Default)]
struct Told {
    /// The store was read.
    over: bool,
    endpoints: BTreeMap<(NetworkId, EndpointId), Arc<RemoteEndpoint>>,
}

impl ToldSince {
    pub(crate) fn note(&self, deltas: &[Delta]) {
        let mut told = lock(&self.0);
        if told.over {
            return;
        }
        for delta in deltas {
            match delta {
                Delta::Endpoint(remote) => {
                    let at = (remote.network, remote.id);
                    told.endpoints.insert(at, remote.clone());
                }
                Delta::EndpointGone(network, id, Parting::Withdrawn) => {
                    told.endpoints.remove(&(*network, *id));
                }
                // One that is lost may be there and come back.
                _ => {}
            }
        }
    }

    /// The addresses of those by network, the first time alone.
    fn end(&self) -> Option<BTreeMap<NetworkId, BTreeSet<IpAddr>>> {
        let mut told = lock(&self.0);
        if std::mem::replace(&mut told.over, true) {
            return None;
        }
        let mut addresses: BTreeMap<_, BTreeSet<IpAddr>> = BTreeMap::new();
        for ((network, _), remote) in std::mem::take(&mut told.endpoints) {
            let of_network = addresses.entry(network).or_default();
            of_network.extend(remote.addresses.iter().map(IpNet::addr));
        }
        Some(addresses)
    }
}

impl ServiceState {
    /// The ports by which this host's own table leads to its endpoints.
    pub(super) fn led_here_by(&self, service: &Service) -> &[PublishedPort] {
        match service.is_global() {
            true => &self.hosted.ports,
            false => &self.spec.ports,
        }
    }

    /// The ports by which it did, where it is to lead by these from now on.
    pub(super) fn led_before(
        &self,
        service: &Service,
        led: &[PublishedPort],
    ) -> Vec<PublishedPort> {
        let mut before = self.owed.clone();
        let now = self.led_here_by(service).iter().copied();
        before.extend(now.filter(|port| !self.owed.contains(port)));
        before.retain(|port| !led.contains(port));
        before
    }

    /// The addresses by which it does.
    pub(super) fn led_here_at(&self, service: &Service) -> Vec<IpAddr> {
        let vips = self.spec.vips.iter().filter(|_| !service.is_global());
        vips.map(vw_model::IpNet::addr).collect()
    }
}

impl Controller {
    /// Has them be led anew.
    pub(crate) fn forget_led_elsewhere(&self) {
        let mut by_network: BTreeMap<NetworkId, Vec<Arc<Service>>> = BTreeMap::new();
        let all = lock(&self.services).all();
        for service in all.iter().filter(|service| service.is_global()) {
            let of_network = by_network.entry(service.network.spec.id).or_default();
            of_network.push(service.clone());
        }
        for (network, services) in by_network {
            if let Some(balancer) = self.balancers.on(network) {
                let leads = self.leads_inside(&services);
                self.forget_elsewhere(Netns::Sandbox(balancer.id), &leads);
            }
        }
        let boot = self.facts().boot_id.clone();
        let records: Vec<SlotRecord> = match records::scan(&*self.run, Table::Slots) {
            Ok(records) => records,
            Err(error) => {
                tracing::warn!("it is not known by what services led: {}", error.chain());
                Vec::new()
            }
        };
        let records: Vec<_> = records.into_iter().filter(|r| r.boot == boot).collect();
        let leads = self.leads_here(&all, &records);
        if self.forget_elsewhere(Netns::Host, &leads)
            && let Err(error) = self.settle_records(&records)
        {
            tracing::warn!("{}", error.chain());
        }
    }

    /// The store was read for the first time: ends what is led to endpoints that are gone, as the daemon
    /// before may have ended once it knew that and before it did so. Not before: the local copy lacks those
    /// of hosts that are dead, which may come back.
    pub(crate) fn cut_off_strangers(&self) {
        let Some(mut told) = self.balancers.told_since.end() else {
            return;
        };
        for network in self.balancers.networks() {
            let told = told.remove(&network).unwrap_or_default();
            let strangers = self.strangers_on(network, told);
            self.cut_off(network, &strangers);
        }
    }

    /// Whom what leads on a network leads to, and who is none of its endpoints, nor of these.
    fn strangers_on(&self, network: NetworkId, mut known: BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
        let none = BTreeSet::new();
        let Some(balancer) = self.balancers.on(network) else {
            return none;
        };
        let answering = self.kernel.answering(Netns::Sandbox(balancer.id));
        let answering = match answering {
            Ok(answering) if !answering.is_empty() => answering,
            Ok(_) => return none,
            Err(error) => {
                if !error.is_namespace_gone() {
                    tracing::warn!("it is not known to whom services led: {error}");
                }
                return none;
            }
        };
        // After that was looked at: who is led to is known before.
        if let Ok(cluster) = self.cluster() {
            known.extend(cluster.remote_addresses(network));
        }
        known.extend(self.addresses_on(network));
        let is_known = |addr: &IpAddr| known.contains(&vw_firewall::unmapped(*addr));
        answering
            .into_iter()
            .filter(|addr| !is_known(addr))
            .collect()
    }

    /// The addresses of this host's endpoints on a network, and of all to whom its services lead.
    fn addresses_on(&self, id: NetworkId) -> BTreeSet<IpAddr> {
        let mut addresses = BTreeSet::new();
        let services = lock(&self.services).all().into_iter();
        for service in services.filter(|service| service.network.spec.id == id) {
            let state = lock(&service.state);
            let members = state.roster.members.values();
            addresses.extend(members.flat_map(|member| member.addresses.clone()));
        }
        let Some(network) = self.registry().network_by_id(id) else {
            return addresses;
        };
        let members: Vec<_> = lock(&network.members).values().cloned().collect();
        for sandbox in members {
            addresses.extend(addresses_of(&sandbox));
        }
        addresses
    }

    fn forget_elsewhere(&self, netns: Netns, leads: &Leads) -> bool {
        let alone = leads.beside.as_ref().map(|beside| &beside.alone);
        let by_nobody = leads.addrs.is_empty() && leads.ports.is_empty();
        if by_nobody && alone.is_none_or(BTreeSet::is_empty) {
            return true;
        }
        match self.kernel.forget_led_elsewhere(netns, leads) {
            Err(error) if !error.is_namespace_gone() => {
                tracing::warn!("who was led to an endpoint that left may stay there: {error}");
                false
            }
            _ => true,
        }
    }

    /// Where the sandbox leads that leads to these services of a network.
    fn leads_inside(&self, services: &[Arc<Service>]) -> Leads {
        let mut leads = Leads::default();
        for service in services {
            let network = &service.network;
            let families = super::ingress::families(network);
            let state = lock(&service.state);
            let to: BTreeSet<IpAddr> = living(&state).flat_map(|m| m.addresses.clone()).collect();
            for vip in &state.spec.vips {
                leads.addrs.insert(vip.addr(), to.clone());
            }
            for port in ingress(&state.spec) {
                let led = self.led_inside(network.spec.id, &families, port);
                let at = HostPort {
                    host: led.host,
                    port: PortKey {
                        port: led.published,
                        protocol: led.protocol,
                    },
                };
                let to = to.iter().map(|addr| SocketAddr::new(*addr, led.target));
                leads.ports.entry(at).or_default().extend(to);
            }
        }
        leads
    }

    /// Where this host leads by its own tables, and by what it did when that was recorded.
    fn leads_here(&self, services: &[Arc<Service>], records: &[SlotRecord]) -> Leads {
        let mut leads = Leads::default();
        for service in services {
            let state = lock(&service.state);
            let mut to: BTreeSet<IpAddr> = BTreeSet::new();
            for member in living(&state).filter(|member| member.host.is_none()) {
                to.extend(self.reached_at(member.sandbox));
                to.extend(member.addresses.iter().filter(|_| !service.is_global()));
            }
            for vip in state.led_here_at(service) {
                leads.addrs.insert(vip, to.clone());
            }
            for port in state.led_here_by(service) {
                add(&mut leads, port.at(), &to, port.target.port);
            }
        }
        let mut beside = Beside {
            within: self.nets_here(),
            alone: BTreeSet::new(),
        };
        for balancer in self.balancers.all() {
            let to: BTreeSet<IpAddr> = addresses_of(&balancer).into_iter().collect();
            let published = balancer.state().published.clone();
            for mapping in &published {
                add(&mut leads, at(mapping), &to, mapping.container.port);
            }
            beside.alone.extend(to);
        }
        leads.beside = Some(beside);
        self.add_former(&mut leads, records);
        leads
    }

    /// What leads nobody any more is led nowhere, unless somebody else publishes it now.
    fn add_former(&self, leads: &mut Leads, records: &[SlotRecord]) {
        let sandboxes = self.registry().sandboxes();
        let of_others = sandboxes.iter().filter(|sandbox| !sandbox.balances);
        let of_others = of_others.flat_map(|sandbox| sandbox.state().published.clone());
        let of_others: BTreeSet<PortKey> = of_others.map(|mapping| at(&mapping).port).collect();
        for record in records {
            for vip in &record.vips {
                leads.addrs.entry(*vip).or_default();
            }
            let ports = record.before.iter().chain(&record.hosted);
            for port in ports.filter(|port| !of_others.contains(&port.at().port)) {
                add(leads, port.at(), &BTreeSet::new(), port.target.port);
            }
        }
    }

    /// The addresses of networks of this host.
    fn nets_here(&self) -> Vec<vw_model::IpNet> {
        let networks = self.registry().networks().into_iter();
        let here = networks.filter(|network| network.spec.scope == Scope::Local);
        let nets = |network: Arc<Network>| {
            let pools = network.spec.ipam.pools.iter().map(|pool| pool.subnet);
            pools.collect::<Vec<_>>()
        };
        here.flat_map(nets).collect()
    }

    /// Records what is led by now alone, and nothing of services that are gone.
    fn settle_records(&self, records: &[SlotRecord]) -> Result<()> {
        let mut batch = Batch::new();
        for record in records {
            let service = lock(&self.services).get(record.service);
            let Some(service) = service else {
                batch = batch.delete(Table::Slots, record.service.to_string());
                continue;
            };
            if !record.before.is_empty() {
                let mut state = lock(&service.state);
                state.owed.retain(|port| !record.before.contains(port));
                let led = state.led_here_by(&service);
                batch.append(self.slots_batch(&service, &state, &state.roster, led)?);
            }
        }
        match batch.is_empty() {
            true => Ok(()),
            false => self.note(batch),
        }
    }
}

/// Those to whom who was led stays led: all but the sick.
fn living(state: &ServiceState) -> impl Iterator<Item = &Member> {
    let members = state.roster.members.values();
    members.filter(|member| member.health != Health::Unhealthy)
}

fn add(leads: &mut Leads, at: HostPort, to: &BTreeSet<IpAddr>, target: u16) {
    for at in entrances(at) {
        let to = to.iter().map(|addr| SocketAddr::new(*addr, target));
        leads.ports.entry(at).or_default().extend(to);
    }
}

const fn at(mapping: &PortMapping) -> HostPort {
    HostPort {
        host: Some(mapping.host.ip()),
        port: PortKey {
            port: mapping.host.port(),
            protocol: mapping.container.protocol,
        },
    }
}
