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
use vw_model::{HostPort, IpNet, PortKey, PortMapping, PublishedPort, ServiceSpec};

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
fn entrances(at: HostPort) -> impl Iterator<Item = HostPort> {
    let localhost = at.host == Some(Ipv6Addr::LOCALHOST.into());
    let stand_in = localhost.then_some(HostPort {
        host: Some(STAND_IN.into()),
        ..at
    });
    [at].into_iter().chain(stand_in)
}

/// What of these ports is not to lead there any more, as it led.
fn gone(former: &[PublishedPort], now: &[PublishedPort]) -> Vec<HostPort> {
    let stays = |port: &PublishedPort| {
        let mut now = now.iter();
        now.any(|other| other.at() == port.at() && other.target == port.target)
    };
    let gone = former.iter().filter(|port| !stays(port));
    gone.map(PublishedPort::at).collect()
}

impl Controller {
    /// Has who was led here to endpoints that are gone, or are not well, be led to others.
    pub(super) fn forget_led(&self, service: &Service, gone: &[Member]) {
        if gone.is_empty() {
            return;
        }
        let spec = lock(&service.state).spec.clone();
        let addresses = gone.iter().flat_map(|member| member.addresses.clone());
        let addresses: BTreeSet<IpAddr> = addresses.collect();
        let by = led_by(&spec);
        if !service.is_global() {
            let mut addresses = addresses;
            if !by.ports.is_empty() {
                let reached = gone.iter().flat_map(|m| self.reached_at(m.sandbox));
                addresses.extend(reached);
            }
            let led = Led {
                to: addresses,
                by: Some(by),
            };
            return self.forget_in(Netns::Host, &led);
        }
        if let Some(balancer) = self.balancers.on(service.network.spec.id) {
            let led = Led {
                to: addresses,
                by: None,
            };
            self.forget_in(Netns::Sandbox(balancer.id), &led);
        }
        if may_publish(&spec) {
            let here = gone.iter().filter(|member| member.host.is_none());
            let reached = here.flat_map(|member| self.reached_at(member.sandbox));
            let led = Led {
                to: reached.collect(),
                by: Some(by),
            };
            self.forget_in(Netns::Host, &led);
        }
    }

    /// The same of one that left the service. On a network of one host, who was led to it there goes
    /// with it; by a published port it may have been led to on another one, where it stays.
    pub(super) fn forget_gone(&self, service: &Service, gone: &Member) {
        if service.is_global() {
            return self.forget_led(service, std::slice::from_ref(gone));
        }
        let by = LedBy {
            addrs: BTreeSet::new(),
            ..led_by(&lock(&service.state).spec)
        };
        if by.ports.is_empty() {
            return;
        }
        let reached = self.reached_at(gone.sandbox).into_iter();
        let elsewhere = reached.filter(|addr| !gone.addresses.contains(addr));
        let led = Led {
            to: elsewhere.collect(),
            by: Some(by),
        };
        self.forget_in(Netns::Host, &led);
    }

    /// The same of all of a service that is removed: who sends there is led by nobody.
    pub(super) fn forget_all_led(&self, service: &Service) {
        let all: Vec<Member> = {
            let state = lock(&service.state);
            state.roster.members.values().cloned().collect()
        };
        self.forget_led(service, &all);
    }

    /// The same of who was led by ports that a service on a network of this host has no more.
    pub(super) fn forget_ports(&self, service: &Service, former: &[PublishedPort]) {
        let state = lock(&service.state);
        let gone = gone(former, &state.spec.ports);
        let vips = state.spec.vips.iter().map(IpNet::addr).collect();
        let members: Vec<Member> = state.roster.members.values().cloned().collect();
        drop(state);
        if gone.is_empty() {
            return;
        }
        let reached = members.iter().flat_map(|m| self.reached_at(m.sandbox));
        let own = members.iter().flat_map(|member| member.addresses.clone());
        let led = Led {
            to: own.chain(reached).collect(),
            by: Some(LedBy {
                except: vips,
                ..by_ports(gone.into_iter())
            }),
        };
        self.forget_in(Netns::Host, &led);
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
        let inside = |gone: HostPort| {
            let port = PortKey {
                port: self.inner_port(network, gone),
                ..gone.port
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
    pub(super) fn forget_hosted(&self, state: &ServiceState, former: &[PublishedPort]) {
        let asked = |port: &&PublishedPort| {
            let mut asked = state.spec.ports.iter();
            asked.any(|other| {
                let there = other.host.is_none() || other.host == port.host;
                there && other.published == port.published && other.target == port.target
            })
        };
        let gone = former.iter().filter(|port| !asked(port));
        let by = by_ports(gone.map(PublishedPort::at));
        let here = state.roster.members.values().filter(|m| m.host.is_none());
        let led = Led {
            to: here.flat_map(|m| self.reached_at(m.sandbox)).collect(),
            by: Some(by),
        };
        self.forget_in(Netns::Host, &led);
    }

    /// Has who was led by ports of this host to what leads on, which published these, be led by those no
    /// more that it publishes no more.
    pub(super) fn forget_led_in(&self, balancer: &Sandbox, former: Vec<PortMapping>) {
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
        self.forget_in(Netns::Host, &led);
    }

    pub(super) fn forget_in(&self, netns: Netns, led: &Led) {
        let by_nothing = |by: &LedBy| by.addrs.is_empty() && by.ports.is_empty();
        if led.to.is_empty() || led.by.as_ref().is_some_and(by_nothing) {
            return;
        }
        if let Err(error) = self.kernel.forget_led(netns, led) {
            tracing::warn!("who was led to an endpoint stays there: {error}");
        }
    }
}

fn addresses_of(sandbox: &Sandbox) -> Vec<IpAddr> {
    let state = sandbox.state();
    let endpoints = state.attachments.iter().map(|a| &a.endpoint);
    let addresses = endpoints.flat_map(|endpoint| &endpoint.addresses);
    addresses.map(IpNet::addr).collect()
}
