//! Who has a host port, in the sentence that refuses it to somebody else.
//!
//! Owns no port, and decides nothing by what it finds: who had it may have gone by then.

use crate::{
    Controller,
    ports::TakenPort,
    registry::{Sandbox, lock},
};
use std::net::SocketAddr;
use vw_model::{Error, NetworkId, PortKey, PortMapping, Protocol, meet};

impl Controller {
    /// The same refusal with who has the port and what would help, where that is why; the caller
    /// holds no lock.
    pub(crate) fn naming_holder(&self, mut error: Error) -> Error {
        let source = error.source.as_deref();
        if let Some(taken) = source.and_then(|source| source.downcast_ref::<TakenPort>()) {
            let holder = self.holder(taken.protocol, taken.addr);
            error.message = format!("{}: {holder}", error.message);
        }
        error
    }

    fn holder(&self, protocol: Protocol, addr: SocketAddr) -> String {
        let is_it = |mapping: &PortMapping| {
            let at = mapping.host;
            let same = at.port() == addr.port() && mapping.container.protocol == protocol;
            same && meet(at.ip(), addr.ip())
        };
        let services = lock(&self.services).all();
        for service in services {
            let state = lock(&service.state);
            let mappings = state.claims.mappings();
            if let Some(mapping) = mappings.iter().find(|mapping| is_it(mapping)) {
                return of_service(state.spec.name.as_str(), mapping.container);
            }
        }
        let sandboxes = self.registry().sandboxes();
        for sandbox in sandboxes {
            let found = sandbox.state().published.iter().any(is_it);
            if found {
                return self.of_sandbox(&sandbox, protocol, addr);
            }
        }
        let other = "or choose another host port";
        match self.kernel.port_holder(protocol, addr) {
            Some(holder) => format!(
                "{} (process {}) has it: stop that, {other}",
                holder.program, holder.process
            ),
            None => format!("something on this host has it: stop that, {other}"),
        }
    }

    fn of_sandbox(&self, sandbox: &Sandbox, protocol: Protocol, addr: SocketAddr) -> String {
        if sandbox.balances {
            let networks: Vec<NetworkId> = {
                let state = sandbox.state();
                let attachments = state.attachments.iter();
                attachments.map(|a| a.network.spec.id).collect()
            };
            let services = networks.iter().flat_map(|id| lock(&self.services).on(*id));
            for service in services.collect::<Vec<_>>() {
                let state = lock(&service.state);
                let mut ports = state.spec.ports.iter();
                let found = ports.find(|own| {
                    let at = own.host.is_none_or(|host| meet(host, addr.ip()));
                    at && own.published == addr.port() && own.target.protocol == protocol
                });
                if let Some(found) = found {
                    return of_service(state.spec.name.as_str(), found.target);
                }
            }
        }
        let state = sandbox.state();
        let (kind, remedy) = match state.container {
            Some(_) => ("container", "stop that"),
            None => ("adopted sandbox", "release that"),
        };
        format!(
            "{kind} {} publishes it: {remedy}, or choose another host port",
            state.spec.name
        )
    }
}

fn of_service(name: &str, target: PortKey) -> String {
    format!(
        "service {name} publishes it: choose another host port, or have it publish this one no more (vethwork service update --publish-rm {target} {name})"
    )
}
