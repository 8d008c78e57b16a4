//! Endpoints out of sandboxes: out of service first, then forgotten.
//!
//! The caller holds the sandbox's `ops` lock.

use crate::{
    Controller,
    ports::Claims,
    records::Phase,
    registry::{Attachment, Sandbox, lock},
};
use std::sync::Arc;
use vw_hoststate::{Fragment, Owner};
use vw_ipam::Holder;
use vw_model::{EndpointId, Result};
use vw_store::{Batch, Table};

impl Controller {
    /// Takes an endpoint out of its sandbox.
    ///
    /// Goes on after errors; what could not be removed keeps its record as `Removing` and its
    /// leases, so that the next start finishes it.
    ///
    /// # Errors
    /// The first of them.
    pub(crate) fn detach(&self, sandbox: &Arc<Sandbox>, id: EndpointId) -> Result<()> {
        let state = sandbox.state();
        let Some(leaving) = state
            .attachments
            .iter()
            .find(|a| a.endpoint.id == id)
            .cloned()
        else {
            return Ok(());
        };
        let mut staying = state.attachments.clone();
        drop(state);
        staying.retain(|a| a.endpoint.id != id);
        self.note_attachment(&leaving.endpoint, Phase::Removing)?;
        self.withdraw_names(&leaving);
        let mut claims = std::mem::take(&mut sandbox.state().claims);
        let settled = self
            .settle_ports(sandbox, &staying, &mut claims)
            .unwrap_or_else(|error| {
                self.warn(format!(
                    "ports of {} cannot stay published: {}",
                    sandbox.state().spec.name,
                    error.chain()
                ));
                Claims::default()
            });
        let resolver = sandbox.state().resolver;
        let mappings = settled.mappings();
        let wants = self.sandbox_fragment(sandbox, &staying, resolver, &mappings)?;
        let gone = self.take_away(vec![
            (Owner::Attachment(id), Fragment::default()),
            (Owner::Sandbox(sandbox.id), wants),
        ]);
        let mut state = sandbox.state();
        state.attachments = staying;
        state.published = mappings;
        state.claims = settled;
        drop(state);
        lock(&leaving.network.members).remove(&id);
        self.tell_network("disconnect", &leaving.network, sandbox);
        self.dns.update(sandbox.id, self.view_of(sandbox));
        gone?;
        self.forget_attachment(&leaving)?;
        self.note_sandbox(sandbox)
    }

    /// Frees the leases of an endpoint of which nothing stands, and its record.
    pub(crate) fn forget_attachment(&self, leaving: &Attachment) -> Result<()> {
        let endpoint = &leaving.endpoint;
        let batch = Batch::new().delete(Table::Attachments, endpoint.id.to_string());
        self.note(batch)?;
        let mut ipam = lock(&self.ipam);
        for net in &endpoint.addresses {
            ipam.release(endpoint.network, net.addr(), &Holder::Endpoint(endpoint.id));
        }
        Ok(())
    }
}
