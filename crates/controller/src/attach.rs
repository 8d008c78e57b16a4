//! Endpoints into sandboxes: the one path by which that happens.
//!
//! The caller holds the sandbox's `ops` and `placing` locks, but for a new balancer `ops` alone: nobody
//! else knows of its endpoints yet. The network's gate is taken here, shared.

use crate::{
    Controller,
    event::EventType,
    ports::Claims,
    records::{self, AttachmentRecord, Phase},
    registry::{Attachment, Gate, Network, NewResolver, Resolver, Sandbox, SandboxState, lock},
    sandbox_plan::{self, Inputs},
};
use std::sync::{Arc, PoisonError};
use vw_hoststate::{Fragment, Namespace, NamespaceSource, Netns, Owner};
use vw_model::{
    AdoptedFrom, EndpointId, EndpointSettings, EndpointSpec, Error, Family, Result, SandboxKind,
    Scope,
};
use vw_store::{Batch, Table};

impl Controller {
    /// Places one new endpoint of `network` in `sandbox`, whose namespace stands, and tells its id.
    ///
    /// # Errors
    /// As the checks, the address manager, the driver or the executor say; nothing is left then.
    pub(crate) fn attach_one(
        &self,
        sandbox: &Arc<Sandbox>,
        network: &Arc<Network>,
        settings: EndpointSettings,
    ) -> Result<EndpointId> {
        // What is left of endpoints that were taken out may be in the way; if it is, that is told.
        let _ = self.mend();
        self.see_off();
        let gate = network.gate.read().unwrap_or_else(PoisonError::into_inner);
        if *gate == Gate::Removed {
            return Err(Error::not_found(
                "network-not-found",
                format!("network {} not found", network.spec.name),
            ));
        }
        self.check_attach(sandbox, network)?;
        sandbox.seal(network);
        self.check_overlap(sandbox, network)?;
        self.enter(network)?;
        let claimed = self.claim_endpoint(sandbox, network, settings);
        let endpoint = claimed.inspect_err(|_| self.leave(network))?;
        let id = endpoint.id;
        let placed = self.place(sandbox, network, &endpoint);
        if placed.is_err() {
            let attachment = Attachment {
                network: network.clone(),
                endpoint,
                gateways: Vec::new(),
            };
            self.give_up(sandbox, attachment);
        }
        placed.map(|()| id)
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

    fn place(
        &self,
        sandbox: &Arc<Sandbox>,
        network: &Arc<Network>,
        endpoint: &EndpointSpec,
    ) -> Result<()> {
        self.note_attachment(endpoint, Phase::Pending)?;
        crate::step::reached("attach.recorded");
        self.build(sandbox, network, endpoint)?;
        // What leads to services is told of by who makes it, when it is whole.
        if !(sandbox.balances && network.spec.scope == Scope::Global) {
            self.publish_names(sandbox, network, endpoint.id);
        }
        self.tell_network("connect", network, sandbox);
        Ok(())
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
        attachments.push(attachment);
        let new_resolver = self.prepare_resolver(sandbox, network)?;
        let resolver = new_resolver
            .as_ref()
            .map(|new| new.ports)
            .or(sandbox.state().resolver);
        let mut before = std::mem::take(&mut sandbox.state().claims);
        let settled = self.settle_ports(sandbox, &attachments, &mut before);
        let settled = match settled {
            Ok(settled) => settled,
            Err(error) => {
                sandbox.state().claims = before;
                return Err(error);
            }
        };
        let placing = Placing {
            sandbox,
            endpoint,
            attachments: &attachments,
            resolver,
            claims: &settled,
        };
        let own = &attachments[attachments.len() - 1];
        if let Err(error) = self.bring_in(&placing, own, planned.fragment) {
            let mut state = sandbox.state();
            state.claims = settled.back_to(&*self.kernel, before, &state.published);
            return Err(error);
        }
        crate::step::reached("attach.ready");
        let mut state = sandbox.state();
        state.attachments = attachments;
        state.published = settled.mappings();
        state.claims = settled;
        state.resolver = resolver;
        drop(state);
        lock(&network.members).insert(endpoint.id, sandbox.clone());
        self.join_late(sandbox, endpoint.id);
        match new_resolver {
            Some(NewResolver { sockets, .. }) => self.serve_names(sandbox, sockets),
            None => {
                self.dns.update(sandbox.id, self.view_of(sandbox));
            }
        }
        Ok(())
    }

    /// Brings the kernel to the attachment and records that it stands, or changes nothing.
    fn bring_in(&self, placing: &Placing<'_>, own: &Attachment, fragment: Fragment) -> Result<()> {
        let Placing {
            sandbox,
            endpoint,
            attachments,
            resolver,
            claims,
        } = *placing;
        let led = self.check_joining(sandbox, own)?;
        let wants = self.sandbox_fragment(sandbox, attachments, resolver, &claims.mappings())?;
        let former = lock(&self.host).fragment(Owner::Sandbox(sandbox.id));
        self.bring(vec![
            (Owner::Attachment(endpoint.id), fragment),
            (Owner::Sandbox(sandbox.id), wants),
        ])?;
        crate::step::reached("attach.applied");
        if led {
            // What is lost before would be sent again after a second alone.
            self.await_frames(&own.network, endpoint);
        }
        self.joining(sandbox, own, |service| self.note_ready(placing, service))
            .inspect_err(|_| {
                let back = vec![
                    (Owner::Attachment(endpoint.id), Fragment::default()),
                    (Owner::Sandbox(sandbox.id), former),
                ];
                if let Err(error) = self.take_away(back) {
                    tracing::error!("undoing an unrecorded attachment failed: {}", error.chain());
                }
            })
    }

    /// What the sandbox itself wants with these attachments.
    pub(crate) fn sandbox_fragment(
        &self,
        sandbox: &Sandbox,
        attachments: &[Attachment],
        resolver: Option<Resolver>,
        ports: &[vw_model::PortMapping],
    ) -> Result<Fragment> {
        let namespace = namespace_of(&sandbox.state());
        let encrypted = self.encrypted_subnets(sandbox, attachments);
        let inputs = Inputs {
            sandbox: sandbox.id,
            namespace: namespace.as_ref(),
            resolver,
            ports,
            encrypted: &encrypted,
            balances: sandbox.balances,
            drivers: &self.config.drivers,
        };
        let mut fragment = sandbox_plan::plan(inputs, attachments)?;
        if sandbox.balances {
            fragment.extend(self.balancer_objects(sandbox.id));
        }
        Ok(fragment)
    }

    /// Brings a sandbox to what it wants with the attachments that it has, where what it is a member of
    /// changed. The caller holds neither `placing` nor a network's gate.
    pub(crate) fn settle_sandbox(&self, sandbox: &Sandbox) {
        let _placing = lock(&sandbox.placing);
        let (attachments, resolver, ports) = {
            let state = sandbox.state();
            if !state.live {
                return;
            }
            let attachments = state.attachments.clone();
            (attachments, state.resolver, state.published.clone())
        };
        let settled = self
            .sandbox_fragment(sandbox, &attachments, resolver, &ports)
            .and_then(|fragment| self.bring(vec![(Owner::Sandbox(sandbox.id), fragment)]));
        if let Err(error) = settled {
            self.warn(error.chain());
        }
    }

    pub(crate) fn note_attachment(&self, endpoint: &EndpointSpec, phase: Phase) -> Result<()> {
        self.note(self.put_attachment(endpoint, phase)?)
    }

    pub(crate) fn put_attachment(&self, endpoint: &EndpointSpec, phase: Phase) -> Result<Batch> {
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

    fn note_ready(&self, placing: &Placing<'_>, service: Batch) -> Result<()> {
        let Placing {
            sandbox,
            endpoint,
            attachments,
            resolver,
            claims,
        } = *placing;
        let mut batch = self.put_attachment(endpoint, Phase::Ready)?;
        let mappings = claims.mappings();
        let state = sandbox.state();
        // What is being adopted is recorded at the end of that.
        let is_adopted = state.container.is_none() && state.phase == Phase::Ready;
        let becomes_member = is_adopted
            && attachments
                .iter()
                .any(|a| a.endpoint.id == endpoint.id && a.network.comes_back());
        if state.resolver != resolver || state.published != mappings || becomes_member {
            let record = self.sandbox_record(&state, resolver, mappings);
            batch = records::put(batch, Table::Sandboxes, &sandbox.id.to_string(), &record)?;
        }
        drop(state);
        batch.append(service);
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

/// What an attachment is made of, while it is being made.
#[derive(Clone, Copy)]
struct Placing<'a> {
    sandbox: &'a Sandbox,
    endpoint: &'a EndpointSpec,
    attachments: &'a [Attachment],
    resolver: Option<Resolver>,
    claims: &'a Claims,
}

/// Both, in the order in which everything lists them.
pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// The namespace that a sandbox's endpoints are placed in.
pub(crate) fn namespace_of(state: &SandboxState) -> Option<Namespace> {
    let source = match &state.spec.kind {
        SandboxKind::Host => return None,
        SandboxKind::Container | SandboxKind::Balancer { .. } => NamespaceSource::New,
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
        netns: Netns::Sandbox(state.spec.id),
        source,
    })
}
