//! Endpoints out of sandboxes: out of service at once, forgotten when nothing of them stands.
//!
//! The caller holds the sandbox's `ops` lock. Goes on after errors: what cannot be removed keeps
//! its record and its leases until it is gone.

use crate::{
    Controller,
    ports::Claims,
    records::{self, Phase},
    registry::{Attachment, Sandbox, lock},
};
use std::sync::Arc;
use vw_hoststate::{Fragment, Owner};
use vw_ipam::Holder;
use vw_model::{EndpointId, Result};
use vw_store::{Batch, Table};

impl Controller {
    /// Takes an endpoint out of its sandbox; one that is not in it is out already.
    ///
    /// # Errors
    /// When its leaving cannot be recorded, and nothing has changed; or when something of it
    /// stands still: it is out of service then, and the next call, change or start goes on.
    pub(crate) fn detach(&self, sandbox: &Arc<Sandbox>, id: EndpointId) -> Result<()> {
        let finished = self.finish_leaving(sandbox);
        let found = {
            let state = sandbox.state();
            let mut attachments = state.attachments.iter();
            attachments.find(|a| a.endpoint.id == id).cloned()
        };
        let Some(leaving) = found else {
            return finished;
        };
        self.note_attachment(&leaving.endpoint, Phase::Removing)?;
        self.take_out(sandbox, leaving)
    }

    /// Takes all endpoints out of a sandbox that ends. Its own record explains what a crash would
    /// leave, so that one which cannot be recorded goes too.
    ///
    /// # Errors
    /// The first, when something stands still.
    pub(crate) fn detach_all(&self, sandbox: &Arc<Sandbox>) -> Result<()> {
        let mut outcome = self.finish_leaving(sandbox);
        let attachments = sandbox.state().attachments.clone();
        for leaving in attachments {
            if let Err(error) = self.note_attachment(&leaving.endpoint, Phase::Removing) {
                tracing::error!("{}", error.chain());
            }
            outcome = outcome.and(self.take_out(sandbox, leaving));
        }
        outcome
    }

    fn take_out(&self, sandbox: &Arc<Sandbox>, leaving: Attachment) -> Result<()> {
        crate::step::reached("detach.recorded");
        let id = leaving.endpoint.id;
        let mut staying = sandbox.state().attachments.clone();
        staying.retain(|a| a.endpoint.id != id);
        self.withdraw_names(&leaving);
        let mut before = std::mem::take(&mut sandbox.state().claims);
        let (claims, wants) = self.what_stays(sandbox, &staying, &mut before)?;
        let gone = self.take_away(vec![
            (Owner::Attachment(id), Fragment::default()),
            (Owner::Sandbox(sandbox.id), wants),
        ]);
        drop(before);
        crate::step::reached("detach.applied");
        let mut state = sandbox.state();
        state.attachments = staying;
        state.published = claims.mappings();
        state.claims = claims;
        if gone.is_err() {
            state.leaving.push(leaving.clone());
        }
        drop(state);
        lock(&leaving.network.members).remove(&id);
        self.tell_network("disconnect", &leaving.network, sandbox);
        self.dns.update(sandbox.id, self.view_of(sandbox));
        gone?;
        self.forget_attachment(sandbox, &leaving);
        Ok(())
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

    /// Goes on with endpoints of which something stood still when they were taken out.
    ///
    /// # Errors
    /// When something of them stands still.
    pub(crate) fn finish_leaving(&self, sandbox: &Arc<Sandbox>) -> Result<()> {
        if sandbox.state().leaving.is_empty() {
            return Ok(());
        }
        self.mend()?;
        let gone = std::mem::take(&mut sandbox.state().leaving);
        for leaving in &gone {
            self.forget_attachment(sandbox, leaving);
        }
        Ok(())
    }

    /// Forgets an endpoint of which nothing stands, and frees its leases. A record that cannot be
    /// deleted says `Removing` and goes at the next start.
    fn forget_attachment(&self, sandbox: &Sandbox, leaving: &Attachment) {
        let endpoint = &leaving.endpoint;
        let batch = Batch::new().delete(Table::Attachments, endpoint.id.to_string());
        let noted = self
            .with_sandbox(batch, sandbox)
            .and_then(|batch| self.note(batch));
        if let Err(error) = noted {
            self.warn(format!(
                "the record of an endpoint that is gone stays until the next start: {}",
                error.chain()
            ));
        }
        crate::step::reached("detach.forgotten");
        let holder = Holder::Endpoint(endpoint.id);
        let mut ipam = lock(&self.ipam);
        for net in &endpoint.addresses {
            ipam.release(endpoint.network, net.addr(), &holder);
        }
    }

    /// Adds the record of a sandbox that stands, as it is now.
    fn with_sandbox(&self, batch: Batch, sandbox: &Sandbox) -> Result<Batch> {
        let state = sandbox.state();
        if !state.live {
            return Ok(batch);
        }
        let record = self.sandbox_record(&state, state.resolver, state.published.clone());
        records::put(batch, Table::Sandboxes, &sandbox.id.to_string(), &record)
    }
}
