//! Ports that another host of the cluster has for something else.
//!
//! Which ones a host has it alone knows, and tells of what services ask for in vain. So they are asked by
//! publishing: who objects within a moment refuses it for all, and what was made for it goes again. Who
//! objects later, such as a host that was cut off, keeps the port, and the service says where it is not
//! published. Hosts that have nothing against it write nothing.

use super::{Service, global::each_once, unpublished::taken_at};
use crate::{Controller, registry::Network};
use std::collections::BTreeSet;
use vw_model::{Error, HostId, HostPort, NetworkId, PublishedPort, RemoteHost, Result};

/// Whether others have ports that a service is about to publish.
pub(super) struct Question {
    network: NetworkId,
    ports: Vec<PublishedPort>,
    /// Who said so already, of a service that was there before: that may have been taken back since.
    before: BTreeSet<HostId>,
}

impl Question {
    /// Those of the ports that a host has for something else.
    fn taken(&self, host: &RemoteHost) -> Vec<HostPort> {
        if host.away {
            return Vec::new();
        }
        let taken = taken_at(&host.unpublished, self.network);
        let asked = self.ports.iter().map(PublishedPort::at);
        asked.filter(|at| taken.contains(at)).collect()
    }
}

impl Controller {
    /// What is to be asked before these ports may be published, if there is anybody to ask.
    pub(super) fn question(
        &self,
        network: &Network,
        ports: Vec<PublishedPort>,
    ) -> Option<Question> {
        let others = self.member.as_ref()?.others();
        let nobody_is = self.config.hears_out.is_zero() || others.iter().all(|host| host.away);
        if ports.is_empty() || nobody_is {
            return None;
        }
        let mut question = Question {
            network: network.spec.id,
            ports,
            before: BTreeSet::new(),
        };
        let objects = |host: &&RemoteHost| !question.taken(host).is_empty();
        question.before = others.iter().filter(objects).map(|host| host.id).collect();
        Some(question)
    }

    /// Waits for who objects to ports that are published now.
    pub(super) fn objection(&self, question: &Question) -> Option<Error> {
        let cluster = self.cluster().ok()?;
        let objects = |host: &RemoteHost| !question.taken(host).is_empty();
        let longest = self.config.hears_out;
        // Nobody waits for anything but the first.
        let objected = cluster.await_among_hosts(longest, |hosts| {
            let mut news = hosts
                .iter()
                .filter(|host| !question.before.contains(&host.id));
            news.any(objects).then_some(())
        });
        if objected.is_some() {
            // A host that hears of several changes at once, as after a pause, may come to who takes a port
            // before it comes to who gives it up. Who objects still is seen next.
            let _ = cluster
                .await_among_hosts(longest, |hosts| (!hosts.iter().any(objects)).then_some(()));
        }
        let others = self.member.as_ref()?.others();
        let mut said = others.iter().filter_map(|host| {
            let ports: Vec<String> = question
                .taken(host)
                .iter()
                .map(ToString::to_string)
                .collect();
            (!ports.is_empty()).then(|| format!("{} on host {}", ports.join(", "), host.name))
        });
        let first = said.next()?;
        let said: Vec<String> = std::iter::once(first).chain(said).collect();
        let sentence = format!(
            "port is already allocated: {}, by something there: free it, or publish another port",
            said.join("; ")
        );
        Some(Error::conflict("port-allocated", sentence))
    }

    /// Has a service publish more, and no longer where others object. What it published before stays
    /// meanwhile.
    ///
    /// # Errors
    /// `Conflict` where another host has a port.
    pub(super) fn publish_unless_refused(
        &self,
        service: &Service,
        question: &Question,
    ) -> Result<()> {
        self.cluster()?.update_service(service.id, |mut spec| {
            spec.ports.extend(&question.ports);
            spec.ports = each_once(spec.ports);
            spec.check_ports()?;
            Ok(spec)
        })?;
        self.take_agreed(service.id);
        self.settle_service_or_soon(&service.network, service.id);
        match self.objection(question) {
            Some(refused) => Err(self.publish_no_longer(service, question, refused)),
            None => Ok(()),
        }
    }

    /// Takes back what [`Self::publish_unless_refused`] did, whatever else of the service others have
    /// changed since; the reason, with why it could not be done where it could not.
    pub(super) fn publish_no_longer(
        &self,
        service: &Service,
        question: &Question,
        reason: Error,
    ) -> Error {
        let back = self.cluster().and_then(|cluster| {
            cluster.update_service(service.id, |mut spec| {
                spec.ports.retain(|port| !question.ports.contains(port));
                Ok(spec)
            })
        });
        self.take_agreed(service.id);
        self.settle_service_or_soon(&service.network, service.id);
        let Err(left) = back else {
            return reason;
        };
        let ports = question.ports.iter().map(|port| port.at().to_string());
        let ports: Vec<String> = ports.collect();
        let sentence = format!(
            "{}; the service asks for {} still, because that cannot be taken back: {}",
            reason.chain(),
            ports.join(", "),
            left.chain()
        );
        Error::new(reason.kind, reason.reason, sentence)
    }
}
