//! `rm` and `rename`.

use super::no_container;
use crate::{
    Controller,
    command::{ContainerRemove, ContainerRename},
    registry::{Sandbox, lock},
};
use std::sync::Arc;
use vw_model::{Error, Kind, Result};
use vw_store::{Batch, Table};

impl Controller {
    pub(crate) fn container_remove(&self, request: ContainerRemove) -> Result<()> {
        let sandbox = self.sandbox(&request.container)?;
        sandbox.must_be_container("remove")?;
        if request.link {
            let message =
                "removing a link is not supported by vethwork: disconnect and connect without it";
            return Err(Error::new(
                Kind::Unsupported,
                "remove-link-unsupported",
                message,
            ));
        }
        if request.force {
            match self.change_container(&sandbox, |record| record.wanted = false) {
                // Somebody else removes it, and its name is free once that is done.
                Err(error) if error.kind == Kind::NotFound => {}
                named => named?,
            }
        }
        let _ops = loop {
            if request.force {
                self.kill_and_wait(&sandbox)?;
            }
            let ops = lock(&sandbox.ops);
            // A start that was halfway has come to its end meanwhile.
            if !request.force || sandbox.state().running.is_none() {
                break ops;
            }
        };
        if sandbox.state().removed {
            return if request.force {
                Ok(())
            } else {
                Err(no_container(&request.container))
            };
        }
        if sandbox.state().running.is_some() {
            let name = sandbox.state().spec.name.clone();
            let message = format!(
                "cannot remove container \"/{name}\": container is running: stop the container before removing or force remove"
            );
            return Err(Error::conflict("container-running", message));
        }
        self.delete_container(&sandbox)
    }

    /// Removes a container that does not run, with all that it left; the caller holds `ops`.
    ///
    /// # Errors
    /// What could not be removed; its record stays and the next start goes on.
    pub(crate) fn delete_container(&self, sandbox: &Arc<Sandbox>) -> Result<()> {
        sandbox.state().restarting = false;
        self.change_container(sandbox, |record| {
            record.removing = true;
            record.wanted = false;
        })?;
        crate::step::reached("remove.recorded");
        self.dissolve(sandbox)?;
        self.runtime.delete(sandbox.id).map_err(Error::from)?;
        crate::step::reached("remove.deleted");
        {
            // Who writes its record without `ops` does so before, or finds it removed.
            let _writing = lock(&sandbox.writing);
            self.keep(Batch::new().delete(Table::Containers, sandbox.id.to_string()))?;
            sandbox.state().removed = true;
        }
        let name = sandbox.state().spec.name.clone();
        self.registry_mut()
            .remove_sandbox(name.as_str(), sandbox.id);
        sandbox.changed.notify_all();
        self.tell_container("destroy", sandbox);
        Ok(())
    }

    pub(crate) fn container_rename(&self, request: ContainerRename) -> Result<()> {
        let sandbox = self.sandbox(&request.container)?;
        let _ops = lock(&sandbox.ops);
        sandbox.must_stand()?;
        let old = sandbox.state().spec.name.clone();
        if old == request.name {
            return Err(Error::invalid(
                "container-name-same",
                "Renaming a container with the same name as its current name",
            ));
        }
        self.registry_mut()
            .rename_sandbox(old.as_str(), request.name.as_str(), sandbox.id)?;
        sandbox.state().spec.name = request.name.clone();
        let live = sandbox.state().live;
        let noted = if live {
            let _placing = lock(&sandbox.placing);
            self.note_sandbox(&sandbox)
        } else {
            Ok(())
        };
        if let Err(error) = noted.and_then(|()| self.keep_container(&sandbox)) {
            sandbox.state().spec.name = old.clone();
            self.registry_mut()
                .rename_sandbox(request.name.as_str(), old.as_str(), sandbox.id)?;
            return Err(error);
        }
        let attachments = sandbox.state().attachments.clone();
        for attachment in attachments {
            self.publish_names(&sandbox, &attachment.network, attachment.endpoint.id);
        }
        self.tell_container("rename", &sandbox);
        Ok(())
    }
}
