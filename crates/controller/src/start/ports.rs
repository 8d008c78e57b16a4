//! Published ports at a start: those that were, and those that a daemon with other settings could not
//! publish.

use crate::{
    Controller,
    attach::FAMILIES,
    ports::Claims,
    records::SandboxRecord,
    registry::{Sandbox, SandboxState, lock},
    sandbox_plan,
};
use std::{collections::HashMap, net::IpAddr};
use vw_hoststate::Owner;
use vw_model::{Family, PortMapping, Result, SandboxId};

impl Controller {
    /// Holds the host ports of what is published. One that a stranger bound meanwhile stays
    /// published, because translation comes before local sockets, and is told. What the settings of
    /// this daemon do not publish is told and let go.
    pub(super) fn restore_ports(&self, left: &HashMap<SandboxId, SandboxRecord>) {
        for record in left.values().filter(|record| !record.ports.is_empty()) {
            let Some(sandbox) = self.registry().sandbox_by_id(record.id) else {
                continue;
            };
            let cx = &self.config.drivers;
            let mut state = sandbox.state();
            let untranslated = cx.no_translation.is_some()
                && !state.attachments.is_empty()
                && !self.publishes(&state, Family::V6);
            // What leads to services lets go of them by itself.
            let stands = |mapping: &PortMapping| {
                let family = family_of(mapping);
                let is_in_vain = !cx.filters(family) || untranslated && family == Family::V6;
                sandbox.balances || !is_in_vain
            };
            let (standing, lacking): (Vec<_>, Vec<_>) =
                record.ports.iter().partition(|mapping| stands(mapping));
            let (claims, taken) = Claims::restore(&*self.kernel, &standing);
            (state.claims, state.published) = (claims, standing);
            let name = state.spec.name.clone();
            drop(state);
            for mapping in lacking {
                let why = match self.translates_nothing() {
                    Some(sentence) if cx.filters(family_of(&mapping)) => sentence,
                    _ => "this daemon makes no rules there: start it without --iptables=false and --ip6tables=false".to_owned(),
                };
                self.warn(format!(
                    "{name} is not published at {}: {why}",
                    mapping.host
                ));
            }
            for mapping in taken {
                self.warn(format!(
                    "another program has bound {}, which is published for {name}: connections go to {name}, not to that program; stop one of them",
                    mapping.host
                ));
            }
        }
    }

    /// Publishes what a sandbox asks for over a family over which nothing of it is, as where its
    /// networks changed while a daemon made no rules.
    pub(super) fn publish_again(&self, sandbox: &Sandbox) {
        let _ops = lock(&sandbox.ops);
        let _placing = lock(&sandbox.placing);
        if !self.lacks_ports(&sandbox.state()) || sandbox.balances {
            return;
        }
        if let Err(error) = self.settle_lacking_ports(sandbox) {
            let name = sandbox.state().spec.name.clone();
            self.warn(format!(
                "ports of {name} are not published: {}",
                error.chain()
            ));
        }
    }

    fn lacks_ports(&self, state: &SandboxState) -> bool {
        let cx = &self.config.drivers;
        let by_default = |family: Family| {
            let way_in = sandbox_plan::way_in(&state.attachments, family, cx);
            way_in.is_some_and(|a| {
                let hosts = a.network.driver.default_hosts(&a.network.spec, cx);
                hosts.into_iter().any(|host| Family::of(host) == family)
            })
        };
        let lacks = |family: Family| {
            let over = |host: Option<IpAddr>| match host {
                Some(host) => Family::of(host) == family,
                None => by_default(family),
            };
            let asks = state.spec.publish_all && !state.spec.exposed.is_empty() && over(None)
                || state.spec.ports.iter().any(|port| over(port.host_ip));
            let has = state.published.iter().any(|m| family_of(m) == family);
            asks && !has && self.publishes(state, family)
        };
        state.live && FAMILIES.into_iter().any(lacks)
    }

    fn settle_lacking_ports(&self, sandbox: &Sandbox) -> Result<()> {
        let (attachments, resolver, mut held) = {
            let mut state = sandbox.state();
            let held = std::mem::take(&mut state.claims);
            (state.attachments.clone(), state.resolver, held)
        };
        let settled = self.settle_ports(sandbox, &attachments, &mut held);
        let claims = match settled {
            Ok(claims) => claims,
            Err(error) => {
                sandbox.state().claims = held;
                return Err(error);
            }
        };
        let mappings = claims.mappings();
        let brought = self
            .sandbox_fragment(sandbox, &attachments, resolver, &mappings)
            .and_then(|wants| self.bring(vec![(Owner::Sandbox(sandbox.id), wants)]));
        let mut state = sandbox.state();
        if let Err(error) = brought {
            state.claims = claims.back_to(&*self.kernel, held, &state.published);
            return Err(error);
        }
        let changed = state.published != mappings;
        (state.claims, state.published) = (claims, mappings);
        drop(state);
        match changed {
            true => self.note_sandbox(sandbox),
            false => Ok(()),
        }
    }

    fn publishes(&self, state: &SandboxState, family: Family) -> bool {
        sandbox_plan::publishes(&state.attachments, family, &self.config.drivers)
    }
}

const fn family_of(mapping: &PortMapping) -> Family {
    Family::of(mapping.host.ip())
}
