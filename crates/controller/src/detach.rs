//! Endpoints out of sandboxes: out of service at once, forgotten when nothing of them stands.
//!
//! The caller holds the sandbox's `placing` lock. Goes on after errors: what cannot be removed keeps
//! its record and its leases until it is gone.

use crate::{
    Controller,
    ports::Claims,
    records::{self, Phase},
    registry::{Attachment, Sandbox, lock},
};
use std::sync::Arc;
use vw_hoststate::{Fragment, Owner};
use vw_model::{EndpointId, EndpointSpec, Error, NetworkId, Result, SandboxId, ServiceSpec};
use vw_store::{Batch, Table};

/// What nobody wants any more, and something of which may stand.
#[derive(Clone)]
pub(crate) enum Leaving {
    /// An endpoint that was taken out of its sandbox.
    Endpoint(Box<EndpointSpec>),
    /// One that a former daemon had not placed, or had begun to take out: no network counts it.
    Former(Box<EndpointSpec>),
    /// A sandbox that could not be adopted.
    Sandbox(SandboxId),
    /// A service that was removed.
    Service(Box<ServiceSpec>),
    /// Ports of a service that was removed, which may be led to somewhere.
    Ports(#[expect(dead_code, reason = "it holds them")] Arc<Claims>),
}

impl Controller {
    /// Takes one endpoint out of its sandbox, whoever is connected to it; one that is not in it is out
    /// already.
    ///
    /// # Errors
    /// When its leaving cannot be recorded, and nothing has changed; or when something of it
    /// stands still: it is out of service then, and the next call, change or start goes on.
    pub(crate) fn detach_one(&self, sandbox: &Arc<Sandbox>, id: EndpointId) -> Result<()> {
        let Some(leaving) = self.begin_leaving(sandbox, id)? else {
            return self.go_on_leaving();
        };
        self.take_out(sandbox, leaving)
    }

    /// The same where nobody asked for it, and so nobody asks again: also where it cannot be recorded.
    ///
    /// # Errors
    /// When something of it stands still: the next call, change or start goes on.
    pub(crate) fn detach_unasked(&self, sandbox: &Arc<Sandbox>, id: EndpointId) -> Result<()> {
        let Some(leaving) = attachment_of(sandbox, id) else {
            return self.go_on_leaving();
        };
        self.note_leaving(&leaving.endpoint);
        self.take_out(sandbox, leaving)
    }

    /// Records that an endpoint leaves, whatever happens: where that is refused, with the next commit.
    fn note_leaving(&self, endpoint: &EndpointSpec) {
        match self.put_attachment(endpoint, Phase::Removing) {
            Ok(batch) => self.owed_run.write(&*self.run, batch),
            Err(error) => tracing::error!("{}", error.chain()),
        }
    }

    /// Writes down what is gone and could not be recorded when it went.
    ///
    /// # Errors
    /// When that is refused still: a start would find it as if it stood.
    pub(crate) fn note_gone_endpoints(&self) -> Result<()> {
        self.note(Batch::new()).map_err(|error| {
            let sentence = format!(
                "that endpoints of this host are off their networks cannot be recorded: make room in {}",
                self.config.exec_root.display()
            );
            Error::internal("leaving-unrecorded", sentence).because(error)
        })
    }

    fn begin_leaving(&self, sandbox: &Sandbox, id: EndpointId) -> Result<Option<Attachment>> {
        let found = attachment_of(sandbox, id);
        if let Some(leaving) = &found {
            self.note_attachment(&leaving.endpoint, Phase::Removing)?;
        }
        Ok(found)
    }

    /// Takes all endpoints out of a sandbox that ends, under its `placing`. Its own record explains
    /// what a crash would leave, so that one which cannot be recorded goes too.
    ///
    /// # Errors
    /// The first, when something stands still.
    pub(crate) fn detach_all(&self, sandbox: &Arc<Sandbox>) -> Result<()> {
        let _placing = lock(&sandbox.placing);
        let mut outcome = Ok(());
        let attachments = sandbox.state().attachments.clone();
        for leaving in attachments {
            self.note_leaving(&leaving.endpoint);
            outcome = outcome.and(self.take_out(sandbox, leaving));
        }
        outcome
    }

    fn take_out(&self, sandbox: &Arc<Sandbox>, leaving: Attachment) -> Result<()> {
        crate::step::reached("detach.recorded");
        let id = leaving.endpoint.id;
        // First: who publishes names of what is attached looks here again when it has.
        let staying = {
            let mut state = sandbox.state();
            state.attachments.retain(|a| a.endpoint.id != id);
            state.attachments.clone()
        };
        let left = self.leave_service(id);
        self.withdraw_names(&leaving.network, id);
        let mut before = std::mem::take(&mut sandbox.state().claims);
        let (claims, wants) = self.what_stays(sandbox, &staying, &mut before)?;
        let gone = self.take_away(vec![
            (Owner::Attachment(id), Fragment::default()),
            (Owner::Sandbox(sandbox.id), wants),
        ]);
        let gone = left.and(gone);
        let ports_are_free = !before.is_empty();
        drop(before);
        crate::step::reached("detach.applied");
        let mut state = sandbox.state();
        state.published = claims.mappings();
        state.claims = claims;
        drop(state);
        lock(&leaving.network.members).remove(&id);
        // A service may have been listed meanwhile by who saw it still.
        if let Err(error) = self.leave_service(id) {
            tracing::error!("{}", error.chain());
        }
        if !sandbox.balances {
            self.room_made(ports_are_free);
            self.has_come(&leaving.network, None);
        }
        self.tell_network("disconnect", &leaving.network, sandbox);
        self.dns.update(sandbox.id, self.view_of(sandbox));
        if gone.is_ok() {
            self.forget_attachment(sandbox, &leaving);
            return gone;
        }
        // Here, where nobody else changes the sandbox: who finds the rest gone has no part in it.
        if sandbox.state().live
            && let Err(error) = self.note_sandbox(sandbox)
        {
            tracing::error!("{}", error.chain());
        }
        lock(&self.leaving).push(Leaving::Endpoint(Box::new(leaving.endpoint)));
        gone
    }

    /// Ports and fragment of a sandbox with the attachments that stay; ports that cannot stay
    /// published are told and left out.
    fn what_stays(
        &self,
        sandbox: &Arc<Sandbox>,
        staying: &[Attachment],
        held: &mut Claims,
    ) -> Result<(Claims, Fragment)> {
        let resolver = sandbox.state().resolver;
        let settled = self
            .settle_ports(sandbox, staying, held)
            .and_then(|claims| {
                let wants =
                    self.sandbox_fragment(sandbox, staying, resolver, &claims.mappings())?;
                Ok((claims, wants))
            });
        settled.or_else(|error| {
            let name = sandbox.state().spec.name.clone();
            self.warn(format!(
                "ports of {name} cannot stay published: {}",
                error.chain()
            ));
            let wants = self.sandbox_fragment(sandbox, staying, resolver, &[])?;
            Ok((Claims::default(), wants))
        })
    }

    /// Whether something of an endpoint may stand that was taken out.
    pub(crate) fn is_leaving(&self, sandbox: &Sandbox, network: NetworkId) -> bool {
        lock(&self.leaving).iter().any(|left| match left {
            Leaving::Endpoint(left) | Leaving::Former(left) => {
                left.sandbox == sandbox.id && left.network == network
            }
            Leaving::Sandbox(_) | Leaving::Service(_) | Leaving::Ports(_) => false,
        })
    }

    /// Has what was taken out halfway go for good.
    ///
    /// # Errors
    /// As [`Self::mend_now`].
    pub(crate) fn go_on_leaving(&self) -> Result<()> {
        let mended = self.mend_now();
        self.see_off();
        mended
    }

    /// Takes back an endpoint that could not be placed.
    pub(crate) fn give_up(&self, sandbox: &Arc<Sandbox>, attachment: Attachment) {
        if self.mend_now().is_ok() {
            return self.forget_attachment(sandbox, &attachment);
        }
        self.note_leaving(&attachment.endpoint);
        lock(&self.leaving).push(Leaving::Endpoint(Box::new(attachment.endpoint)));
    }

    /// Forgets an endpoint of which nothing stands, and frees its leases; whoever calls holds its
    /// sandbox's `placing` lock, or `ops` while it is a new balancer.
    fn forget_attachment(&self, sandbox: &Sandbox, leaving: &Attachment) {
        let endpoint = &leaving.endpoint;
        let (table, key) = (Table::Attachments, endpoint.id.to_string());
        let noted = self
            .with_sandbox(Batch::new().delete(table, key.clone()), sandbox)
            .and_then(|batch| self.note(batch));
        if noted.is_err() {
            self.unnote(table, key);
        }
        crate::step::reached("detach.forgotten");
        self.free_leases(endpoint);
        self.leave(&leaving.network);
    }

    /// The same without the sandbox, which may be in the midst of a change of another's.
    pub(crate) fn forget_endpoint(&self, endpoint: &EndpointSpec) {
        self.forget_former(endpoint);
        // Whoever compares may be in the midst of a change of that very network.
        lock(&self.departed).push(endpoint.network);
    }

    /// Forgets an endpoint that no network counts, and frees its leases.
    pub(crate) fn forget_former(&self, endpoint: &EndpointSpec) {
        self.unnote(Table::Attachments, endpoint.id.to_string());
        self.free_leases(endpoint);
    }

    /// Has the networks of forgotten endpoints leave the kernel with their last ones. The caller
    /// holds no network's `reach`.
    pub(crate) fn see_off(&self) {
        let departed = std::mem::take(&mut *lock(&self.departed));
        for id in departed {
            let network = self.registry().network_by_id(id);
            if let Some(network) = network {
                self.leave(&network);
            }
        }
    }

    /// Adds the record of a sandbox that stands, as it is now.
    pub(crate) fn with_sandbox(&self, batch: Batch, sandbox: &Sandbox) -> Result<Batch> {
        let state = sandbox.state();
        if !state.live {
            return Ok(batch);
        }
        let record = self.sandbox_record(&state, state.resolver, state.published.clone());
        records::put(batch, Table::Sandboxes, &sandbox.id.to_string(), &record)
    }
}

pub(crate) fn attachment_of(sandbox: &Sandbox, id: EndpointId) -> Option<Attachment> {
    let state = sandbox.state();
    let mut attachments = state.attachments.iter();
    attachments.find(|a| a.endpoint.id == id).cloned()
}
