//! Who was led to endpoints: by what, and what of it is forgotten when they are to be led to no more.
//!
//! A connection that stands goes on. Over UDP there is no end to what somebody sends, and a connection
//! that nobody answered has not begun: those are led to others, where there are any.

use super::{Member, Service, ServiceState, hosted::may_publish, plan::ingress};
use crate::{
    Controller,
    registry::{Sandbox, lock},
};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
};
use vw_firewall::STAND_IN;
use vw_hoststate::Netns;
use vw_kernel::{Led, LedBy};
use vw_model::{
    EndpointId, Family, HostPort, IpNet, NetworkId, PortKey, PortMapping, PublishedPort, SandboxId,
    ServiceSpec,
};

/// By what this host leads to the endpoints of a service, where it does so itself.
pub(super) fn led_by(spec: &ServiceSpec) -> LedBy {
    LedBy {
        addrs: spec.vips.iter().map(IpNet::addr).collect(),
        ..by_ports(spec.ports.iter().map(PublishedPort::at))
    }
}

/// The same where it does so by ports.
fn by_ports(ports: impl Iterator<Item = HostPort>) -> LedBy {
    LedBy {
        ports: ports.flat_map(entrances).collect(),
        ..LedBy::default()
    }
}

/// Where who asks for a port is seen to ask: on its way, another address stands for `::1`.
pub(super) fn entrances(at: HostPort) -> impl Iterator<Item = HostPort> {
    let localhost = at.host == Some(Ipv6Addr::LOCALHOST.into());
    let stand_in = localhost.then_some(HostPort {
        host: Some(STAND_IN.into()),
        ..at
    });
    [at].into_iter().chain(stand_in)
}

/// Whether all that is sent to one of two ports is led by the other as well, to the same port.
fn goes_on(port: &PublishedPort, by: &PublishedPort) -> bool {
    let is_within = match (by.host, port.host) {
        (Some(by), Some(host)) => by == host || by == super::unspecified(Family::of(host)),
        (by, _) => by.is_none(),
    };
    is_within && by.published == port.published && by.target == port.target
}

/// Which of these ports lead there no more as they led, wherever they did.
fn gone<'a>(former: &'a [PublishedPort], now: &[PublishedPort]) -> Vec<&'a PublishedPort> {
    let stays = |port: &PublishedPort| now.iter().any(|by| goes_on(port, by));
    former.iter().filter(|port| !stays(port)).collect()
}

/// By what of these ports nobody is to be led there any more: of one that is published at fewer
/// addresses, at the others.
fn by_gone(former: &[PublishedPort], now: &[PublishedPort]) -> LedBy {
    let gone = gone(former, now);
    let left = now
        .iter()
        .filter(|port| gone.iter().any(|by| goes_on(port, by)));
    LedBy {
        but: left.map(PublishedPort::at).flat_map(entrances).collect(),
        ..by_ports(gone.iter().map(|port| port.at()))
    }
}

/// By what of these ports a service leads nobody any more, where there is any, and to whom it leads.
fn of_gone(service: &Service, former: &[PublishedPort]) -> Option<(LedBy, Vec<Member>)> {
    let state = lock(&service.state);
    let gone = by_gone(former, &state.spec.ports);
    let members = state.roster.members.values().cloned();
    (!gone.ports.is_empty()).then(|| (gone, members.collect()))
}

impl Controller {
    /// Has who was led here to endpoints that are gone, or are not well, be led to others.
    pub(super) fn forget_led(&self, service: &Service, gone: &[Member]) {
        for (netns, led) in self.led_to(service, gone) {
            self.forget_in(service, netns, led);
        }
    }

    /// The same soon, by another thread; never waits for it.
    pub(super) fn owe_led(&self, service: &Service, gone: &[Member]) {
        let owed = &self.balancers.owed;
        for (netns, led) in self.led_to(service, gone) {
            if let Some(led) = owed.keep(service.id, netns, led) {
                owed.add(netns, led);
                owed.forget_soon();
            }
        }
    }

    /// Who was led here to endpoints of a service.
    fn led_to(&self, service: &Service, gone: &[Member]) -> Vec<(Netns, Led)> {
        if gone.is_empty() {
            return Vec::new();
        }
        let spec = lock(&service.state).spec.clone();
        let addresses = gone.iter().flat_map(|member| member.addresses.clone());
        let addresses: BTreeSet<IpAddr> = addresses.collect();
        let by = led_by(&spec);
        if !service.is_global() {
            return vec![(Netns::Host, self.led_here(gone, addresses, by))];
        }
        let balancer = self.balancers.on(service.network.spec.id);
        let inside = balancer.map(|balancer| {
            let led = Led {
                to: addresses,
                by: None,
            };
            (Netns::Sandbox(balancer.id), led)
        });
        let hosted = may_publish(&spec);
        let here = hosted.then(|| (Netns::Host, self.led_here(gone, BTreeSet::new(), by)));
        inside.into_iter().chain(here).collect()
    }

    /// The same of one that left the service. On a network of one host, who was led to it there goes
    /// with it, unless it is led there still; by a published port it may have been led to on another one,
    /// where it stays.
    pub(super) fn forget_gone(&self, service: &Service, gone: &Member) {
        if service.is_global() {
            self.cut_off(
                service.network.spec.id,
                &gone.addresses.iter().copied().collect(),
            );
        }
        if service.is_global() || self.balancers.owed.stands(service.id) {
            return self.forget_led(service, std::slice::from_ref(gone));
        }
        let by = LedBy {
            addrs: BTreeSet::new(),
            ..led_by(&lock(&service.state).spec)
        };
        let mut led = self.led_here(std::slice::from_ref(gone), BTreeSet::new(), by);
        led.to.retain(|addr| !gone.addresses.contains(addr));
        self.forget_in(service, Netns::Host, led);
    }

    /// Ends what the balancer of a network leads to endpoints that are gone: who goes on would wait for an
    /// answer for minutes. Nobody is led to them any more.
    pub(super) fn cut_off(&self, network: NetworkId, gone: &BTreeSet<IpAddr>) {
        let Some(balancer) = self.balancers.on(network).filter(|_| !gone.is_empty()) else {
            return;
        };
        match self.kernel.forget_all(Netns::Sandbox(balancer.id), gone) {
            Err(error) if !error.is_namespace_gone() => {
                tracing::warn!("connections to an endpoint that is gone are not ended: {error}");
            }
            _ => {}
        }
    }

    /// The same of all of a service that is removed: who sends there is led by nobody.
    pub(super) fn forget_all_led(&self, service: &Service) {
        self.note_led(service.id);
        self.forget_due();
        let all: Vec<Member> = {
            let state = lock(&service.state);
            state.roster.members.values().cloned().collect()
        };
        self.forget_led(service, &all);
    }

    /// The same of who was led by ports that a service on a network of this host has no more.
    pub(super) fn forget_ports(&self, service: &Service, former: &[PublishedPort]) {
        if let Some((gone, members)) = of_gone(service, former) {
            let own = members.iter().flat_map(|member| member.addresses.clone());
            self.forget_here(service, &members, own.collect(), gone);
        }
        self.note_forgotten(service, former);
    }

    /// Who is led by the balancer of a service's network by ports that it has no more once it
    /// publishes these. The caller holds the service's state.
    pub(super) fn led_inside_by_gone(
        &self,
        service: &Service,
        state: &ServiceState,
        next: &[PublishedPort],
    ) -> Option<(Netns, Led)> {
        let network = service.network.spec.id;
        let balancer = self.balancers.on(network)?;
        let at = addresses_of(&balancer);
        let inside = |gone: &PublishedPort| {
            let port = PortKey {
                port: self.inner_port(network, gone.at()),
                ..gone.at().port
            };
            let at = at.iter().map(|addr| Some(*addr));
            at.map(move |host| HostPort { host, port })
                .collect::<Vec<_>>()
        };
        let former: Vec<PublishedPort> = ingress(&state.spec).copied().collect();
        let gone = gone(&former, next);
        let members = state.roster.members.values();
        let led = Led {
            to: members.flat_map(|m| m.addresses.clone()).collect(),
            by: Some(by_ports(gone.into_iter().flat_map(inside))),
        };
        Some((Netns::Sandbox(balancer.id), led))
    }

    /// Has who was led by ports of this host to endpoints here, past the balancer, be led anew where
    /// their service publishes them no more.
    pub(super) fn forget_hosted(&self, service: &Service, former: &[PublishedPort]) {
        if let Some((gone, members)) = of_gone(service, former) {
            self.forget_here(service, &members, BTreeSet::new(), gone);
        }
        self.note_forgotten(service, former);
    }

    /// Notes that all are forgotten who were led by these ports, unless that is owed still.
    fn note_forgotten(&self, service: &Service, former: &[PublishedPort]) {
        if !self.balancers.owed.owes(service.id) {
            let mut state = lock(&service.state);
            state.owed.retain(|port| !former.contains(port));
        }
    }

    /// Has who was led by ports of this host to what leads on, which published these, be led by those no
    /// more that it publishes no more, with what is due: the caller has the network's turn.
    pub(super) fn owe_led_in(&self, balancer: &Sandbox, former: Vec<PortMapping>) {
        let published = balancer.state().published.clone();
        let gone = former.into_iter();
        let gone = gone.filter(|mapping| !published.contains(mapping));
        let ports = gone.map(|mapping| HostPort {
            host: Some(mapping.host.ip()),
            port: PortKey {
                port: mapping.host.port(),
                protocol: mapping.container.protocol,
            },
        });
        let led = Led {
            to: addresses_of(balancer).into_iter().collect(),
            by: Some(by_ports(ports)),
        };
        self.balancers.owed.add(Netns::Host, led);
    }

    /// Forgets who was led by this host to these addresses, or to where it reaches these members of a
    /// service by its ports.
    fn forget_here(&self, service: &Service, members: &[Member], to: BTreeSet<IpAddr>, by: LedBy) {
        let led = self.led_here(members, to, by);
        self.forget_in(service, Netns::Host, led);
    }

    fn led_here(&self, members: &[Member], mut to: BTreeSet<IpAddr>, mut by: LedBy) -> Led {
        if !by.ports.is_empty() {
            let here = members.iter().filter(|member| member.host.is_none());
            for sandbox in here.map(|member| member.sandbox) {
                to.extend(self.reached_at(sandbox));
                by.except.extend(self.vips_of(sandbox));
            }
        }
        let by = Some(by);
        Led { to, by }
    }

    /// The addresses of services that a sandbox is in. What is sent there is led to it by them, and by
    /// no port of this host, whoever publishes it.
    pub(super) fn vips_of(&self, sandbox: SandboxId) -> BTreeSet<IpAddr> {
        let Some(sandbox) = self.registry().sandbox_by_id(sandbox) else {
            return BTreeSet::new();
        };
        let state = sandbox.state();
        let endpoints = state.attachments.iter().map(|a| a.endpoint.id);
        let endpoints: Vec<EndpointId> = endpoints.collect();
        drop(state);
        let services = endpoints
            .iter()
            .filter_map(|id| lock(&self.services).of(*id));
        let vips = services.flat_map(|service| lock(&service.state).spec.vips.clone());
        vips.map(|vip| vip.addr()).collect()
    }

    /// Forgets who was led so, now or once the kernel leads to their service as it should. The caller
    /// holds nothing that others wait for: the kernel's whole table may be walked for it.
    pub(super) fn forget_in(&self, service: &Service, netns: Netns, led: Led) {
        crate::step::reached("service.led");
        if let Some(led) = self.balancers.owed.keep(service.id, netns, led) {
            self.forget(netns, &led);
        }
    }

    /// The same of all that is due.
    pub(super) fn forget_due(&self) {
        for (netns, led) in self.balancers.owed.take_due() {
            self.forget(netns, &led);
        }
    }

    /// Forgets it now.
    pub(super) fn forget(&self, netns: Netns, led: &Led) {
        let by_nothing = |by: &LedBy| by.addrs.is_empty() && by.ports.is_empty();
        if led.to.is_empty() || led.by.as_ref().is_some_and(by_nothing) {
            return;
        }
        match self.kernel.forget_led(netns, led) {
            // Nobody is led there.
            Err(error) if !error.is_namespace_gone() => {
                tracing::warn!("who was led to an endpoint stays there: {error}");
            }
            _ => {}
        }
    }
}

pub(super) fn addresses_of(sandbox: &Sandbox) -> Vec<IpAddr> {
    let state = sandbox.state();
    let endpoints = state.attachments.iter().map(|a| &a.endpoint);
    let addresses = endpoints.flat_map(|endpoint| &endpoint.addresses);
    addresses.map(IpNet::addr).collect()
}
