//! Who was led to endpoints: by what, and what of it is forgotten when they are to be led to no more.
//!
//! A connection that stands goes on. Over UDP there is no end to what somebody sends, and a connection
//! that nobody answered has not begun: those are led to others, where there are any.

use super::{Member, Service, hosted::may_publish};
use crate::{Controller, registry::lock};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
};
use vw_firewall::STAND_IN;
use vw_hoststate::Netns;
use vw_kernel::{Led, LedBy};
use vw_model::{HostPort, IpNet, PublishedPort, ServiceSpec};

/// By what this host leads to the endpoints of a service, where it does so itself.
pub(super) fn led_by(spec: &ServiceSpec) -> LedBy {
    LedBy {
        addrs: spec.vips.iter().map(IpNet::addr).collect(),
        ports: spec.ports.iter().flat_map(entrances).collect(),
    }
}

/// Where who asks for a port is seen to ask: on its way, another address stands for `::1`.
fn entrances(port: &PublishedPort) -> impl Iterator<Item = HostPort> {
    let at = port.at();
    let localhost = port.host == Some(Ipv6Addr::LOCALHOST.into());
    let stand_in = localhost.then_some(HostPort {
        host: Some(STAND_IN.into()),
        ..at
    });
    [at].into_iter().chain(stand_in)
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

    fn forget_in(&self, netns: Netns, led: &Led) {
        if led.to.is_empty() {
            return;
        }
        if let Err(error) = self.kernel.forget_led(netns, led) {
            tracing::warn!("who was led to an endpoint stays there: {error}");
        }
    }
}
