//! Endpoints on other hosts in the services of this one: taken in, and let go.
//!
//! Owns that what is told at once is done at once: a host that dies has endpoints in many services,
//! and each change of the kernel, and each look at what is led there, costs the same for one of them
//! as for all.

use super::{Member, Roster, Service, ServiceState, roster::Health};
use crate::{
    Controller,
    registry::{Network, lock},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, MutexGuard},
};
use vw_cluster::Parting;
use vw_hoststate::Netns;
use vw_kernel::Led;
use vw_model::{EndpointId, IpNet, NetworkId, RemoteEndpoint, SandboxId, ServiceId, ServicePart};

/// A service, which nobody changes meanwhile, with the endpoints that are taken up in it.
struct TakenUp<'a> {
    service: &'a Service,
    state: MutexGuard<'a, ServiceState>,
    endpoints: &'a [EndpointId],
}

/// What came of it.
struct Taken<'a> {
    service: &'a Service,
    /// Those of this host that waited for room, and have some.
    let_in: Vec<(EndpointId, SandboxId)>,
    /// Which of the endpoints are in the service.
    stay: Vec<(EndpointId, bool)>,
}

/// Who is in a service from now on, and who is led to no more.
struct Decided {
    next: Roster,
    gone: Gone,
}

/// Who is led to no more.
struct Gone {
    members: Vec<Member>,
    /// Where those of them were whose own hosts say that they are gone. Of a host that is dead or away,
    /// connections may go on when it is back.
    ended: Vec<IpAddr>,
}

impl Controller {
    /// Takes up what changed of endpoints on other hosts.
    pub(crate) fn remote_members_changed(&self, network: &Network, touched: &[EndpointId]) {
        let mut affected: BTreeMap<ServiceId, Vec<EndpointId>> = BTreeMap::new();
        {
            let reach = lock(&network.reach);
            let book = lock(&self.services);
            for id in touched {
                let remote = reach.remotes.get(id);
                let name = remote.and_then(|remote| named_by(remote));
                let named = name.and_then(|name| book.named_on(network.spec.id, name));
                for service in book.of(*id).iter().chain(&named) {
                    affected.entry(service.id).or_default().push(*id);
                }
            }
        }
        self.take_up_each(&affected, None);
    }

    /// Has nobody led to endpoints on other hosts that are gone, while the network knows them still.
    pub(crate) fn remote_members_gone(&self, gone: &BTreeMap<EndpointId, Parting>) {
        let mut affected: BTreeMap<ServiceId, Vec<EndpointId>> = BTreeMap::new();
        {
            let book = lock(&self.services);
            for id in gone.keys() {
                if let Some(service) = book.of(*id) {
                    affected.entry(service.id).or_default().push(*id);
                }
            }
        }
        if !affected.is_empty() {
            self.take_up_each(&affected, Some(gone));
        }
    }

    /// Takes up endpoints in these services, as the network knows them or as gone where it is given how
    /// they went; the services' locks are taken in the order of their ids and held together: nobody else
    /// holds two.
    fn take_up_each(
        &self,
        affected: &BTreeMap<ServiceId, Vec<EndpointId>>,
        partings: Option<&BTreeMap<EndpointId, Parting>>,
    ) {
        let found: Vec<(Arc<Service>, &Vec<EndpointId>)> = {
            let book = lock(&self.services);
            let found = affected.iter();
            found
                .filter_map(|(id, endpoints)| Some((book.get(*id)?, endpoints)))
                .collect()
        };
        let taken_up = found.iter().map(|(service, endpoints)| TakenUp {
            service,
            state: lock(&service.state),
            endpoints,
        });
        let mut taken_up: Vec<TakenUp<'_>> = taken_up.filter(|one| !one.state.removed).collect();
        let decided = taken_up.iter().map(|one| one.decide(partings));
        let (nexts, gone): (Vec<Roster>, Vec<Gone>) =
            decided.map(|decided| (decided.next, decided.gone)).unzip();
        let formers: Vec<Roster> = taken_up
            .iter()
            .map(|one| one.state.roster.clone())
            .collect();
        let turns = taken_up.iter_mut().zip(nexts);
        self.turn_all_for_good(
            turns
                .map(|(one, next)| (one.service, &mut *one.state, next))
                .collect(),
        );
        let mut led: BTreeMap<SandboxId, BTreeSet<IpAddr>> = BTreeMap::new();
        let mut cut_off: BTreeMap<NetworkId, BTreeSet<IpAddr>> = BTreeMap::new();
        for (one, gone) in taken_up.iter().zip(gone) {
            let Gone { members, ended } = gone;
            let network = one.service.network.spec.id;
            cut_off.entry(network).or_default().extend(ended);
            let balancer = self.balancers.on(network);
            if let Some(balancer) = balancer.filter(|_| !members.is_empty()) {
                let to = members.into_iter().flat_map(|member| member.addresses);
                let to = Led {
                    to: to.collect(),
                    by: None,
                };
                let netns = Netns::Sandbox(balancer.id);
                let now = self.balancers.owed.keep(one.service.id, netns, to);
                led.entry(balancer.id)
                    .or_default()
                    .extend(now.into_iter().flat_map(|led| led.to));
            }
        }
        let ended = taken_up.into_iter().zip(formers);
        let taken: Vec<Taken<'_>> = ended.map(|(one, former)| one.end(&former)).collect();
        for (balancer, to) in led {
            crate::step::reached("service.led");
            self.forget(Netns::Sandbox(balancer), &Led { to, by: None });
        }
        for (network, addrs) in cut_off {
            self.cut_off(network, &addrs);
        }
        for one in taken {
            self.taken_up(one);
        }
    }

    /// Names who came in, and lists who stays. Nobody holds a service: who is named is told of.
    fn taken_up(&self, taken: Taken<'_>) {
        let service = taken.service;
        self.name_let_in(service, taken.let_in);
        let mut book = lock(&self.services);
        for (id, stays) in taken.stay {
            match stays {
                true => book.join(id, service.id),
                false if book.of(id).is_some_and(|of| of.id == service.id) => book.leave(id),
                false => {}
            }
        }
    }
}

impl<'a> TakenUp<'a> {
    /// Lets go of the service, whose roster was this one before.
    fn end(self, former: &Roster) -> Taken<'a> {
        let now = &self.state.roster;
        let stays = |id: &EndpointId| (*id, now.members.contains_key(id));
        Taken {
            service: self.service,
            let_in: super::change::let_in(former, now),
            stay: self.endpoints.iter().map(stays).collect(),
        }
    }

    /// Who is in the service once these endpoints are as the network knows them; or gone, where it is
    /// given how.
    fn decide(&self, partings: Option<&BTreeMap<EndpointId, Parting>>) -> Decided {
        let name = self.state.spec.name.as_str();
        let former = &self.state.roster;
        let (mut left, mut came) = (Vec::new(), Vec::new());
        {
            let reach = lock(&self.service.network.reach);
            for id in self.endpoints {
                let remote = reach.remotes.get(id);
                let named = remote.filter(|remote| named_by(remote) == Some(name));
                let named = named.filter(|_| partings.is_none());
                match named.and_then(|remote| member_of(remote)) {
                    Some(member) => came.push((*id, member)),
                    None if former.members.get(id).is_some_and(|m| m.host.is_some()) => {
                        left.push(*id);
                    }
                    None => {}
                }
            }
        }
        let gone = left.iter().filter_map(|id| former.members.get(id).cloned());
        let mut gone: Vec<Member> = gone.collect();
        let is_withdrawn =
            |id: &EndpointId| partings.and_then(|how| how.get(id)) == Some(&Parting::Withdrawn);
        let withdrawn = left.iter().filter(|id| is_withdrawn(id));
        let withdrawn = withdrawn.filter_map(|id| former.members.get(id));
        let ended = withdrawn.flat_map(|member| member.addresses.clone());
        let ended = ended.collect();
        let sick = came
            .iter()
            .filter(|(id, member)| member.health == Health::Unhealthy && former.serves(*id));
        gone.extend(sick.map(|(_, member)| member.clone()));
        let mut next = former.clone();
        next.let_go(left);
        next.take(came);
        let gone = Gone {
            members: gone,
            ended,
        };
        Decided { next, gone }
    }
}

/// The service that an endpoint on another host is in.
pub(super) fn named_by(remote: &RemoteEndpoint) -> Option<&str> {
    match &remote.service {
        Some(ServicePart::Member { service, .. }) => Some(service),
        Some(ServicePart::Balancer { .. }) | None => None,
    }
}

/// An endpoint on another host as a member. Where that host is away nothing more is led to it, and
/// what was goes on, as if it left.
pub(super) fn member_of(remote: &RemoteEndpoint) -> Option<Member> {
    let Some(ServicePart::Member { weight, health, .. }) = &remote.service else {
        return None;
    };
    let health = match remote.away {
        true => Health::Leaving,
        false => *health,
    };
    Some(Member {
        sandbox: remote.sandbox,
        host: Some(remote.host),
        name: remote.names.first().cloned().unwrap_or_default(),
        addresses: remote.addresses.iter().map(IpNet::addr).collect(),
        weight: *weight,
        health,
    })
}
